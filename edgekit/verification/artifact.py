"""Verifies exported files against the network, in the runtime that will run them."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import update_bn

from edgekit.contract import load
from edgekit.core import Agreement, Inspectable, Preprocessing, Target
from edgekit.data import open_source, preprocess
from edgekit.errors import DataError, ModelError, UnknownNameError
from edgekit.models.blocks import stabilize
from edgekit.models.source import Model, open_model
from edgekit.native_output import captured
from edgekit.registry import needed_packages, target
from edgekit.verification.agreement import TOLERANCES, check_reference, compare
from edgekit.verification.divergence import Divergence, first_divergence
from edgekit.verification.samples import noise, real_images, reference_scores, statistics_noise

Images = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reference:
    """A network ready to be exported, and what its files are held against.

    Attributes:
        model: with preprocessing and, where it was untrained, batch-norm statistics.
        images: (n, 3, H, W).
        scores: (n, classes), what the network gives for them.
        data: where the images come from: a source's name, or ``noise``.
    """

    model: Model
    images: Images
    scores: NDArray[np.float32]
    data: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `verify`.

    Attributes:
        divergence: where a failing artifact goes wrong; ``None`` where it passed, or where every
            layer agrees and only the whole does not.
    """

    agreement: Agreement
    divergence: Divergence | None
    data: str


def make_reference(model: Model, data: str | None = None) -> Reference:
    """Computes what the files of a network must give.

    Args:
        data: SRC of real images. Without it those of the training are taken where they can be
            found, else seeded noise.

    Raises:
        DataError: ``data`` cannot be used.
        ModelError: the scores are constant or not finite, so that nothing could be verified.
    """
    facts = model.preprocessing or preprocess.default(model.resolution)
    if not model.trained:
        model = dataclasses.replace(model, module=_made_comparable(model, facts))
    model = dataclasses.replace(model, preprocessing=facts)
    images, name = _images(data, model.data, facts)
    scores = reference_scores(model.module, images)
    check_reference(scores, f"'{model.words}'")
    return Reference(model, images, scores, name)


def agreement_with(reference: Reference, target: Target, path: Path, precision: str) -> Agreement:
    """Runs an artifact on the reference's images, one by one, and compares."""
    with captured():
        runner = target.open(path)
        images = arrange(reference.images, target.layout)
        outputs = [runner.run([images[i : i + 1]])[0] for i in range(len(images))]
    return compare(reference.scores, np.concatenate(outputs), TOLERANCES[precision])


def find_divergence(
    reference: Reference, target: Target, path: Path, precision: str
) -> Divergence | None:
    """The first layer that misses the bound of a precision; ``None`` where none can be named."""
    if not isinstance(target, Inspectable):
        return None
    image = reference.images[:1]
    with captured():
        tensors = list(target.activations(path, [arrange(image, target.layout)]))
    least_db = TOLERANCES[precision]["sqnr_db"]
    return first_divergence(reference.model.module, torch.from_numpy(image), tensors, least_db)


def verify(
    artifact: str | Path,
    against: str,
    *,
    data: str | None = None,
    weights: Path | None = None,
    embedded: bool = False,
) -> Verification:
    """Compares an artifact with the network it was exported from.

    Args:
        artifact: the exported file.
        against: MODEL as people write it; the artifact's resolution is used.
        data: SRC of real images; see `make_reference`.
        weights: for a zoo name or callable.
        embedded: trust the contract inside the file; see `edgekit.contract.load`.

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
    reference = make_reference(dataclasses.replace(model, preprocessing=own), data)
    format_ = target(facts.target)
    with needed_packages(f"target {facts.target}"):
        precision = facts.scheme.precision
        agreement = agreement_with(reference, format_, path, precision)
        divergence = (
            None if agreement.passed else find_divergence(reference, format_, path, precision)
        )
    return Verification(agreement, divergence, reference.data)


def arrange(images: Images, layout: str) -> Images:
    """Images (n, 3, H, W) in a target's layout, contiguous."""
    return images if layout == "NCHW" else np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def _images(data: str | None, trained_on: str | None, facts: Preprocessing) -> tuple[Images, str]:
    words = data or trained_on
    if words is None:
        return noise(facts), "noise"
    try:
        source = open_source(words)
        split = "test" if "test" in source.splits else "all"
        # Images that the training left out as corrupt may be among its own.
        return real_images(source, facts, split, skip_corrupt=data is None), source.name
    except (DataError, UnknownNameError):
        if data is not None:
            raise
    return noise(facts), f"noise ('{words}', the training's images, cannot be opened here)"


def _made_comparable(model: Model, facts: Preprocessing) -> torch.nn.Module:
    """A copy of an untrained network whose batch norms have seen a few batches of noise.

    With the statistics that networks are born with, their outputs shrink to nothing.
    """
    module = copy.deepcopy(model.module)
    if model.spec is not None:  # other people's networks keep their parameters
        stabilize(module)
    try:
        update_bn([torch.from_numpy(batch) for batch in statistics_noise(facts)], module)
    except Exception as error:  # the user's code may raise anything
        raise ModelError(
            f"the network cannot run in training mode to set its batch-norm statistics: {error}; "
            f"give trained weights with --weights"
        ) from error
    return module.eval()
