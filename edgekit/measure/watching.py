"""Watching the machine while it measures: what others used, and whether its speed changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from edgekit.core import Block, Scalar
from edgekit.measure import environment
from edgekit.measure.environment import Presence, Usage
from edgekit.measure.statistics import counted

# A desktop at rest uses some percent of a core; what a host takes away is noticed much earlier.
_OTHERS_CORES, _STEAL_CORES = 0.2, 0.02
# Of the reference network: between the first and last third, and between its slow and fast blocks.
_DRIFT, _SPREAD = 0.05, 0.15
_FREQUENCY_CHANGE = 0.05

_LOOK_EVERY_S = 0.5


class Watch:
    """Looks at the machine from `start` to `stop`, as often as `look` is called in between.

    Args:
        presence: of this measurement on the machine.
        own: gives the processes whose work is the measurement's.

    Attributes:
        conditions: what was seen, by keys with units; all there after `stop`.
    """

    def __init__(self, presence: Presence, own: Callable[[], list[int]]) -> None:
        self._presence, self._own = presence, own
        self._before: tuple[Usage | None, float] = (None, 0.0)
        self._looked_s = 0.0
        self._mhz: list[float] = []
        self.conditions: dict[str, Scalar] = {}

    def start(self) -> None:
        """Notes how the machine is at the beginning."""
        self._before = (environment.usage(), environment.own_seconds(self._own()))
        self.look(now=True)

    def look(self, *, now: bool = False) -> None:
        """Looks for other measurements and at the frequency; twice a second suffices.

        Args:
            now: whether to look however short ago the last look was.
        """
        clock_s = time.monotonic()
        if not now and clock_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = clock_s
        self._presence.others()
        mhz = environment.moment()["max_mhz"]
        if isinstance(mhz, float):
            self._mhz.append(mhz)

    def stop(self, blocks: Iterable[Block]) -> None:
        """Notes what changed.

        Args:
            blocks: all that were taken.
        """
        self.look(now=True)
        usage, own_s = self._before
        now, own_now_s = environment.usage(), environment.own_seconds(self._own())
        self.conditions = {**environment.machine(), **environment.moment()}
        if usage is not None and now is not None:
            seconds = max(now.clock_s - usage.clock_s, 1e-9)
            others_s = now.busy_s - usage.busy_s - (own_now_s - own_s)
            self.conditions["other_cores_busy"] = round(max(0.0, others_s / seconds), 3)
            self.conditions["steal_cores"] = round((now.steal_s - usage.steal_s) / seconds, 4)
        if self._mhz:
            third = max(1, len(self._mhz) // 3)
            self.conditions["start_mhz"] = float(np.median(self._mhz[:third]))
            self.conditions["end_mhz"] = float(np.median(self._mhz[-third:]))
        self.conditions["reference_drift"], self.conditions["reference_spread"] = reference_changes(
            blocks
        )

    def reasons(self) -> Iterator[str]:
        """What disturbed the machine, in words."""
        if self._presence.met:
            yield "another measurement ran on this machine: they disturb each other"
        if (busy := self._number("other_cores_busy")) > _OTHERS_CORES:
            yield f"other processes used {busy:.1f} of {os.cpu_count()} cores"
        if (steal := self._number("steal_cores")) > _STEAL_CORES:
            yield f"the host took {steal:.1%} of a core away"
        if abs(drift := self._number("reference_drift")) > _DRIFT:
            yield f"the machine changed its speed: the reference network took {drift:+.0%}"
        if (spread := self._number("reference_spread")) > _SPREAD:
            yield f"the machine's speed varied: 80 % of reference blocks lie within {spread:.0%}"
        start, end = self._number("start_mhz"), self._number("end_mhz")
        if start and abs(end / start - 1) > _FREQUENCY_CHANGE:
            yield f"the frequency went from {start:.0f} to {end:.0f} MHz"

    def _number(self, key: str) -> float:
        value = self.conditions.get(key)
        return float(value) if isinstance(value, int | float) else 0.0


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
