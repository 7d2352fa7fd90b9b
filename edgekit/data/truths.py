"""What is right of an image, as arrays in pixels of the prepared image.

Sources say it in pixels of their images; whatever learns, measures or searches takes it from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgekit.boxes import to_frame
from edgekit.core import (
    IGNORE,
    Boxes,
    BoxSource,
    ImageSource,
    LabelSource,
    MaskSource,
    Preprocessing,
)
from edgekit.data import decoded_for
from edgekit.data.preprocess import place_mask
from edgekit.errors import DataError

TELLS = {"labels": "label", "boxes": "boxes", "masks": "mask"}
"""What a source can say of an image, and the method that says it."""

COUNTED = {
    "boxes": "a box that counts",
    "masks": "a pixel of a class",
    "labels": "another one of its class",
}
"""What an image needs to have of `TELLS` to be measured on."""

NO_OBJECT = -1
"""Class of a row of `BoxTruth` that stands for no object."""

LEAST_SEEN = 0.25
"""Share of an object's box that has to be left for it to be asked for."""


class Truth(Protocol):
    """One kind of what is right; plain data.

    Attributes:
        needs: of a source, of `TELLS`.
        large: whether a label takes memory as an image does.
    """

    needs: str
    large: bool

    def label(
        self, source: ImageSource, split: str, index: int, preprocessing: Preprocessing
    ) -> NDArray[Any]:
        """What is right of one image.

        Args:
            source: it tells what this `needs`; see `check_told`.
            preprocessing: of the image.
        """

    def classes(self, source: ImageSource) -> tuple[str, ...]:
        """Names of the classes that labels are indices of."""

    def stacked(self, labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Labels of several images as one array, (n, ...)."""

    def seen(self, label: NDArray[Any]) -> NDArray[np.int64]:
        """Classes that an image teaches: its own, of each object, or once for all its pixels."""


class ClassLabels:
    """The index of an image's class."""

    needs, large = "labels", False

    def label(
        self, source: ImageSource, split: str, index: int, preprocessing: Preprocessing
    ) -> NDArray[np.int64]:
        """One number, of the source's classes."""
        return np.array(cast("LabelSource", source).label(split, index), np.int64)

    def classes(self, source: ImageSource) -> tuple[str, ...]:
        """The source's."""
        return source.classes

    def stacked(self, labels: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
        """One number an image, (n,)."""
        return np.array(labels, np.int64)

    def seen(self, label: NDArray[Any]) -> NDArray[np.int64]:
        """One."""
        return label.reshape(1)


class BoxTruth:
    """The objects of an image: rows of x0, y0, x1, y1, class and crowd.

    Corners are in pixels of the prepared image and lie within it. Objects that preprocessing cuts
    away are left out; one of which less than `LEAST_SEEN` is left counts as crowd, since nobody
    can be asked to find it.
    """

    needs, large = "boxes", False

    def label(
        self, source: ImageSource, split: str, index: int, preprocessing: Preprocessing
    ) -> NDArray[np.float32]:
        """Shape (k, 6); crowd is 0 or 1."""
        found = cast("BoxSource", decoded_for(source, preprocessing)).boxes(split, index)
        corners = np.asarray(found.corners, np.float64).reshape(-1, 4)
        whole = to_frame(corners, found.size, preprocessing)
        return cut_to(whole, found.classes, found.crowd, preprocessing.size)

    def classes(self, source: ImageSource) -> tuple[str, ...]:
        """The source's."""
        return source.classes

    def stacked(self, labels: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Shape (n, most objects of an image, 6); rows of none have the class -1."""
        most = max(1, max(map(len, labels), default=0))
        found = np.zeros((len(labels), most, 6), np.float32)
        found[..., 4] = NO_OBJECT
        for row, label in zip(found, labels, strict=True):
            row[: len(label)] = label
        return found

    def seen(self, label: NDArray[Any]) -> NDArray[np.int64]:
        """One for each object that is no crowd."""
        found: NDArray[np.int64] = label[label[:, 5] == 0, 4].astype(np.int64)
        return found


def cut_to(
    corners: NDArray[Any], classes: NDArray[Any], crowd: NDArray[Any], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Rows as of `BoxTruth`, cut to an image: what lies outside of it is left out.

    Args:
        corners: (n, 4), of all of each object.
        size: height and width of the image.
    """
    height, width = size
    inside = np.clip(corners, 0, (width, height, width, height))
    seen = _areas(inside)
    kept = seen > 0
    hardly = seen < LEAST_SEEN * _areas(corners)
    rows = np.column_stack([inside, classes, np.logical_or(crowd, hardly)])
    found: NDArray[np.float32] = rows[kept].astype(np.float32)
    return found


def _areas(corners: NDArray[Any]) -> NDArray[Any]:
    """Of boxes (n, 4)."""
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
    found: NDArray[Any] = sides[:, 0] * sides[:, 1]
    return found


class MaskTruth:
    """The class of each pixel; `edgekit.core.IGNORE` around a letterboxed image, too."""

    needs, large = "masks", True

    def label(
        self, source: ImageSource, split: str, index: int, preprocessing: Preprocessing
    ) -> NDArray[np.uint8]:
        """Shape (height, width) of the prepared image; each pixel is that of the nearest one."""
        mask = cast("MaskSource", decoded_for(source, preprocessing)).mask(split, index)
        return place_mask(mask, preprocessing, IGNORE)

    def classes(self, source: ImageSource) -> tuple[str, ...]:
        """Those of the source's masks."""
        return cast("MaskSource", source).mask_classes

    def stacked(self, labels: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
        """Shape (n, height, width)."""
        return np.stack(labels)

    def seen(self, label: NDArray[Any]) -> NDArray[np.int64]:
        """Each once that has a pixel."""
        counts = np.bincount(label.ravel(), minlength=IGNORE + 1)[:IGNORE]
        found: NDArray[np.int64] = np.flatnonzero(counts)
        return found


CLASS_LABELS = ClassLabels()
BOX_TRUTH = BoxTruth()
MASK_TRUTH = MaskTruth()


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
        boxes = isinstance(said, Boxes)
        parts += (said.corners, said.classes, said.crowd) if boxes else (np.asarray(said),)
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
