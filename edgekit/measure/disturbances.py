"""What disturbed a device while it measured, told from what an agent there saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from edgekit.core import Block, Scalar
from edgekit.measure.statistics import counted

# A desktop at rest uses some percent of a core; what a host takes away is noticed much earlier.
_OTHERS_CORES, _STEAL_CORES = 0.2, 0.02
# Of the reference network: between the first and last third, and between its slow and fast blocks.
_DRIFT, _SPREAD = 0.05, 0.15
_FREQUENCY_CHANGE = 0.05


def disturbances(conditions: Mapping[str, Scalar], *, met: bool) -> Iterator[str]:
    """Reasons for which a measurement is not stable, in words.

    Args:
        conditions: what `edgekit.agent.watching.Watch.stop` saw, and `reference_changes`, as
            ``reference_drift`` and ``reference_spread``.
        met: whether other measurements were seen.
    """

    def value(key: str) -> float:
        found = conditions.get(key)
        return float(found) if isinstance(found, int | float) else 0.0

    if conditions.get("emulated"):
        yield "its processor is emulated: times from there mean nothing"
    if conditions.get("throttled"):
        hottest = value("max_celsius")
        at = f", at {hottest:.0f} °C" if hottest else ""
        yield (
            f"the device slowed its processor down{at}: it is too hot, or has too little power; "
            f"--cooldown waits until it is cool"
        )
    if met:
        yield "another measurement ran on this machine: they disturb each other"
    if (busy := value("other_cores_busy")) > _OTHERS_CORES:
        yield f"other processes used {busy:.1f} of {value('cores'):.0f} cores"
    if (steal := value("steal_cores")) > _STEAL_CORES:
        yield f"the host took {steal:.1%} of a core away"
    if abs(drift := value("reference_drift")) > _DRIFT:
        yield f"the machine changed its speed: the reference network took {drift:+.0%}"
    if (spread := value("reference_spread")) > _SPREAD:
        yield f"the machine's speed varied: 80 % of reference blocks lie within {spread:.0%}"
    start, end = value("start_mhz"), value("end_mhz")
    if start and abs(end / start - 1) > _FREQUENCY_CHANGE:
        yield f"the frequency went from {start:.0f} to {end:.0f} MHz"


def reference_changes(blocks: Iterable[Block]) -> tuple[float | None, float | None]:
    """How the reference network's time changed over some blocks.

    Returns:
        Its last third over its first, less 1; and the width between the 10 % and 90 % points
        over the median. ``None`` of fewer than six blocks.
    """
    ordered = sorted(blocks, key=lambda block: block.start_s)
    times = [float(np.median(counted(b.reference_ms))) for b in ordered if b.reference_ms]
    if len(times) < 6:
        return None, None
    third = len(times) // 3
    drift = float(np.median(times[-third:]) / np.median(times[:third])) - 1
    low, middle, high = np.percentile(times, [10, 50, 90])
    return round(drift, 4), round(float((high - low) / middle), 4)
