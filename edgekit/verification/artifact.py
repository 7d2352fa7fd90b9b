"""Verifies exported files against the network, in the runtime that will run them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from edgekit.contract import load
from edgekit.core import (
    Agreement,
    Inspectable,
    Preprocessing,
    Target,
    reason,
    reason_with_layer,
)
from edgekit.data import open_source, preprocess
from edgekit.data.finite import check_finite
from edgekit.data.scores import kind_of, likeliest
from edgekit.data.stored import real_values, stored_values
from edgekit.errors import (
    DataError,
    EdgekitError,
    ModelError,
    UnavailableError,
    UnknownNameError,
)
from edgekit.foreign import explained
from edgekit.isolation import activations_isolated, open_isolated
from edgekit.models.blocks import stabilize
from edgekit.models.copying import own_copy
from edgekit.models.purity import as_function
from edgekit.models.source import Model, open_model
from edgekit.models.zeros import fill_zero_layers, zero_layers
from edgekit.native_output import captured
from edgekit.registry import needed_packages, target
from edgekit.verification.agreement import (
    TOLERANCES,
    check_reference,
    compare,
    image_sqnr_db,
)
from edgekit.verification.divergence import (
    Divergence,
    LayerAgreement,
    averaged,
    comparable,
    first_divergence,
    folded_layers,
    layer_agreements,
    most_noise,
)
from edgekit.verification.exactness import STEADY_DB, Exactness
from edgekit.verification.samples import (
    Samples,
    noise,
    real_samples,
    reference_scores,
    statistics_noise,
    strained_scores,
)

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """A network ready to be exported, and what its files are held against.

    Attributes:
        model: with preprocessing and, where it was untrained, batch-norm statistics.
        images: (n, 3, H, W).
        scores: (n, classes), what the network gives for them.
        data: where the images come from; see `Samples`.
        skipped: images of the source that were left out as corrupt.
    """

    model: Model
    images: Images
    scores: NDArray[np.float32]
    data: str
    skipped: tuple[str, ...] = ()

    @functools.cached_property
    def exactness(self) -> Exactness:
        """On which images the scores are reproducible."""
        kind = self.model.scores or "logits"
        return Exactness(self.model.module, self.images, self.scores, kind)


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `verify`.

    Attributes:
        divergence: where a failing artifact goes wrong; ``None`` where it passed, or where every
            layer agrees and only the whole does not.
        undiagnosed: why the divergence could not be looked for; ``None`` where it could.
        data: where the images come from.
        skipped: images of the source that were left out as corrupt.
        preparation: what was done to an untrained network; see `preparation`.
        same_weights: whether the artifact was made from the network's weights, by their digest;
            ``None`` where neither comes from a file.
        layers: each layer by itself, where that was asked for, or a file of integers failed.
        notes: of the network; see `edgekit.models.source.Model`.
        of_integers: whether the file's weights are integers.
    """

    agreement: Agreement
    divergence: Divergence | None
    undiagnosed: str | None
    data: str
    skipped: tuple[str, ...]
    preparation: str | None
    same_weights: bool | None
    layers: tuple[LayerAgreement, ...] = ()
    notes: tuple[str, ...] = ()
    of_integers: bool = False


def preparation(model: Model) -> str | None:
    """What `make_reference` does to an untrained network, in words; ``None`` for others."""
    if model.trained:
        return None
    done = ["its weights are random"]
    zeros = zero_layers(model.module)
    if zeros:
        listed = ", ".join(f"'{path}'" for path in zeros[:3]) + (", ..." if zeros[3:] else "")
        done.append(f"those of {listed}, which start at zero, filled")
    statistics = "batch-norm statistics set from noise"
    if model.of_zoo:
        done.append(f"its batch-norm biases set to 1 and its {statistics}")
    elif any(isinstance(m, _BatchNorm) for m in model.module.modules()):
        done.append(f"its {statistics}")
    return ", ".join(done)


def rounding_grows(trained: bool) -> str:
    """What may explain a file that misses its bounds, as the end of a message."""
    if trained:
        return ""
    return "; random weights make rounding grow from layer to layer: train it first"


