"""From what meters show to the energy of an inference, with an interval.

`EnergyRecorder` gathers the readings of a meter; they become a curve of cumulative energy
(`edgekit.measure.energy_curve`), on which windows of inferences and of idling are evaluated
(`measured`). What a meter cannot have shown rightly is refused on the way: better no energy than a
wrong one. Without a meter there is `estimated`, which nobody can take for a measurement.
"""

from __future__ import annotations

import itertools
import math
import statistics
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from edgekit import registry
from edgekit.core import Energy, Meter, Reading
from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.energy_curve import LONGEST_GAP_PERIODS, REMEDY, EnergyCurve, energy_curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

Span = tuple[float, float]
"""Begin and end in s, on the clock of the readings."""

Window = tuple[float, float, int]
"""Begin and end in s, and the inferences between them."""

FEWEST_WINDOWS = 5
PERIODS_PER_WINDOW = 20
"""What an interval needs; a window's ends are uncertain by about a period."""

_IDLE_PARTS = 5  # of the idle window, for the spread of idle power

# Readings wake up a core that runs the network: not more often than this, which is far below the
# range of a counter over its largest power (65 kJ over 2 kW: 33 s).
_SHORTEST_POLL_S = 0.01

_MODEL = (
    "MACs x (multiplication + addition) + bytes of weights and activations x one transfer from "
    "DRAM, at 45 nm: M. Horowitz, Computing's energy problem, ISSCC 2014, figure 1.1.9; caches, "
    "control and leakage left out"
)

# Horowitz, ISSCC 2014, figure 1.1.9. DRAM: 1.3 to 2.6 nJ for 64 bit; the middle counts.
_MAC_PJ: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "fp32": {"multiplication_pj": 3.7, "addition_pj": 0.9},
        "fp16": {"multiplication_pj": 1.1, "addition_pj": 0.4},
        "int8": {"multiplication_pj": 0.2, "addition_pj": 0.1},  # sums in int32
    }
)
_DRAM_PJ = {
    "dram_pj_per_byte": 1950 / 8,
    "dram_min_pj_per_byte": 1300 / 8,
    "dram_max_pj_per_byte": 2600 / 8,
}

# What sees the processor, best first: the whole board, then what is nearest to the processor and
# quickest. A battery sees the screen too, and is slow.
_CPU_SCOPES = ("board", "rail", "package", "wall", "device")
_GPU_SCOPES = ("gpu", "board", "rail", "wall", "device")


def poll_s(meter: Meter) -> float:
    """How often the meter is worth reading, in s."""
    return max(meter.period_s / 2, _SHORTEST_POLL_S)


def shortest_window_s(meter: Meter) -> float:
    """How long a window must be at least, in s."""
    return PERIODS_PER_WINDOW * max(meter.period_s, poll_s(meter))


class EnergyRecorder:
    """Reads a meter in a thread of its own, from the beginning to the end of a ``with`` block.

    It does not close the meter. What goes wrong in the thread is raised by `reach`, `curve`, and
    the end of the block.

    Args:
        every_s: between readings; as `poll_s` says if ``None``.
    """

    def __init__(self, meter: Meter, every_s: float | None = None) -> None:
        self._meter = meter
        self._every_s = poll_s(meter) if every_s is None else every_s
        self._readings: list[Reading] = []
        self._error: MeterError | None = None
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="edgekit-energy", daemon=True)

    def __enter__(self) -> Self:
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

    def curve(self) -> EnergyCurve:
        """What was read until now.

        Raises:
            MeterError: as `energy_curve` does, or the meter failed.
        """
        self._raise_kept()
        with self._news:
            return energy_curve(tuple(self._readings), self._meter)

    def _poll(self) -> None:
        try:
            while not self._stop.wait(self._every_s):
                self._gather()
        except MeterError as error:
            self._keep(error)
        except Exception as error:  # an unforeseen one must not end the thread in silence
            kept = MeterError(f"meter '{self._meter.name}' failed: {error!r}; {REMEDY}")
            kept.__cause__ = error
            self._keep(kept)

    def _gather(self) -> None:
        found = self._meter.read()
        with self._news:
            self._readings.extend(found)
            self._news.notify_all()

    def _keep(self, error: MeterError) -> None:
        with self._news:
            self._error = error
            self._news.notify_all()

    def _raise_kept(self) -> None:
        if self._error is not None:
            raise self._error

    def _newest_s(self) -> float:
        """When the meter last showed something new."""
        if self._meter.quantity == "power":
            return self._readings[-1].time_s if self._readings else -math.inf
        for newer, older in itertools.pairwise(reversed(self._readings)):
            if newer.value != older.value:
                return newer.time_s
        return -math.inf

    def _patience_s(self) -> float:
        return max(LONGEST_GAP_PERIODS * self._meter.period_s, 5.0)


