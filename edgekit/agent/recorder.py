"""Reading a meter while something else runs."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from edgekit.errors import MeterError

if TYPE_CHECKING:
    from types import TracebackType

    from edgekit.core import Meter, MeterRecord, Reading

REMEDY = "choose another meter, or leave it out with --energy off"

LONGEST_GAP_PERIODS = 10
"""Without news for longer, the curve in between is a guess."""

PERIODS_PER_WINDOW = 20
"""What a window needs; its ends are uncertain by about a period."""

# Readings wake up a core that runs the network: not more often than this, which is far below the
# range of a counter over its largest power (65 kJ over 2 kW: 33 s).
_SHORTEST_POLL_S = 0.01


def poll_s(meter: Meter | MeterRecord) -> float:
    """How often the meter is worth reading, in s."""
    return max(meter.period_s / 2, _SHORTEST_POLL_S)


def shortest_window_s(meter: Meter | MeterRecord) -> float:
    """How long a window must be at least, in s."""
    return PERIODS_PER_WINDOW * max(meter.period_s, poll_s(meter))


class EnergyRecorder:
    """Reads a meter in a thread of its own, from the beginning to the end of a ``with`` block.

    It does not close the meter. What goes wrong in the thread is raised by `reach`, `readings`, and
    the end of the block.

    Args:
        every_s: between readings; as `poll_s` says if ``None``.

    Raises:
        MeterError: at the beginning of the block, the first reading failed.
    """

    def __init__(self, meter: Meter, every_s: float | None = None) -> None:
        self._meter = meter
        self._every_s = poll_s(meter) if every_s is None else every_s
        self._readings: list[Reading] = []
        self._error: MeterError | None = None
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="edgekit-energy", daemon=True)

    def __enter__(self) -> EnergyRecorder:
        self._gather()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(self._patience_s())
        if kind is None:
            if self._thread.is_alive():
                raise MeterError(f"meter '{self._meter.name}' does not answer; {REMEDY}")
            self._raise_kept()

    def reach(self, time_s: float, limit_s: float | None = None) -> None:
        """Waits until the meter has shown something new after a time, such as a window's end.

        Raises:
            MeterError: it does not within ``limit_s``, or fails.
        """
        limit_s = self._patience_s() if limit_s is None else limit_s
        with self._news:
            reached = self._news.wait_for(
                lambda: self._error is not None or self._newest_s() >= time_s, limit_s
            )
        self._raise_kept()
        if not reached:
            raise MeterError(
                f"meter '{self._meter.name}' has shown nothing new for {limit_s:.3g} s: it is "
                f"stuck, or its clock is wrong; {REMEDY}"
            )

    def readings(self) -> tuple[Reading, ...]:
        """What was read until now.

        Raises:
            MeterError: the meter failed.
        """
        self._raise_kept()
        with self._news:
            return tuple(self._readings)

    def _poll(self) -> None:
        try:
            while not self._stop.wait(self._every_s):
                self._gather()
        except MeterError as error:
            with self._news:
                self._error = error
                self._news.notify_all()

    def _gather(self) -> None:
        try:
            found = self._meter.read()
        except MeterError:
            raise
        except Exception as error:  # of a library, or of an odd device
            raise MeterError(f"meter '{self._meter.name}' failed: {error!r}; {REMEDY}") from error
        with self._news:
            self._readings.extend(found)
            self._news.notify_all()

    def _raise_kept(self) -> None:
        if self._error is not None:
            raise self._error

    def _newest_s(self) -> float:
        """When the meter last showed something new."""
        if self._meter.quantity == "power":
            return self._readings[-1].time_s if self._readings else -math.inf
        latest, before = reversed(self._readings), reversed(self._readings)
        next(before, None)
        for newer, older in zip(latest, before):
            if newer.value != older.value:
                return newer.time_s
        return -math.inf

    def _patience_s(self) -> float:
        return max(LONGEST_GAP_PERIODS * self._meter.period_s, 5.0)
