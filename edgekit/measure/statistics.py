"""Statistics of latency samples: percentiles, ratios, and how sure they are.

A machine disturbs measurements in three ways, and each has its answer here. Single inferences are
interrupted: the median of a block of runs passes over them. The machine as a whole is faster now
and slower then: what is compared was measured in turns, and each ratio is of two neighbouring
blocks. And an artifact that is loaded anew lies elsewhere in memory, which makes it a few percent
faster or slower until it is unloaded: artifacts are loaded many times, and intervals come from
resampling those loads (a bootstrap of clusters), not single runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Block

Values = NDArray[np.float64]

RESAMPLES = 1000
CONFIDENCE = 0.95

# The first runs of a block bring the network back into the caches: what runs in these milliseconds
# does not count, nor do so many runs of a fast network.
WARM_MS, WARM_RUNS = 8.0, 4

# Ratios nearer to 1 than this are what remains between two measurements of the same file.
RESOLUTION = 0.005


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """What the samples of an artifact say, in milliseconds.

    Attributes:
        n: samples that count.
        ci95_ms: interval of the median.
    """

    min_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    n: int
    ci95_ms: tuple[float, float]

    @property
    def precision(self) -> float:
        """Half the width of the interval, as a share of the median."""
        low, high = self.ci95_ms
        return (high - low) / 2 / self.p50_ms


@dataclass(frozen=True, slots=True)
class Ratio:
    """Time of A over time of B.

    Attributes:
        ci95: interval of the ratio.
        rounds: pairs of blocks that it comes from.
        loads: how often both were loaded anew.
    """

    ratio: float
    ci95: tuple[float, float]
    rounds: int
    loads: int

    @property
    def precision(self) -> float:
        """Half the width of the interval, as a share of the ratio."""
        return (self.ci95[1] - self.ci95[0]) / 2 / self.ratio

    @property
    def verdict(self) -> str:
        """``a_faster``, ``b_faster``, or ``indistinguishable``."""
        low, high = self.ci95
        if high < 1 and self.ratio < 1 - RESOLUTION:
            return "a_faster"
        if low > 1 and self.ratio > 1 + RESOLUTION:
            return "b_faster"
        return "indistinguishable"


def counted(samples: Sequence[float]) -> Sequence[float]:
    """The samples of a block that count: all but the first ones, of few runs fewer."""
    warm = math.ceil(WARM_MS / float(np.median(samples))) if samples else 0
    return samples[min(warm, WARM_RUNS, max(1, len(samples) // 3)) if len(samples) > 1 else 0 :]


def summary(blocks: Sequence[Block]) -> LatencySummary:
    """Percentiles over all counted samples of one artifact, and the median's interval.

    Raises:
        ValueError: there are no samples.
    """
    samples = np.array([ms for block in blocks for ms in counted(block.samples_ms)])
    if not len(samples):
        raise ValueError("no samples")
    p50, p90, p99 = (float(v) for v in np.percentile(samples, [50, 90, 99]))
    low, high = interval(_by_load(blocks, [_typical(block.samples_ms) for block in blocks]))
    return LatencySummary(
        float(samples.min()),
        p50,
        p90,
        p99,
        float(samples.mean()),
        len(samples),
        (min(low, p50), max(high, p50)),
    )


def reference_ms(blocks: Sequence[Block]) -> float | None:
    """Median time of the reference network behind the blocks.

    Times of one machine in good and bad moments are nearer to each other in its units than in
    milliseconds.
    """
    times = [ms for block in blocks for ms in counted(block.reference_ms)]
    return float(np.median(times)) if times else None


def ratio(a: Sequence[Block], b: Sequence[Block]) -> Ratio:
    """Time of A over time of B, from blocks that were taken in turns.

    Args:
        a: one block per round.
        b: those of the same rounds.
    """
    rounds = min(len(a), len(b))
    ratios = [
        _typical(one.samples_ms) / _typical(other.samples_ms)
        for one, other in zip(a[:rounds], b[:rounds], strict=True)
    ]
    loads = _by_load(a[:rounds], ratios)
    return Ratio(float(np.median(ratios)), interval(loads), rounds, len(loads))


def ratio_apart(a: Sequence[Block], b: Sequence[Block]) -> Ratio:
    """Time of A over time of B that were not taken in turns, as on two devices.

    What a device has of its own is all in it, and its interval tells of the rest alone.
    """
    one, other = summary(a), summary(b)
    halves = [math.log(s.ci95_ms[1] / s.ci95_ms[0]) / 2 for s in (one, other)]
    half, middle = math.hypot(*halves), one.p50_ms / other.p50_ms
    loads = min(len({block.instance for block in blocks}) for blocks in (a, b))
    ends = middle * math.exp(-half), middle * math.exp(half)
    return Ratio(middle, ends, min(len(a), len(b)), loads)


def interval(clusters: Sequence[Values]) -> tuple[float, float]:
    """Interval of the median of positive values that come in clusters.

    Whole clusters are drawn with replacement, as values of one cluster may have their deviation
    in common. Few clusters can look alike by chance, so single values are drawn as well, and the
    wider interval counts. All of it in logarithms, as times and ratios vary by factors.
    """
    most = max(1, _MOST_VALUES // len(clusters))
    clusters = [_condensed(np.log(values), most) for values in clusters]
    together = np.concatenate(clusters)
    half = _half_width(np.split(together, len(together)))
    if len(clusters) > 1:
        half = max(half, _half_width(clusters))
    middle = float(np.median(together))
    return math.exp(middle - half), math.exp(middle + half)


def _half_width(clusters: Sequence[Values]) -> float:
    """Half the width of a bootstrap interval of the median, of clusters drawn with replacement.

    With few clusters the ends of a bootstrap lie too near; they are moved outwards as the spread
    of a small sample is below that of its population, and as Student's distribution is wider than
    the normal one.
    """
    count = len(clusters)
    table = np.full((count, max(map(len, clusters))), np.nan)
    for row, values in zip(table, clusters, strict=True):
        row[: len(values)] = values
    rng = np.random.default_rng(0)  # the same samples give the same interval
    drawn = rng.integers(count, size=(RESAMPLES, count))
    medians = np.nanmedian(table[drawn].reshape(RESAMPLES, -1), axis=1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(medians, [tail, 100 - tail])
    # Of few clusters one end can lie on the middle by chance: only their distance is of use.
    wider = _student_over_normal(count) * math.sqrt(count / max(count - 1, 1))
    return float(wider * (high - low) / 2)


# Beyond these, an interval gets no better, and resampling takes more and more memory.
_MOST_VALUES = 2000


def _condensed(values: Values, most: int) -> Values:
    """At most so many values: medians of neighbours."""
    if len(values) <= most:
        return values
    return np.array([np.median(part) for part in np.array_split(values, most)])


# 97.5 % points of Student's distribution by degrees of freedom, over the normal one's 1.960.
_STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 8: 2.306, 10: 2.228}
_STUDENT |= {15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000}


def _student_over_normal(clusters: int) -> float:
    freedom = max((n for n in _STUDENT if n <= max(clusters - 1, 1)), default=1)
    return _STUDENT[freedom] / 1.960


def _typical(samples: Sequence[float]) -> float:
    return float(np.median(counted(samples)))


def _by_load(blocks: Sequence[Block], values: Sequence[float]) -> list[Values]:
    """The values of blocks, one array per load of the artifact."""
    found: dict[int, list[float]] = {}
    for block, value in zip(blocks, values, strict=True):
        found.setdefault(block.instance, []).append(value)
    return [np.array(group) for group in found.values()]
