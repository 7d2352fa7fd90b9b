"""Inputs for a comparison: real images where there are some, seeded noise else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.arrays import SUFFIX, array_files, arrays_of, readable_files, rows_of
from edgekit.core import ImageSource, Preprocessing
from edgekit.core.text import counted_words
from edgekit.data import decoded_for, open_source
from edgekit.data.channels import grey
from edgekit.data.preprocess import normalize, pixels_of, resize_and_crop
from edgekit.data.synthetic import noise_images
from edgekit.errors import DataError
from edgekit.foreign import explained
from edgekit.stated import assumed

if TYPE_CHECKING:
    from edgekit.models.model import Model

REAL_COUNT = 256
NOISE_COUNT = 100
"""Images of every comparison, at least: with so many, "99 % of top-1" means something. One image
may differ, two may not."""

LEAST_COUNT, LARGEST_NUMBERS = 8, 1 << 25
"""Samples of networks whose outputs are maps, at least; and numbers of all of them at once, which
fill a few hundred MiB."""

BATCH = 16

# What sets the batch-norm statistics of an untrained network; not the seed of the comparison's
# noise, so that the network is not compared on what it was set with.
STATISTICS_COUNT = 32
STATISTICS_SEED = 1

Images = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Samples:
    """What a network and its files are compared on.

    Attributes:
        images: (n, C, H, W), or (n, H, W, C) as the preprocessing says; or rows of inputs.
        about: where they come from: a source's name, ``noise``, or how many of which.
        skipped: images of the source that were left out as corrupt.
    """

    images: Images
    about: str
    skipped: tuple[str, ...] = ()


def fed(model: Model, row: NDArray[Any], layout: str = "NCHW") -> list[NDArray[np.generic]]:
    """Inputs of one inference as files of a network take them, before there are scales.

    Args:
        row: one image (1, C, H, W), or one row of inputs.
        layout: of images of floats in the file.
    """
    if not model.baked:
        return arrays_of(model.interface, row, layout)
    assert model.preprocessing is not None
    prepared = replace(model.preprocessing, layout="NCHW")
    return [pixels_of(row.reshape(1, *model.shape), prepared)]


def real_samples(source: ImageSource, preprocessing: Preprocessing) -> Samples:
    """Images of a source's test split, or of all of it.

    Where they are too few, others of the source follow, and noise only behind all of them: a
    network computes on noise what nobody uses it for.

    Raises:
        DataError: an image cannot be used.
    """
    source = decoded_for(source, preprocessing)
    split = "test" if "test" in source.splits else "all"
    images = real_images(source, preprocessing, split)
    for other in ("validation", "train"):
        missing = NOISE_COUNT - len(images)
        if split == "test" and missing > 0 and other in source.splits:
            more = real_images(source, preprocessing, other, missing)
            images = np.concatenate([images, more])
    skipped = tuple(getattr(source, "skipped", ()))
    missing = NOISE_COUNT - len(images)
    if missing <= 0:
        return Samples(images, source.name, skipped)
    about = f"{counted_words(len(images), 'image')} of {source.name} and {missing} of noise"
    return Samples(np.concatenate([images, noise(preprocessing, missing)]), about, skipped)


def real_images(
    source: ImageSource, preprocessing: Preprocessing, split: str, count: int = REAL_COUNT
) -> Images:
    """Up to ``count`` images, evenly spaced over a split, ready for the network.

    Returns:
        (n, C, H, W), or (n, H, W, C) as the preprocessing says.

    Raises:
        DataError: an image cannot be decoded or prepared.
    """
    size = source.size(split)
    indices = np.linspace(0, size - 1, min(size, count)).round().astype(int)
    pixels = []
    for i in indices:
        image = source.image(split, int(i))
        try:
            pixels.append(resize_and_crop(image, preprocessing))
        except DataError as error:
            raise DataError(f"'{source.name}', image {i} of split '{split}': {error}") from error
    return normalize(np.stack(pixels), preprocessing)


def most_samples(model: Model) -> int:
    """How many samples of a network fit into memory with their outputs, or `LEAST_COUNT`."""
    interface = model.interface
    numbers = sum(prod(spec.shape) for spec in (*interface.inputs, *interface.outputs))
    return max(LEAST_COUNT, LARGEST_NUMBERS // max(1, numbers))


def tensor_samples(
    model: Model,
    data: str | None,
    skip_corrupt: bool = False,
    *,
    noise: bool = True,
    least: int = LEAST_COUNT,
) -> Samples:
    """Rows of inputs of a network that takes anything else than one image for its class.

    Args:
        data: a folder of ``.npz`` files, or a source of images for a network whose only input is
            one; noise if ``None``.
        noise: whether some follows where they are too few.
        least: samples to read, where there are as many.

    Raises:
        DataError: they are not what the network takes.
    """
    interface = model.interface
    most = max(least, most_samples(model))
    if data is None:
        return Samples(model.noise_rows(min(NOISE_COUNT, most)), "noise")
    files = array_files(data)
    if not files:
        found = image_rows(model, data, skip_corrupt)
        return replace(found, images=found.images[:most])
    skipped: tuple[str, ...] = ()
    if skip_corrupt:
        files, skipped = readable_files(files)
    places = np.linspace(0, len(files) - 1, min(len(files), REAL_COUNT, most)).round().astype(int)
    rows = rows_of([files[int(i)] for i in places], interface)
    missing = min(NOISE_COUNT, most) - len(rows)
    if missing <= 0 or not noise:
        return Samples(rows, data, skipped)
    about = f"{counted_words(len(rows), 'input')} of {data} and {missing} of noise"
    return Samples(np.concatenate([rows, model.noise_rows(missing)]), about, skipped)


def image_rows(
    model: Model, data: str, skip_corrupt: bool = False, *, split: str | None = None
) -> Samples:
    """Images of a source as inputs of a network.

    Args:
        split: to take them from, and no noise behind them; see `real_samples` if ``None``.

    Raises:
        DataError: the network takes anything else than one image, or there is no such split.
    """
    check_takes_images(model, data)
    source = open_source(data, skip_corrupt=skip_corrupt, labelled=False)
    preprocessing = model.preprocessing or assumed(model, source)
    if split is None:
        samples = real_samples(source, preprocessing)
    elif split in source.splits:
        samples = Samples(
            real_images(decoded_for(source, preprocessing), preprocessing, split), source.name
        )
    else:
        raise DataError(f"'{source.name}' keeps no images apart: expected a split '{split}'")
    return replace(samples, images=samples.images.reshape(len(samples.images), -1))


def check_takes_images(model: Model, data: str) -> None:
    """Refuses images for a network that takes anything else than one.

    Args:
        data: SRC of images.

    Raises:
        DataError: as said.
    """
    specs = model.interface.inputs
    if len(specs) != 1 or specs[0].layout != "NCHW" or specs[0].shape[0] != 1:
        listed = " and ".join(f"'{spec.name}' {spec.shape}" for spec in specs)
        raise DataError(
            f"'{model.source}' takes {listed}, which images of '{data}' do not give: expected a "
            f"folder of {SUFFIX} files, one an inference, with an array for each input"
        )


def noise(preprocessing: Preprocessing, count: int = NOISE_COUNT, seed: int = 0) -> Images:
    """Seeded noise images, ready for the network; shape as of `real_images`."""
    height, width = preprocessing.size
    pixels = noise_images(count, max(height, width), seed)[:, :height, :width]
    if preprocessing.channels == 1:
        pixels = grey(pixels)
    elif preprocessing.channels == 4:  # the fourth by itself: colours do not tell transparency
        pixels = np.concatenate([pixels, np.roll(pixels, 1, axis=0)[..., :1]], axis=-1)
    return normalize(pixels, preprocessing)


def statistics_noise(preprocessing: Preprocessing) -> list[Images]:
    """Batches of noise (`BATCH`, 3, H, W) for setting batch-norm statistics."""
    images = noise(preprocessing, STATISTICS_COUNT, STATISTICS_SEED)
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]


def reference_scores(
    module: Any, images: Images, *, channels_last: bool = False
) -> NDArray[np.float32]:
    """Class scores of a PyTorch network for images (n, 3, H, W), in small batches.

    Args:
        channels_last: lay the images in memory as NHWC: up to twice as fast, for networks that
            do not mind (views of what lies so may be refused).

    Raises:
        ModelError: the network fails; with the layer that does.
    """
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    with explained(lambda why: f"the network fails on an image: {why}"), torch.inference_mode():
        tensor = torch.from_numpy(np.ascontiguousarray(images)).contiguous(memory_format=layout)
        batches = torch.split(tensor, BATCH)
        # Cloned: a network may hand out the same memory each time.
        scores: NDArray[np.float32] = torch.cat([module(b).clone() for b in batches]).numpy()
    return scores


def strained_scores(module: Any, images: Images) -> NDArray[np.float32]:
    """Those of the network with a last layer of far larger weights; see `edgekit.models.strain`."""
    import torch

    from edgekit.models.strain import strained

    images = np.ascontiguousarray(images[:BATCH])
    return reference_scores(strained(module, torch.from_numpy(images)), images)
