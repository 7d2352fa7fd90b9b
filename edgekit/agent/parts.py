"""Times of small files, one after the other, against one that stays loaded.

In a network the other layers run between two runs of a part, and the caches hold theirs then. So
about as many bytes as the network has are read between two runs: without that, layers with many
weights on small maps take too little, and networks change by more than their parts
(docs/measurements/search.md).
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

ROUNDS = 15
BLOCK_S = 0.006
CACHE_LINE = 64
MOST_RUNS = 12
"""Of a block, where something is read between two of them."""

SLOW_S = 0.05
FEW_ROUNDS = 5
"""Of files that take longer: large networks have to be done within the limit, too."""

WARM_UP = 4


class Parts:
    """Times files against another one.

    Args:
        beside: that every other one is measured in turns with: the machine's own changes of speed
            drop out.
        between: bytes that are read between two runs of a part.
    """

    def __init__(self, beside: Any, between: int) -> None:
        self._beside = beside.prepare(beside.load())
        self._others: Numbers = np.ones(between // 8)[:: CACHE_LINE // 8]

    def time(self, subject: Any, *, whole: bool) -> tuple[float, float]:
        """Milliseconds of one inference of a file and of the other one, at the same speed.

        Args:
            subject: see `edgekit.agent.files.File`.
            whole: it is a whole network, of which nothing runs between two runs.
        """
        own = subject.prepare(subject.load())
        return _ratio(own, self._beside, self._others[:0] if whole else self._others)


def _ratio(
    own: Callable[[], object], reference: Callable[[], object], others: Numbers
) -> tuple[float, float]:
    """Milliseconds of both, from blocks in turns."""
    once_s = [_once(call) for call in (own, reference)]
    runs = [max(3, round(BLOCK_S / seconds)) for seconds in once_s]
    if others.size:
        runs[0] = min(runs[0], MOST_RUNS)
    slow = once_s[0] > SLOW_S
    if slow:
        runs[0] = 1
    found: tuple[list[float], list[float]] = ([], [])
    for i in range(FEW_ROUNDS if slow else ROUNDS):
        pair = ((0, own), (1, reference)) if i % 2 else ((1, reference), (0, own))
        for which, call in pair:
            # The reference tells the speed of the machine, and stays in the caches for that.
            found[which].append(_block(call, runs[which], others if which == 0 else others[:0]))
    ratios = [one / other for one, other in zip(*found)]
    reference_ms = statistics.median(found[1])
    return statistics.median(ratios) * reference_ms, reference_ms


def _once(call: Callable[[], object]) -> float:
    for _ in range(WARM_UP):
        call()
    begin = time.perf_counter()
    call()
    return max(time.perf_counter() - begin, 1e-6)


def _block(call: Callable[[], object], runs: int, others: Numbers) -> float:
    """Milliseconds: the lower quartile of a block, whose first runs fill caches.

    Args:
        others: numbers that are read before each run.
    """
    times = []
    for _ in range(runs + 2):
        others.sum()
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.percentile(times[2:], 25))
