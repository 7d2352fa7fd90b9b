"""What files are held against: a network, images, and the scores that it gives for them."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from edgekit.core import Preprocessing
from edgekit.data import open_source, preprocess
from edgekit.data.finite import check_finite
from edgekit.data.scores import kind_of
from edgekit.errors import DataError, UnknownNameError
from edgekit.foreign import explained
from edgekit.models.blocks import stabilize
from edgekit.models.copying import own_copy
from edgekit.models.purity import as_function
from edgekit.models.source import Model
from edgekit.models.zeros import all_zeros, fill_zeros, hiding_zeros
from edgekit.verification.agreement import check_reference
from edgekit.verification.exactness import Exactness
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


def preparation(model: Model) -> str | None:
    """What `make_reference` does to an untrained network, in words; ``None`` for others."""
    if model.trained:
        return None
    done = ["its weights are random"]
    zeros = hiding_zeros(model.module, model.resolution)
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
    check_reference(scores, f"'{model.words}'", all_zeros(model.module))
    strained = functools.partial(strained_scores, model.module, samples.images)
    model = dataclasses.replace(model, scores=model.scores or kind_of(scores, strained))
    return Reference(model, samples.images, scores, samples.about, samples.skipped)


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
    fill_zeros(module, model.resolution)
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


def arrange(images: Images, layout: str) -> Images:
    """Images (n, 3, H, W) in a target's layout, contiguous."""
    return images if layout == "NCHW" else np.ascontiguousarray(images.transpose(0, 2, 3, 1))
