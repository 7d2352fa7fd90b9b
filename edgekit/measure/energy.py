"""From what meters show to the energy of an inference, with an interval.

The readings of a meter (`edgekit.agent.recorder`) become a curve of cumulative energy
(`edgekit.measure.energy_curve`), on which windows of inferences and of idling are evaluated
(`measured`). What a meter cannot have shown rightly is refused on the way: better no energy than a
wrong one. Without a meter there is `estimated`, which nobody can take for a measurement.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from edgekit.agent.recorder import PERIODS_PER_WINDOW, REMEDY, shortest_window_s
from edgekit.core import Energy, Meter, MeterRecord
from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.energy_curve import EnergyCurve

if TYPE_CHECKING:
    from numpy.typing import NDArray

Span = tuple[float, float]
"""Begin and end in s, on the clock of the readings."""

Window = tuple[float, float, int]
"""Begin and end in s, and the inferences between them."""

FEWEST_WINDOWS = 5
"""What an interval needs."""

_IDLE_PARTS = 5  # of the idle window, for the spread of idle power

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


def measured(
    curve: EnergyCurve, idle_window: Span, windows: Sequence[Window], meter: Meter | MeterRecord
) -> Energy:
    """The energy of an inference: mean over windows, with a 95 % interval by Student's t.

    The interval has in it how the windows differ, and how parts of the idle window differ; the
    latter counts in full, since all windows share the one baseline.

    Raises:
        MeterError: there are fewer than 5 windows, one is shorter than 20 periods of the meter,
            what the meter showed cannot be, or the inferences add less than it can tell from
            nothing.
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
    if mean - half <= 0:
        raise MeterError(
            f"below what the meter '{meter.name}' can tell: an inference adds {mean - half:.3g} to "
            f"{mean + half:.3g} mJ to an idle power of {idle_mw:.4g} mW; measure on a quieter "
            "machine, or with a meter that sees less besides the network"
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


def _check_moves(powers_mw: NDArray[np.float64], meter: Meter | MeterRecord) -> None:
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


def _check_spans(idle_window: Span, windows: Sequence[Window], meter: Meter | MeterRecord) -> None:
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
