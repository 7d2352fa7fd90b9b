"""How sure a share is that was counted on samples."""

from __future__ import annotations

import math

_Z95 = 1.959964  # two-sided 95 % point of the normal distribution


def share_interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share that was seen among ``n`` (Wilson 1927)."""
    square = _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