def make_reference(
    model: Model, data: str | None = None, *, skip_corrupt: bool = False
) -> Reference:
    """Computes what the files of a network must give.

    Args:
        data: SRC of real images. Without it those of the training are taken where they can be
            found, else seeded noise.
        skip_corrupt: leave out images that cannot be decoded, instead of failing.

    Raises:
        DataError: ``data`` cannot be used, or an image of a source cannot.
        ModelError: the scores are constant or not finite, so that nothing could be verified.
    """
    model = as_function(model)
    facts = model.preprocessing
    if facts is None:  # weights from elsewhere do not say: the images that were given do
        facts = (
            preprocess.default(model.resolution)
            if data is None
            else preprocess.for_source(open_source(data), model.resolution)
        )
    if not model.trained:
        model = dataclasses.replace(model, module=_made_comparable(model, facts))
    model = dataclasses.replace(model, preprocessing=facts)
    samples = _samples(data, model.data, facts, skip_corrupt)
    channels_last = model.of_zoo  # networks of the zoo take both
    scores = reference_scores(own_copy(model.module), samples.images, channels_last=channels_last)
    check_finite(scores, f"'{model.words}'", lambda i: f"image {i} ({samples.about})")
    check_reference(scores, f"'{model.words}'", zero_layers(model.module))
    strained = functools.partial(strained_scores, model.module, samples.images)
    model = dataclasses.replace(model, scores=model.scores or kind_of(scores, strained))
    return Reference(model, samples.images, scores, samples.about, samples.skipped)


@contextmanager
def running(path: Path, format_: Target) -> Iterator[None]:
    """Turns whatever a runtime raises on a file into one sentence that names the file.

    Raises:
        ModelError: the runtime cannot run it.
        UnavailableError: the runtime is not installed.
    """
    told = f"{path} cannot be run by {format_.runtime}: "
    with (
        explained(lambda reason: f"{told}{reason} (-v shows all)"),
        needed_packages(f"target {format_.name}"),
    ):
        yield


def agreement_with(
    reference: Reference, target: Target, path: Path, precision: str, *, isolated: bool = False
) -> Agreement:
    """Runs an artifact on the reference's images, one by one, and compares.

    Args:
        isolated: the file may be anybody's; see `edgekit.isolation`.
    """
    with captured():
        threads = torch.get_num_threads()
        runner = open_isolated(target, path, threads) if isolated else target.open(path, threads)
        (given,), (got, *_) = runner.tensors()
        images = arrange(reference.images, target.layout)
        outputs = [
            real_values(runner.run([stored_values(images[i : i + 1], given)])[0], got)
            for i in range(len(images))
        ]
    found = np.concatenate(outputs)
    check_finite(found, str(path), lambda i: f"image {i} ({reference.data})")
    return held_against(reference, found, precision)


def held_against(reference: Reference, outputs: NDArray[np.float32], precision: str) -> Agreement:
    """Compares; where that fails, on those images only on which float32 is reproducible.

    Raises:
        ModelError: there are none.
    """
    tolerance, kind = TOLERANCES[precision], reference.model.scores or "logits"
    agreement = compare(reference.scores, outputs, tolerance, kind)
    if agreement.passed:
        return agreement
    n = len(outputs)
    close = image_sqnr_db(reference.scores, outputs, range(n)) >= STEADY_DB
    close &= likeliest(reference.scores, kind) == likeliest(outputs, kind)
    exactness, kept = reference.exactness, np.ones(n, bool)
    if not exactness.steady(np.flatnonzero(~close).tolist()).all():
        kept = exactness.steady(range(n))  # of such, some agree by chance
    left_out = int(n - kept.sum())
    if kept.sum() < 2:
        _refuse_unsteady(reference, left_out)
    if left_out:
        agreement = compare(reference.scores[kept], outputs[kept], tolerance, kind)
    return dataclasses.replace(agreement, left_out=left_out, inexact=exactness.fallback)


