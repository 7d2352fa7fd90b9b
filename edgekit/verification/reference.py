"""What files are held against: a network, images, and the scores that it gives for them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from edgekit.arrays import array_files, row_of
from edgekit.core import Preprocessing, TensorSpec
from edgekit.data import open_source
from edgekit.data.finite import check_finite
from edgekit.data.scores import kind_of
from edgekit.data.stored import real_values, stored_values
from edgekit.errors import DataError, ModelError, UnknownNameError
from edgekit.foreign import explained
from edgekit.models.blocks import stabilize
from edgekit.models.copying import own_copy
from edgekit.models.model import Model
from edgekit.models.purity import as_function
from edgekit.models.zeros import all_zeros, fill_zeros, hiding_zeros
from edgekit.registry import is_composed
from edgekit.stated import assumed
from edgekit.tasks import Task, task_of
from edgekit.verification.exactness import Exactness
from edgekit.verification.samples import (
    BATCH,
    STATISTICS_COUNT,
    STATISTICS_SEED,
    Samples,
    fed,
    noise,
    real_samples,
    reference_scores,
    statistics_noise,
    strained_scores,
    tensor_samples,
)

Images = NDArray[np.float32]
Scores = NDArray[Any]
Array = NDArray[np.generic]


@dataclass(frozen=True)
class Reference:
    """A network ready to be exported, and what its files are held against.

    Attributes:
        model: with preprocessing and, where it was untrained, batch-norm statistics.
        images: (n, 3, H, W), or rows of inputs; see `edgekit.core.interface`.
        scores: (n, classes), or rows of outputs: what the network gives for them.
        data: where the images come from; see `Samples`.
        skipped: images of the source that were left out as corrupt.
    """

    model: Model
    images: Images
    scores: NDArray[np.float32]
    data: str
    skipped: tuple[str, ...] = ()

    @functools.cached_property
    def task(self) -> Task:
        """What the scores mean."""
        return task_of(self.model)

    @functools.cached_property
    def on_rows(self) -> torch.nn.Module:
        """The network as it takes ``images``."""
        return self.model.on_rows

    @functools.cached_property
    def exactness(self) -> Exactness:
        """On which images the scores are reproducible."""
        return Exactness(self.on_rows, self.images, self.scores, self.task)


def preparation(model: Model) -> str | None:
    """What `make_reference` does to an untrained network, in words; ``None`` for others."""
    if model.trained:
        return None
    done = ["its weights are random"]
    zeros = hiding_zeros(model.on_rows, model.row)
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
    preprocessing = model.preprocessing
    if model.signature is not None:
        return _of_tensors(model, data, skip_corrupt)
    if preprocessing is None:  # weights from elsewhere do not say: the images that were given do
        preprocessing = assumed(model, None if data is None else open_source(data))
    if not model.trained:
        model = dataclasses.replace(model, module=_made_comparable(model, preprocessing))
    model = dataclasses.replace(model, preprocessing=preprocessing)
    samples = _samples(data, model.data, preprocessing, skip_corrupt)
    channels_last = model.of_zoo  # networks of the zoo take both
    scores = reference_scores(own_copy(model.module), samples.images, channels_last=channels_last)
    check_finite(scores, f"'{model.source}'", lambda i: f"image {i} ({samples.about})")
    task_of(model).check_reference(scores, f"'{model.source}'", all_zeros(model.module))
    strained = functools.partial(strained_scores, model.module, samples.images)
    model = dataclasses.replace(model, scores=model.scores or kind_of(scores, strained))
    return Reference(model, samples.images, scores, samples.about, samples.skipped)


def _of_tensors(model: Model, data: str | None, skip_corrupt: bool) -> Reference:
    """The same of a network that takes or gives anything else than an image and its scores."""
    if not model.trained:
        model = dataclasses.replace(model, module=_with_statistics(model))
    if data is not None and not array_files(data) and model.preprocessing is None:
        model = dataclasses.replace(
            model, preprocessing=assumed(model, open_source(data, labelled=False))
        )
    samples = _tensor_samples(model, data, skip_corrupt)
    rows = reference_scores(model.on_rows, samples.images)
    check_finite(rows, f"'{model.source}'", lambda i: f"input {i} ({samples.about})", model.told)
    task_of(model).check_reference(rows, f"'{model.source}'", all_zeros(model.module))
    return Reference(model, samples.images, rows, samples.about, samples.skipped)


SCENES = "digit-scenes"
"""Built-in images of several objects each, for trained networks whose own are not at hand."""


def _tensor_samples(model: Model, data: str | None, skip_corrupt: bool) -> Samples:
    """What was asked for; else images of the training where there are some; else noise."""
    specs = model.interface.inputs
    of_images = len(specs) == 1 and specs[0].layout == "NCHW" and model.preprocessing is not None
    if data is not None or model.data is None or not model.trained or not of_images:
        return tensor_samples(model, data, skip_corrupt)
    try:
        open_source(model.data, skip_corrupt=skip_corrupt, labelled=False)
    except (DataError, UnknownNameError):
        found = tensor_samples(model, SCENES)
        told = f"'{model.data}', the training's images, cannot be opened here"
        return dataclasses.replace(found, about=f"{found.about}; {told}")
    return tensor_samples(model, model.data, skip_corrupt)


def _with_statistics(model: Model) -> torch.nn.Module:
    """A copy of an untrained network; see `_made_comparable`."""
    copied, running = own_copy(model.module), model.on_rows
    fill_zeros(running, model.row)
    if model.code is not None and is_composed(model.code):  # the backbone is of the zoo
        stabilize(running)
    rows = torch.from_numpy(model.noise_rows(STATISTICS_COUNT, STATISTICS_SEED))
    told = "the network cannot run in training mode to set its batch-norm statistics: "
    cure = "; give trained weights with --weights"
    with explained(lambda reason: f"{told}{reason}{cure}"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        update_bn(list(torch.split(rows, BATCH)), running)
    state = running.eval().state_dict().values()  # the way to run it is no part of it
    copied.load_state_dict(dict(zip(copied.state_dict(), state, strict=True)))
    return copied


def _samples(
    data: str | None, trained_on: str | None, preprocessing: Preprocessing, skip_corrupt: bool
) -> Samples:
    chosen = data or trained_on
    if chosen is None:
        return Samples(noise(preprocessing), "noise")
    try:
        source = open_source(chosen, skip_corrupt=skip_corrupt)
    except (DataError, UnknownNameError):
        if data is not None:
            raise
        about = f"noise ('{chosen}', the training's images, cannot be opened here)"
        return Samples(noise(preprocessing), about)
    return real_samples(source, preprocessing)


def _made_comparable(model: Model, preprocessing: Preprocessing) -> torch.nn.Module:
    """A copy of an untrained network whose batch norms have seen a few batches of noise.

    With the statistics that networks are born with, their outputs shrink to nothing; with layers
    that start at zero, they are the same for all images.
    """
    module = own_copy(model.module)
    fill_zeros(module, model.row)
    if model.of_zoo:  # other people's networks keep their parameters
        stabilize(module)
    layout = torch.channels_last if model.of_zoo else torch.contiguous_format
    batches = [
        torch.from_numpy(batch).contiguous(memory_format=layout)
        for batch in statistics_noise(preprocessing)
    ]
    told = "the network cannot run in training mode to set its batch-norm statistics: "
    cure = "; give trained weights with --weights"
    # Whole blocks are left out by chance in training mode: the same ones every time.
    with explained(lambda reason: f"{told}{reason}{cure}"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        update_bn(batches, module)
    return module.eval()


def inputs_of(model: Model, row: Images, layout: str, given: Sequence[TensorSpec]) -> list[Array]:
    """Inputs of one inference as a file takes them.

    Args:
        row: one image (1, 3, H, W), or one row of inputs.
        layout: of images in the file.
        given: the inputs of the file, in order.

    Raises:
        ModelError: the file has others than the network.
    """
    arrays = fed(model, row, layout)
    if [array.shape for array in arrays] != [spec.shape for spec in given]:
        raise ModelError(
            f"'{model.source}' takes {_forms(arrays)}, the file {_forms(given)}: give the network "
            f"that it was exported from"
        )
    return [stored_values(array, spec) for array, spec in zip(arrays, given, strict=True)]


def _forms(tensors: Sequence[TensorSpec] | Sequence[Array]) -> str:
    return " and ".join(str(tuple(one.shape)) for one in tensors)


def outputs_of(model: Model, outputs: Sequence[Array], specs: Sequence[TensorSpec]) -> Scores:
    """Outputs of one inference of a file as a row, (1, numbers).

    Args:
        specs: the outputs of the file, in order; of the same names as the network's in any order.

    Raises:
        ModelError: they are others than those of the network.
    """
    values = [real_values(one, spec) for one, spec in zip(outputs, specs, strict=True)]
    wanted = model.interface.outputs
    places = {spec.name: i for i, spec in enumerate(specs)}
    if len(places) == len(wanted) and all(spec.name in places for spec in wanted):
        values = [values[places[spec.name]] for spec in wanted]
    if [value.size for value in values] != [math.prod(spec.shape) for spec in wanted]:
        raise ModelError(
            f"'{model.source}' gives {_forms(wanted)}, the file {_forms(values)}: give the network "
            f"that it was exported from"
        )
    return row_of(values)
