"""Watching a device while it measures: what others used, and whether its speed changed."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from edgekit.agent import environment, thermal
from edgekit.agent.environment import Usage
from edgekit.agent.presence import Presence, shared_folder

if TYPE_CHECKING:
    from edgekit.core import Scalar

_LOOK_EVERY_S = 0.5


class Watch:
    """Looks at the device from `start` to `stop`, as often as `look` is called in between.

    Args:
        own: gives the processes whose work is the measurement's.
        folder: see `edgekit.agent.presence.Presence`; by default the one of this user.
    """

    def __init__(self, own: Callable[[], list[int]], folder: str | None = None) -> None:
        self._presence = Presence(shared_folder() if folder is None else Path(folder))
        self._own = own
        self._before: tuple[Usage | None, float] = (None, 0.0)
        self._looked_s = 0.0
        self._mhz: list[float] = []
        self._celsius: list[float] = []
        self._throttled: bool | None = None
        self._throttles: float | None = None

    @property
    def why_not(self) -> str | None:
        """Why it cannot tell whether others measure; ``None`` where it can."""
        return self._presence.why_not

    @property
    def met(self) -> bool:
        """Whether others measured at the same time."""
        return self._presence.met

    def start(self) -> None:
        """Notes how the device is at the beginning."""
        self._before = (environment.usage(), environment.own_seconds(self._own()))
        self._throttles = thermal.throttle_count()
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
        moment = environment.moment()
        mhz, celsius, throttled = moment["max_mhz"], moment["max_celsius"], thermal.throttled()
        if isinstance(mhz, float):
            self._mhz.append(mhz)
        if isinstance(celsius, float):
            self._celsius.append(celsius)
        if throttled is not None:
            self._throttled = bool(self._throttled) or throttled

    def stop(self) -> dict[str, Scalar]:
        """What was seen, by keys with units."""
        self.look(now=True)
        usage, own_s = self._before
        now, own_now_s = environment.usage(), environment.own_seconds(self._own())
        conditions: dict[str, Scalar] = {**environment.machine(), **environment.moment()}
        if usage is not None and now is not None:
            seconds = max(now.clock_s - usage.clock_s, 1e-9)
            others_s = now.busy_s - usage.busy_s - (own_now_s - own_s)
            conditions["other_cores_busy"] = round(max(0.0, others_s / seconds), 3)
            conditions["steal_cores"] = round((now.steal_s - usage.steal_s) / seconds, 4)
        if self._celsius:
            found = {"start": self._celsius[0], "end": self._celsius[-1], "max": max(self._celsius)}
            conditions.update({f"{when}_celsius": value for when, value in found.items()})
        throttles = thermal.throttle_count()
        if throttles is not None and self._throttles is not None:
            self._throttled = bool(self._throttled) or throttles > self._throttles
        if self._throttled is not None:
            conditions["throttled"] = self._throttled
        if self._mhz:
            third = max(1, len(self._mhz) // 3)
            conditions["start_mhz"] = float(statistics.median(self._mhz[:third]))
            conditions["end_mhz"] = float(statistics.median(self._mhz[-third:]))
        return conditions

    def close(self) -> None:
        """Ends the presence."""
        self._presence.close()
