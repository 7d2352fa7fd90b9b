"""What is worth choosing when two things count, and how sure a share is."""

from __future__ import annotations

import math
from collections.abc import Sequence

_Z95 = 1.959964  # two-sided 95 % point of the normal distribution


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other one beats: the Pareto front.

    One beats another that is at most as good in both and worse in one; equal points stand on the
    front together.

    Args:
        points: cost (less is better) and gain (more is better).

    Returns:
        Their indices, by rising cost.
    """
    found: list[int] = []
    best_gain, its_cost = -math.inf, math.nan
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        cost, gain = points[index]
        if gain > best_gain or (gain == best_gain and cost == its_cost):
            found.append(index)
            best_gain, its_cost = gain, cost
    return found


def share_interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share that was seen among ``n`` (Wilson 1927)."""
    square = _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