def measured(
    curve: EnergyCurve, idle_window: Span, windows: Sequence[Window], meter: Meter
) -> Energy:
    """The energy of an inference: mean over windows, with a 95 % interval by Student's t.

    The interval has in it how the windows differ, and how parts of the idle window differ; the
    latter counts in full, since all windows share the one baseline.

    Raises:
        MeterError: there are fewer than 5 windows, one is shorter than 20 periods of the meter,
            or what the meter showed cannot be.
    """
    _check_spans(idle_window, windows, meter)
    spans_s = np.array([end - begin for begin, end, _ in windows])
    counts = np.array([inferences for _, _, inferences in windows])
    energy_mj = np.array([curve.between(begin, end) for begin, end, _ in windows])
    bounds = np.linspace(idle_window[0], idle_window[1], _IDLE_PARTS + 1)
    part_s = (idle_window[1] - idle_window[0]) / _IDLE_PARTS
    idle = np.array([curve.between(a, b) / part_s for a, b in itertools.pairwise(bounds)])
    _check_moves(np.concatenate((idle, energy_mj / spans_s)), meter)
    idle_mw = float(idle.mean())
    net = (energy_mj - idle_mw * spans_s) / counts
    half = _t_half_width(
        (float(net.var(ddof=1)) / len(net), len(net) - 1),
        (float(idle.var(ddof=1) * np.mean(spans_s / counts) ** 2) / len(idle), len(idle) - 1),
    )
    mean = float(net.mean())
    if mean + half <= 0:
        raise MeterError(
            f"meter '{meter.name}' shows {idle_mw:.4g} mW before the inferences, more than with "
            "them: something else ran; wait until the machine is idle and measure again"
        )
    return Energy(
        "measured",
        meter=meter.name,
        scope=meter.scope,
        detail=meter.detail,
        mj_per_inference=mean,
        gross_mj_per_inference=float((energy_mj / counts).mean()),
        idle_mw=idle_mw,
        ci95=(mean - half, mean + half),
        windows=len(windows),
    )


def _check_moves(powers_mw: NDArray[np.float64], meter: Meter) -> None:
    """Refuses a power that is the same to the last digit, idle or not: it was not measured.

    Args:
        powers_mw: of the idle parts first, then of the windows.
    """
    if np.any(powers_mw[_IDLE_PARTS:] <= 0):
        raise MeterError(
            f"meter '{meter.name}' shows no energy at all while the network ran: it is stuck at "
            f"zero; {REMEDY}"
        )
    if np.ptp(powers_mw) <= 1e-9 * powers_mw.max():
        raise MeterError(
            f"meter '{meter.name}' shows {powers_mw[0]:.6g} mW all the time, whether the network "
            f"runs or not: it is stuck; {REMEDY}"
        )


def _check_spans(idle_window: Span, windows: Sequence[Window], meter: Meter) -> None:
    if len(windows) < FEWEST_WINDOWS:
        raise MeterError(
            f"{len(windows)} windows are too few for an interval (expected {FEWEST_WINDOWS}); "
            "measure for more --seconds"
        )
    least_s = shortest_window_s(meter)
    shortest_s = min(end - begin for begin, end, *_ in (idle_window, *windows))
    if shortest_s < least_s * (1 - 1e-9):
        raise MeterError(
            f"a window of {shortest_s:.3g} s is too short for the meter '{meter.name}', which "
            f"needs {least_s:.3g} s ({PERIODS_PER_WINDOW} readings); measure for more --seconds"
        )


def _t_half_width(*variances: tuple[float, int]) -> float:
    """Half a 95 % interval of a sum of means, from their variances and degrees of freedom.

    Welch and Satterthwaite's degrees of freedom, B. L. Welch, Biometrika 34 (1947).
    """
    total = sum(variance for variance, _ in variances)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in variances)
    return _t_quantile(freedom) * math.sqrt(total)


def _t_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t; within 0.001 from 4 degrees of freedom on.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def estimated(macs: int, weight_bytes: int, activation_bytes: int, precision: str) -> Energy:
    """A guess from counts, for want of a meter; nothing was measured.

    Args:
        macs: multiply-accumulates of an inference.
        weight_bytes: of all weights, which come from DRAM once.
        activation_bytes: that go to DRAM or come from it.
        precision: of the arithmetic: ``fp32``, ``fp16``, ``int8``. A file with fp16 weights is
            computed in fp32 on most CPUs.

    Raises:
        UnavailableError: nothing is cited for that precision.
    """
    if precision not in _MAC_PJ:
        raise UnavailableError(
            f"no estimate of energy for the precision '{precision}': expected one of "
            f"{', '.join(_MAC_PJ)}; leave it out with --energy off"
        )
    coefficients = {**_MAC_PJ[precision], **_DRAM_PJ}
    mac_pj = coefficients["multiplication_pj"] + coefficients["addition_pj"]
    moved_pj = (weight_bytes + activation_bytes) * coefficients["dram_pj_per_byte"]
    return Energy(
        "estimated",
        mj_per_inference=(macs * mac_pj + moved_pj) * 1e-9,
        model=_MODEL,
        coefficients=coefficients,
    )


def unavailable(reason: str) -> Energy:
    """No energy, and why."""
    return Energy("unavailable", reason=reason)


def discover(root: Path, *, gpu: bool = False) -> tuple[Meter | None, tuple[str, ...]]:
    """Opens the meter that sees a network best, for ``--energy auto``.

    Args:
        root: of the file system.
        gpu: whether the network runs on a GPU; without, a GPU's meter does not see it.

    Returns:
        The meter, or ``None``; and for every other one why not, its name first.
    """
    scopes = _GPU_SCOPES if gpu else _CPU_SCOPES
    best: Meter | None = None
    reasons = []
    for name in registry.METERS:
        try:
            found = registry.meter(name).open(root)
        except UnavailableError as error:
            reasons.append(f"{name}: {error}")
            continue
        if found.scope not in scopes:
            loser: Meter | None = found
            reason = f"it meters the {found.scope}, where the network does not run"
        elif best is None or scopes.index(found.scope) < scopes.index(best.scope):
            loser, best = best, found
            reason = f"{found.name} is preferred"
        else:
            loser, reason = found, f"{best.name} is preferred"
        if loser is not None:
            loser.close()
            reasons.append(f"{loser.name}: {reason}")
    return best, tuple(reasons)
