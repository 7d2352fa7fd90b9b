"""Classes that a training never sees, to measure embeddings on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgekit.core import ImageSource, LabelSource
from edgekit.data.truths import CLASS_LABELS, check_told
from edgekit.errors import DataError, UnknownNameError, UsageError

MARK = ":hold-out="
"""Between a source and the classes that are held out."""

_LEAST = 2


class HeldOut:
    """A source with labels, some of whose classes are only in its test split.

    ``train`` and ``validation`` have the images of the other classes, ``test`` those of the classes
    that are held out: of the source's test split, or of all its images where it has none. Held-out
    classes come last among `classes`.

    Args:
        source: tells labels.
        held: names of its classes.

    Raises:
        DataError: the source tells no labels, or a split would be empty.
        UnknownNameError: it has no such class.
        UsageError: too few classes are held out, or left.
    """

    def __init__(self, source: ImageSource, held: Sequence[str]) -> None:
        check_told(source, CLASS_LABELS, "holding classes out")
        for name in held:
            if name not in source.classes:
                hint = f"expected some of {', '.join(source.classes[:20])}"
                raise UnknownNameError("class", name, source.classes, hint)
        apart = [name for name in source.classes if name in held]
        others = [name for name in source.classes if name not in held]
        if min(len(apart), len(others)) < _LEAST:
            raise UsageError(
                f"'{source.name}{MARK}{','.join(held)}' holds out {len(apart)} of "
                f"{len(source.classes)} classes: expected at least {_LEAST}, and that as many are "
                f"left to learn from"
            )
        self.name = f"{source.name}{MARK}{','.join(apart)}"
        self.classes = (*others, *apart)
        self.flippable, self.keeps_test = source.flippable, True
        self.skipped: tuple[str, ...] = tuple(getattr(source, "skipped", ()))
        self._source = cast("LabelSource", source)
        self._labels = [self.classes.index(name) for name in source.classes]
        self._own: dict[str, tuple[str, NDArray[np.int64]]] = {}
        measured = "test" if "test" in source.splits else "all"
        for split, own in {"train": "train", "validation": "validation", "test": measured}.items():
            if own in source.splits:
                labels = [self._source.label(own, i) for i in range(source.size(own))]
                new = np.array([self._labels[label] for label in labels])
                wanted = (new >= len(others)) == (split == "test")
                if not wanted.any():
                    raise DataError(f"'{self.name}' has no image for its split '{split}'")
                self._own[split] = own, np.flatnonzero(wanted)
        self.splits: tuple[str, ...] = tuple(self._own)

    def size(self, split: str) -> int:
        """Number of images in a split."""
        return len(self._own[split][1])

    def label(self, split: str, index: int) -> int:
        """Label of one image, of `classes`."""
        return self._labels[self._source.label(*self._place(split, index))]

    def image(self, split: str, index: int) -> NDArray[np.uint8]:
        """One image of the source."""
        return self._source.image(*self._place(split, index))

    def decoded(self, exif: str, alpha: str) -> Any:
        """The same images, decoded otherwise; see `edgekit.data.decode.load_image`."""
        if not hasattr(self._source, "decoded"):
            return self
        found = object.__new__(HeldOut)
        found.__dict__.update(self.__dict__, _source=self._source.decoded(exif, alpha))
        return found

    def _place(self, split: str, index: int) -> tuple[str, int]:
        own, indices = self._own[split]
        return own, int(indices[index])
