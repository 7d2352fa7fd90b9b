"""Images that the ranges of activations are taken from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import ImageSource, Preprocessing
from edgekit.data import open_source
from edgekit.data.preprocess import prepare
from edgekit.errors import DataError, UsageError

IMAGES = 128
LEAST_IMAGES = 16
"""With fewer, one odd image decides the ranges."""

SEED = 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Images for range estimation.

    Attributes:
        images: (n, 3, H, W), ready for the network.
        about: the source and its split.
    """

    images: NDArray[np.float32]
    about: str


def calibration_images(
    words: str,
    facts: Preprocessing,
    count: int = IMAGES,
    *,
    seed: int = SEED,
    skip_corrupt: bool = False,
) -> Calibration:
    """Draws images from the part of a source that nothing is tested on.

    Args:
        words: SRC.
        facts: how images become inputs; the layout is NCHW.
        count: how many, at most.
        seed: of the draw. Classes take turns, so that each is there equally often.

    Raises:
        UsageError: ``count`` is below `LEAST_IMAGES`.
        DataError: the source has too few images, or none that show anything.
    """
    if count < LEAST_IMAGES:
        raise UsageError(f"{count} images for calibration: expected at least {LEAST_IMAGES}")
    source = open_source(words, skip_corrupt=skip_corrupt)
    split = "train" if "train" in source.splits else "all"
    size = source.size(split)
    where = f"'{source.name}'" + ("" if split == "all" else f" (split '{split}')")
    if size < LEAST_IMAGES:
        raise DataError(
            f"{where} has {size} images: calibration needs {LEAST_IMAGES} at least, and "
            f"{IMAGES} are better"
        )
    indices = list(_balanced(source, split, min(count, size), seed))
    images = [_prepared(source, split, index, facts) for index in indices]
    shows = sum(_shows_something(image) for image in images)
    if shows < LEAST_IMAGES:
        raise DataError(
            f"{len(images) - shows} of {len(images)} calibration images of {where} are of one "
            f"colour all over: ranges taken from them would be wrong; give images like those that "
            f"the network will see"
        )
    return Calibration(np.stack(images), f"{source.name}, {split}")


def _balanced(source: ImageSource, split: str, count: int, seed: int) -> Iterator[int]:
    """Indices of a seeded draw in which the classes take turns."""
    members: dict[int, list[int]] = {}
    for index in range(source.size(split)):
        members.setdefault(source.label(split, index), []).append(index)
    shuffled = [
        list(np.random.default_rng([seed, label]).permutation(found))
        for label, found in sorted(members.items())
    ]
    while count:
        for rest in shuffled:
            if rest and count:
                count -= 1
                yield int(rest.pop())


def _prepared(
    source: ImageSource, split: str, index: int, facts: Preprocessing
) -> NDArray[np.float32]:
    name = f"'{source.name}', image {index} of split '{split}'"
    try:
        image = prepare(source.image(split, index), facts)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    if not np.isfinite(image).all():
        raise DataError(
            f"{name} holds values that are not finite once it is prepared: expected numbers; is "
            f"the standard deviation of the preprocessing 0?"
        )
    return image


def _shows_something(image: NDArray[Any]) -> bool:
    """Whether there is more to see than one colour."""
    return bool((np.ptp(image, axis=(1, 2)) > 0).any())
