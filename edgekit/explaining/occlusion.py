"""What the score of a class loses where a part of the image is covered: for anything that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.core.preprocessing import pair
from edgekit.data.finite import check_finite
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.boxes import Geometry
    from edgekit.core import Side
    from edgekit.inference import Classifier
    from edgekit.tasks import Aim

ACROSS = 6
"""Windows side by side that cover an image, by default. They overlap by half, which makes about
120 runs of an image: a minute on a device that takes half a second for one."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over an image: rows and columns of their upper left corners, and their size."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    size: tuple[int, int]

    @classmethod
    def of(cls, frame: tuple[int, int], window: Side | None, stride: Side | None) -> Windows:
        """Windows that cover an image to its edges.

        Args:
            frame: (height, width) of the image that the network gets.
            window: pixels of a square, or (height, width); a sixth of each side by default.
            stride: from one to the next; half of a window by default.

        Raises:
            UsageError: a window that is larger than the image, or leaves gaps.
        """
        tall, wide = (max(1, -(-side // ACROSS)) for side in frame)
        size = (tall, wide) if window is None else pair(window)
        steps = (max(1, size[0] // 2), max(1, size[1] // 2)) if stride is None else pair(stride)
        if not all(0 < a <= b for a, b in zip(size, frame, strict=True)):
            raise UsageError(
                f"--window {size[0]}x{size[1]}: expected 1 px or more, and at most the network's "
                f"image of {frame[0]}x{frame[1]} px"
            )
        if not all(0 < a <= b for a, b in zip(steps, size, strict=True)):
            raise UsageError(
                f"--stride {steps[0]}x{steps[1]}: expected 1 px or more, and at most the window of "
                f"{size[0]}x{size[1]} px, so that no part of the image is left out"
            )
        rows, columns = (
            (*range(0, side - one, step), side - one)
            for side, one, step in zip(frame, size, steps, strict=True)
        )
        return cls(rows, columns, size)

    def within(self, place: Geometry) -> list[tuple[slice, slice]]:
        """Those that cover something of the image, rather than padding alone."""
        tall, wide = self.size
        return [
            (slice(top, top + tall), slice(left, left + wide))
            for top in self.rows
            if top + tall > place.top and top < place.top + place.height
            for left in self.columns
            if left + wide > place.left and left < place.left + place.width
        ]


def occlusion(
    classifier: Classifier,
    prepared: NDArray[np.float32],
    aim: Aim,
    score: float,
    place: Geometry,
    windows: Windows,
    done: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """The mean loss of the score over the windows that cover a pixel, (height, width).

    A window has the mean colour of what the network sees of the image.

    Args:
        prepared: the image as the network takes it.
        score: of the whole image.
        done: told how many of how many windows are done.

    Raises:
        ModelError: an output is not a finite number.
    """
    first = classifier.preprocessing.layout == "NCHW"
    image = np.moveaxis(prepared, 0, -1) if first else prepared  # (height, width, channels)
    shown = image[place.top : place.top + place.height, place.left : place.left + place.width]
    colour = shown.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    every = windows.within(place)

    def batches() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(every), classifier.batch):
            batch = []
            for part in every[start : start + classifier.batch]:
                covered = image.copy()
                covered[part] = colour
                batch.append(np.moveaxis(covered, -1, 0) if first else covered)
            yield np.stack(batch)

    lost = np.zeros(image.shape[:2], np.float64)
    covers = np.zeros(image.shape[:2], np.int64)
    seen = 0
    for rows in classifier.stream(batches()):
        check_finite(rows, f"'{classifier.source}'", lambda i: f"the image with window {i} covered")
        for row in rows:
            lost[every[seen]] += score - float(row.astype(np.float64) @ aim.weights)
            covers[every[seen]] += 1
            seen += 1
        if done is not None:
            done(seen, len(every))
    return (lost / np.maximum(covers, 1)).astype(np.float32)
