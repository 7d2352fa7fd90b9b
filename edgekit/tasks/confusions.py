"""Which classes are taken for which others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """How often images of one class are told right.

    Attributes:
        label: name of the class.
        n: its images.
        top1: share of them that is told right; ``None`` where there are none.
        taken_for: the class that the others are most often taken for; ``None`` where all are right.
        mistaken: how many are taken for that one.
    """

    label: str
    n: int
    top1: float | None
    taken_for: str | None = None
    mistaken: int = 0


class Confusions:
    """Counts of images by their class and the likeliest one.

    Args:
        names: of the classes.

    Attributes:
        counts: (classes, classes), a row for each true class.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.counts: NDArray[np.int64] = np.zeros((len(names), len(names)), np.int64)

    def update(self, truth: NDArray[Any], likeliest: NDArray[Any]) -> None:
        """Counts images.

        Args:
            truth: their classes (n,).
            likeliest: those with the highest score (n,).
        """
        np.add.at(self.counts, (truth, likeliest), 1)

    def classes(self) -> tuple[ClassFigures, ...]:
        """The figures of each class, in the order of the classes."""
        return tuple(self._of(i) for i in range(len(self.names)))

    def _of(self, i: int) -> ClassFigures:
        row = self.counts[i]
        n, right = int(row.sum()), int(row[i])
        wrong = row.copy()
        wrong[i] = 0
        other = int(wrong.argmax()) if n > right else None
        return ClassFigures(
            self.names[i],
            n,
            right / n if n else None,
            None if other is None else self.names[other],
            0 if other is None else int(wrong[other]),
        )


def weakest(classes: Sequence[ClassFigures], most: int) -> list[ClassFigures]:
    """The classes that are told right least often, the weakest first; those with images only."""
    known = [one for one in classes if one.top1 is not None]
    return sorted(known, key=lambda one: (one.top1 or 0.0, -one.mistaken))[:most]
