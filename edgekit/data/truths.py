"""What is right of an image, as arrays in pixels of the prepared image.

Sources say it in pixels of their images; whatever learns, measures or searches takes it from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Boxes, ImageSource, LabelSource, Preprocessing
from edgekit.errors import DataError

TELLS = {"labels": "label", "boxes": "boxes", "masks": "mask"}
"""What a source can say of an image, and the method that says it."""


class Truth(Protocol):
    """One kind of what is right; plain data.

    Attributes:
        needs: of a source, of `TELLS`.
    """

    needs: str

    def label(
        self, source: ImageSource, split: str, index: int, preprocessing: Preprocessing
    ) -> NDArray[Any]:
        """What is right of one image.

        Args:
            source: it tells what this `needs`; see `check_told`.
            preprocessing: of the image.
        """

    def stacked(self, labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Labels of several images as one array, (n, ...)."""


class ClassLabels:
    """The index of an image's class."""

    needs = "labels"

    def label(
        self, source: ImageSource, split: str, index: int, preprocessing: Preprocessing
    ) -> NDArray[np.int64]:
        """One number, of the source's classes."""
        return np.array(cast("LabelSource", source).label(split, index), np.int64)

    def stacked(self, labels: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
        """One number an image, (n,)."""
        return np.array(labels, np.int64)


CLASS_LABELS = ClassLabels()


def told(source: ImageSource) -> tuple[str, ...]:
    """What a source says of its images, of `TELLS`."""
    return tuple(what for what, method in TELLS.items() if hasattr(source, method))


def check_told(source: ImageSource, truth: Truth | None, who: str) -> None:
    """Refuses a source that does not say what somebody needs to know.

    Args:
        truth: what is needed; ``None`` for nothing.
        who: needs it, such as ``the task detect``.

    Raises:
        DataError: says what the source has instead.
    """
    known = told(source)
    if truth is not None and truth.needs not in known:
        has = " and ".join(known) or "only images"
        raise DataError(
            f"data source '{source.name}' has {has}, and {who} needs {truth.needs}: give data with "
            f"{truth.needs}; see 'edgekit list formats'"
        )


def truth_bytes(source: ImageSource, split: str, index: int) -> bytes:
    """What a source says of an image, as bytes that are equal where it says the same."""
    parts: list[NDArray[Any]] = []
    for what in told(source):
        said = getattr(source, TELLS[what])(split, index)
        parts += (said.corners, said.classes) if isinstance(said, Boxes) else (np.asarray(said),)
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
