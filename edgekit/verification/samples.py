"""Inputs for a comparison: real images where there are some, seeded noise else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import ImageSource, Preprocessing
from edgekit.data.preprocess import normalize, resize_and_crop
from edgekit.data.synthetic import noise_images
from edgekit.errors import DataError

REAL_COUNT = 256
NOISE_COUNT = 128
"""Enough for "99 % of top-1" to mean something: one image may differ, two may not."""

BATCH = 16

# What sets the batch-norm statistics of an untrained network; not the seed of the comparison's
# noise, so that the network is not compared on what it was set with.
STATISTICS_COUNT = 64
STATISTICS_SEED = 1

Images = NDArray[np.float32]


def real_images(
    source: ImageSource, preprocessing: Preprocessing, split: str, *, skip_corrupt: bool = False
) -> Images:
    """Up to `REAL_COUNT` images, evenly spaced over a split, ready for the network.

    Args:
        skip_corrupt: pass over images that cannot be decoded.

    Returns:
        (n, 3, H, W), or (n, H, W, 3) as the preprocessing says.

    Raises:
        DataError: an image cannot be used, or all of them cannot.
    """
    size = source.size(split)
    indices = np.linspace(0, size - 1, min(size, REAL_COUNT)).round().astype(int)
    pixels = []
    for i in indices:
        try:
            pixels.append(resize_and_crop(source.image(split, int(i)), preprocessing))
        except DataError:
            if not skip_corrupt:
                raise
    if not pixels:
        raise DataError(f"no image of split '{split}' of '{source.name}' can be decoded")
    return normalize(np.stack(pixels), preprocessing)


def noise(preprocessing: Preprocessing, count: int = NOISE_COUNT, seed: int = 0) -> Images:
    """Seeded noise images, ready for the network; shape as of `real_images`."""
    return normalize(noise_images(count, preprocessing.crop, seed), preprocessing)


def statistics_noise(preprocessing: Preprocessing) -> list[Images]:
    """Batches of noise (`BATCH`, 3, H, W) for setting batch-norm statistics."""
    images = noise(preprocessing, STATISTICS_COUNT, STATISTICS_SEED)
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]


def reference_scores(module: Any, images: Images) -> NDArray[np.float32]:
    """Class scores of a PyTorch network for images (n, 3, H, W), in small batches."""
    import torch

    with torch.inference_mode():
        batches = torch.split(torch.from_numpy(np.ascontiguousarray(images)), BATCH)
        scores: NDArray[np.float32] = torch.cat([module(batch) for batch in batches]).numpy()
    return scores