def _refuse_unsteady(reference: Reference, left_out: int) -> NoReturn:
    model, exactness, n = reference.model, reference.exactness, len(reference.images)
    median = float(np.median(exactness.sqnr_db(range(n))))
    other = "float64" if exactness.fallback is None else "float32 with other last bits"
    cure = "train it first, or give" if not model.trained else "give"
    raise ModelError(
        f"PyTorch itself computes '{model.words}' in float32 otherwise than in {other} on "
        f"{left_out} of {n} images ({reference.data}; {median:.0f} dB, "
        f"expected {STEADY_DB:g}), and no file can be held against that: {cure} images like those "
        f"that it is for, with --data SRC"
    )


def diagnose(
    reference: Reference, target: Target, path: Path, precision: str, *, isolated: bool = False
) -> tuple[Divergence | None, str | None]:
    """`find_divergence`, or why it failed: a diagnosis must not take away what it is about."""
    try:
        return find_divergence(reference, target, path, precision, isolated=isolated), None
    except (
        Exception,
        SystemExit,
    ) as error:  # runtimes raise everything there is, and on such files most of all
        return None, reason_with_layer(error)


def find_divergence(
    reference: Reference, target: Target, path: Path, precision: str, *, isolated: bool = False
) -> Divergence | None:
    """The first layer that misses the bound of a precision; ``None`` where none can be named."""
    if not isinstance(target, Inspectable):
        return None
    least_db = TOLERANCES[precision]["sqnr_db"]
    (image,) = _steady_images(reference, 1)
    tensors = _tensors(image, target, path, isolated)
    return first_divergence(reference.model.module, torch.from_numpy(image), tensors, least_db)


LAYER_IMAGES = 4
"""What layers are looked at with; each takes a run with every tensor as an output."""


def layers_of(
    reference: Reference, target: Target, path: Path, *, isolated: bool = False
) -> list[LayerAgreement]:
    """How closely an artifact follows each layer, on a few images of the reference.

    Raises:
        UnavailableError: the target's runtime does not show what flows between layers.
    """
    if not isinstance(target, Inspectable):
        raise UnavailableError(f"{target.runtime} does not show what flows between layers")
    images = _steady_images(reference, LAYER_IMAGES)
    module = reference.model.module
    found = averaged(
        [
            layer_agreements(
                module, torch.from_numpy(image), _tensors(image, target, path, isolated)
            )
            for image in images
        ]
    )
    return comparable(found, folded_layers(module, torch.from_numpy(images[0])))


def _steady_images(reference: Reference, count: int) -> list[Images]:
    """The first images on which float32 is reproducible, each (1, 3, H, W).

    On others a right file is far from every layer. Where there are none, the first of all.
    """
    n, found = len(reference.images), []
    for start in range(0, n, count):
        some = range(start, min(start + count, n))
        found += [
            i for i, is_so in zip(some, reference.exactness.steady(some), strict=True) if is_so
        ]
        if len(found) >= count:
            break
    return [reference.images[i : i + 1] for i in (found or range(n))[:count]]


def _tensors(
    image: Images, target: Inspectable, path: Path, isolated: bool
) -> list[tuple[str, NDArray[np.generic]]]:
    """What the file computes for an image (1, 3, H, W)."""
    format_ = cast(Target, target)
    with captured():
        threads = torch.get_num_threads()
        if isolated:
            (given,), _ = open_isolated(format_, path, threads).tensors()
            stored = stored_values(arrange(image, format_.layout), given)
            return activations_isolated(format_, path, [stored])
        (given,), _ = format_.open(path, threads).tensors()
        stored = stored_values(arrange(image, format_.layout), given)
        return list(target.activations(path, [stored]))


