"""Cumulative energy over time, from what a meter showed; what cannot be is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.agent.recorder import LONGEST_GAP_PERIODS, REMEDY
from edgekit.core import Meter, MeterRecord, Reading
from edgekit.errors import MeterError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_GAP_S = 0.5  # a busy machine may keep a fast meter's reader waiting for so long

# A machine with eight GPUs draws 10.2 kW (NVIDIA DGX H100 datasheet).
_MOST_MW = 20e6


@dataclass(frozen=True, slots=True)
class EnergyCurve:
    """Cumulative energy over time, straight between its points.

    Attributes:
        meter: name of the meter, for messages.
        times_s: when, never falling, shape (N,).
        energy_mj: since the first point, shape (N,).
        longest_gap_s: between points that still tell what was between them.
    """

    meter: str
    times_s: NDArray[np.float64]
    energy_mj: NDArray[np.float64]
    longest_gap_s: float

    def between(self, begin_s: float, end_s: float) -> float:
        """The energy of a span, in mJ.

        Raises:
            MeterError: the curve does not cover it, or has a gap in it.
        """
        assert begin_s < end_s, "a span of time"
        first_s, last_s = float(self.times_s[0]), float(self.times_s[-1])
        if begin_s < first_s or end_s > last_s:
            raise MeterError(
                f"meter '{self.meter}' tells of {last_s - first_s:.3g} s, but a window reaches "
                f"{max(first_s - begin_s, end_s - last_s):.3g} s beyond them: it is stuck, or its "
                f"clock is wrong; {REMEDY}"
            )
        low = int(np.searchsorted(self.times_s, begin_s, side="right")) - 1
        high = int(np.searchsorted(self.times_s, end_s, side="left"))
        gap_s = float(np.max(np.diff(self.times_s[low : high + 1]), initial=0.0))
        if gap_s > self.longest_gap_s:
            raise MeterError(
                f"meter '{self.meter}' showed nothing new for {gap_s:.3g} s (expected at most "
                f"{self.longest_gap_s:.3g} s): it is stuck, or was not read; {REMEDY}"
            )
        begin_mj, end_mj = np.interp([begin_s, end_s], self.times_s, self.energy_mj)
        return float(end_mj - begin_mj)


def energy_curve(readings: Sequence[Reading], meter: Meter | MeterRecord) -> EnergyCurve:
    """Adds up what a meter showed: a counter's steps, or the trapezoids under its power.

    Raises:
        MeterError: there are fewer than two readings, or one that cannot be.
    """
    times_s = np.array([reading.time_s for reading in readings], dtype=np.float64)
    values = np.array([reading.value for reading in readings], dtype=np.float64)
    unit = "mJ" if meter.quantity == "energy" else "mW"
    if len(readings) < 2:
        raise MeterError(f"meter '{meter.name}' showed {len(readings)} values: expected a series")
    wrong = ~np.isfinite(values) | (values < 0) | ~np.isfinite(times_s)
    if meter.quantity == "power":
        wrong |= values > _MOST_MW
    if wrong.any():
        raise MeterError(
            f"meter '{meter.name}' showed {values[wrong][0]:g} {unit}, which cannot be; {REMEDY}"
        )
    if np.any(np.diff(times_s) < 0):
        raise MeterError(f"meter '{meter.name}' has times that run backwards; {REMEDY}")
    if meter.quantity == "energy":
        steps = _counter_steps(times_s, values, meter)
        # A counter moves once in a period: when it stood still says nothing about power.
        moved = np.concatenate(([True], steps > 0))
        times_s, steps = times_s[moved], steps[moved[1:]]
    else:
        steps = np.diff(times_s) * (values[1:] + values[:-1]) / 2
    energy_mj = np.concatenate(([0.0], np.cumsum(steps)))
    gap_s = max(LONGEST_GAP_PERIODS * meter.period_s, _LONGEST_GAP_S)
    return EnergyCurve(meter.name, times_s, energy_mj, gap_s)


def _counter_steps(
    times_s: NDArray[np.float64], values: NDArray[np.float64], meter: Meter | MeterRecord
) -> NDArray[np.float64]:
    """Differences in mJ, with the counter's range added where it began again at 0."""
    steps = np.diff(values)
    back = steps < 0
    if meter.range_mj is None:
        if back.any():
            raise MeterError(
                f"meter '{meter.name}' went backwards by {-steps[back][0]:.6g} mJ, though it "
                f"never begins again at 0; {REMEDY}"
            )
    elif np.any(values > meter.range_mj):
        raise MeterError(
            f"meter '{meter.name}' showed {values.max():.6g} mJ, more than its range of "
            f"{meter.range_mj:.6g} mJ; {REMEDY}"
        )
    else:
        steps = np.where(back, steps + meter.range_mj, steps)
    absurd = steps > _MOST_MW * (np.diff(times_s) + meter.period_s)
    if absurd.any():
        at = int(np.argmax(absurd))
        raise MeterError(
            f"meter '{meter.name}' went from {values[at]:.6g} to {values[at + 1]:.6g} mJ within "
            f"{times_s[at + 1] - times_s[at]:.3g} s, which no wrap explains; {REMEDY}"
        )
    return steps
