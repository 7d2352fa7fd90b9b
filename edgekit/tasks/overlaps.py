"""Classes of pixels counted against each other, and what the counts come to. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.objects import IGNORE

Counts = NDArray[np.int64]
"""Pixels, (classes, classes): rows are the classes that are right, columns those that were told."""


def confusions(right: NDArray[Any], told: NDArray[Any], classes: int) -> Counts:
    """Counts of pixels.

    Args:
        right: indices of classes, of any shape; pixels of `IGNORE` are left out.
        told: of the same shape, all below ``classes``.
    """
    counted = right != IGNORE
    places = right[counted].astype(np.int64) * classes + told[counted]
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def ious(counts: Counts) -> NDArray[np.float64]:
    """Of each class the pixels that are right over those that are right or told.

    Returns:
        (classes,); NaN for a class that no pixel is of and none was told to be.
    """
    both = np.diag(counts).astype(np.float64)
    either = counts.sum(0) + counts.sum(1) - np.diag(counts)
    found = np.full(len(counts), np.nan)
    np.divide(both, either, out=found, where=either > 0)
    return found


def mean_iou(counts: Counts) -> float:
    """The mean over the classes that there are; 0 where there are none."""
    found = ious(counts)
    return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0