def verify(
    artifact: str | Path,
    against: str,
    *,
    data: str | None = None,
    weights: Path | None = None,
    embedded: bool = False,
    skip_corrupt: bool = False,
    per_layer: bool = False,
) -> Verification:
    """Compares an artifact with the network it was exported from.

    Args:
        artifact: the exported file.
        against: MODEL as people write it; the artifact's resolution is used.
        data: SRC of real images; see `make_reference`.
        weights: for a zoo name or callable.
        embedded: trust the contract inside the file; see `edgekit.contract.load`.
        skip_corrupt: leave out images that cannot be decoded, instead of failing.
        per_layer: look at each layer, too.

    Raises:
        ContractError: artifact and contract do not belong together.
        InputError: artifact, network or data cannot be used.
        ModelError: the network has another number of classes.
    """
    path = Path(artifact)
    facts = load(path, embedded=embedded)
    model = open_model(
        against,
        weights=weights,
        resolution=facts.preprocessing.crop,
        classes=None if facts.spec is None or weights is not None else facts.spec.classes,
    )
    outputs = facts.outputs[0].shape[-1]
    if model.classes != outputs:
        raise ModelError(
            f"'{against}' has {model.classes} classes, {path} has {outputs}: give the network "
            f"that it was exported from"
        )
    own = dataclasses.replace(facts.preprocessing, layout="NCHW")
    model = dataclasses.replace(model, preprocessing=own)
    reference = make_reference(model, data, skip_corrupt=skip_corrupt)
    format_, precision = target(facts.target), facts.scheme.precision
    with running(path, format_):
        agreement = agreement_with(reference, format_, path, precision, isolated=True)
    divergence, undiagnosed = (
        (None, None)
        if agreement.passed
        else diagnose(reference, format_, path, precision, isolated=True)
    )
    layers: Sequence[LayerAgreement] = ()
    of_integers = facts.scheme.weights == "int8"
    noisy = of_integers and not agreement.passed
    if per_layer or noisy:
        try:
            layers = layers_of(reference, format_, path, isolated=True)
        except EdgekitError as error:
            if per_layer:
                raise
            undiagnosed = str(error)
        except (Exception, SystemExit) as error:  # see `diagnose`
            undiagnosed = reason(error)
        if noisy and divergence is None:
            divergence = most_noise(layers)
    from_files = facts.parent_sha256 is not None or model.parent_sha256 is not None
    unchanged = facts.parent_sha256 == model.parent_sha256 and facts.scheme.trained_epochs is None
    return Verification(
        agreement,
        divergence,
        undiagnosed,
        reference.data,
        reference.skipped,
        preparation(model),
        unchanged if from_files else None,
        tuple(layers),
        reference.model.notes or (),
        of_integers,
    )


def arrange(images: Images, layout: str) -> Images:
    """Images (n, 3, H, W) in a target's layout, contiguous."""
    return images if layout == "NCHW" else np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def _samples(
    data: str | None, trained_on: str | None, facts: Preprocessing, skip_corrupt: bool
) -> Samples:
    words = data or trained_on
    if words is None:
        return Samples(noise(facts), "noise")
    try:
        source = open_source(words, skip_corrupt=skip_corrupt)
    except (DataError, UnknownNameError):
        if data is not None:
            raise
        about = f"noise ('{words}', the training's images, cannot be opened here)"
        return Samples(noise(facts), about)
    return real_samples(source, facts)


def _made_comparable(model: Model, facts: Preprocessing) -> torch.nn.Module:
    """A copy of an untrained network whose batch norms have seen a few batches of noise.

    With the statistics that networks are born with, their outputs shrink to nothing; with layers
    that start at zero, they are the same for all images.
    """
    module = own_copy(model.module)
    fill_zero_layers(module)
    if model.of_zoo:  # other people's networks keep their parameters
        stabilize(module)
    layout = torch.channels_last if model.of_zoo else torch.contiguous_format
    batches = [
        torch.from_numpy(batch).contiguous(memory_format=layout)
        for batch in statistics_noise(facts)
    ]
    told = "the network cannot run in training mode to set its batch-norm statistics: "
    cure = "; give trained weights with --weights"
    # Whole blocks are left out by chance in training mode: the same ones every time.
    with explained(lambda reason: f"{told}{reason}{cure}"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        update_bn(batches, module)
    return module.eval()
