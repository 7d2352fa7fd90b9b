"""What figures of a whole network hide: those of each class, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPLICATES = 200
"""Resamples that an interval comes from."""

MOST_CLASSES = 200
"""Of a matrix of confusions that is told: that of a thousand classes would be a million numbers."""


@dataclass(frozen=True, slots=True)
class OfClass:
    """Figures of one class.

    Attributes:
        n: images, objects or pixels of it that there are.
        figures: by name; ``None`` where there is none to tell.
    """

    label: str
    n: int
    figures: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Confusion:
    """What is taken for what, counted.

    Attributes:
        right: a name for each row: what is there.
        found: a name for each column: what the network says.
        counts: of images, objects or pixels.
    """

    right: tuple[str, ...]
    found: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Details:
    """What a metric knows besides its figures.

    Attributes:
        classes: in the order of the network's classes.
        confusion: ``None`` where there is none, or it is too large; see `MOST_CLASSES`.
        values: numbers that are no shares, by name, such as a distance.
    """

    classes: tuple[OfClass, ...] = ()
    confusion: Confusion | None = None
    values: Mapping[str, float] = field(default_factory=dict)


NO_DETAILS = Details()


def details_of(metric: Any) -> Details:
    """What a metric knows besides its figures; nothing of one of a package that tells none."""
    told: Details = metric.details() if hasattr(metric, "details") else NO_DETAILS
    return told


def confusion(
    right: Sequence[str], found: Sequence[str], counts: NDArray[np.int64]
) -> Confusion | None:
    """A matrix (right, found) as a record."""
    if max(counts.shape) > MOST_CLASSES:
        return None
    return Confusion(tuple(right), tuple(found), tuple(tuple(row) for row in counts.tolist()))


def weights_of(images: int, replicates: int = REPLICATES, seed: int = 0) -> NDArray[np.int64]:
    """How often each image is in each bootstrap sample, (replicates, images)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=replicates)


def interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """The middle 95 % of a figure of bootstrap samples; those that it has no value for are left."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)
