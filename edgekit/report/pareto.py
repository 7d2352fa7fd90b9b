"""What is worth choosing when two things count."""

from __future__ import annotations

import math
from collections.abc import Sequence


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
