from __future__ import annotations

import numpy as np
import pytest
from fake_meters import COUNTER, POWER, counted
from scipy import stats

from edgekit.core import Energy, Reading, from_json, to_json
from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.energy import Window, estimated, measured, unavailable
from edgekit.measure.energy_curve import energy_curve

IDLE = (0.0, 10.0)
WINDOWS: list[Window] = [(10.0 + 2 * i, 12.0 + 2 * i, 100) for i in range(5)]


def test_an_inference_costs_what_it_adds_to_idling() -> None:
    energy = measured(counted([2000] * 100 + [5000] * 100), IDLE, WINDOWS, COUNTER)
    assert (energy.kind, energy.meter, energy.scope, energy.detail, energy.windows) == (
        *("measured", "fake", "board", "VDD"),
        5,
    )
    assert energy.idle_mw == pytest.approx(2000)
    assert energy.gross_mj_per_inference == pytest.approx(100)
    assert energy.mj_per_inference == pytest.approx(60)
    assert energy.ci95 == pytest.approx((60, 60))
    assert from_json(Energy, to_json(energy)) == energy


def test_windows_of_different_length_count_their_own_inferences() -> None:
    windows = [(10.0, 14.0, 200), *WINDOWS[2:], (15.9, 18.9, 150)]
    energy = measured(counted([1000] * 100 + [3000] * 100), IDLE, windows, COUNTER)
    assert energy.mj_per_inference == pytest.approx(40)


def test_the_interval_is_students_where_only_windows_differ() -> None:
    powers = [4000, 4100, 3900, 4200, 4300]
    busy = [power for power in powers for _ in range(20)]
    energy = measured(counted([1000] * 100 + busy), IDLE, WINDOWS, COUNTER)
    net = [(power - 1000) * 2 / 100 for power in powers]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(net), scale=stats.sem(net))
    assert energy.ci95 == pytest.approx((low, high), rel=1e-4)


def test_an_unsteady_idle_power_widens_the_interval_by_its_share() -> None:
    idle = [800, 1200, 900, 1100, 1000]
    quiet = [power for power in idle for _ in range(20)]
    energy = measured(counted(quiet + [4000] * 100), IDLE, WINDOWS, COUNTER)
    half = stats.t.ppf(0.975, 4) * stats.sem(idle) * 2 / 100  # windows of 2 s, 100 inferences
    assert energy.ci95 == pytest.approx((60 - half, 60 + half), rel=1e-4)
    assert {type(end) for end in energy.ci95 or ()} == {float}


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        idle = np.repeat(random.normal(1000, 50, 5), 20)
        busy = np.repeat(random.normal(4000, 100, 5), 20)
        energy = measured(counted([*idle, *busy]), IDLE, WINDOWS, COUNTER)
        assert energy.ci95 is not None
        held += energy.ci95[0] <= 60 <= energy.ci95[1]
    assert 370 <= held <= 396


def test_too_few_windows_are_refused() -> None:
    with pytest.raises(MeterError, match="4 windows are too few"):
        measured(counted([1000] * 200), IDLE, WINDOWS[:4], COUNTER)


@pytest.mark.parametrize("idle", [IDLE, (0.0, 1.9)])
def test_windows_of_less_than_twenty_periods_are_refused(idle: tuple[float, float]) -> None:
    windows = WINDOWS if idle != IDLE else [*WINDOWS, (19.0, 20.0, 50)]
    with pytest.raises(MeterError, match=r"too short for the meter 'fake', which needs 2 s"):
        measured(counted([1000] * 100 + [2000] * 100), idle, windows, COUNTER)


def test_power_that_is_zero_while_the_network_runs_is_refused() -> None:
    shown = [Reading(t / 10, 500.0 if t < 99 else 0.0) for t in range(201)]
    with pytest.raises(MeterError, match="stuck at zero"):
        measured(energy_curve(shown, POWER), IDLE, WINDOWS, POWER)


def test_power_that_is_the_same_whatever_happens_is_refused() -> None:
    shown = [Reading(t / 10, 20_000.0) for t in range(201)]
    with pytest.raises(MeterError, match=r"20000 mW all the time.*stuck"):
        measured(energy_curve(shown, POWER), IDLE, WINDOWS, POWER)


def test_a_baseline_above_the_load_is_refused() -> None:
    with pytest.raises(MeterError, match="something else ran"):
        measured(counted([5000] * 100 + [2000] * 100), IDLE, WINDOWS, COUNTER)


@pytest.mark.parametrize("offset_mw", [-20, 20])
def test_less_than_the_meter_can_tell_is_refused_with_the_interval(offset_mw: float) -> None:
    idle = [power for power in (2000, 2300, 1900, 1700, 2100) for _ in range(20)]
    busy = [power + offset_mw for power in idle]
    with pytest.raises(MeterError, match=r"below what the meter 'fake' can tell") as caught:
        measured(counted([*idle, *busy]), IDLE, WINDOWS, COUNTER)
    net = offset_mw * 2 / 100  # windows of 2 s, 100 inferences
    low, high = (
        float(word) for word in str(caught.value).split("adds ")[1].split(" mJ")[0].split(" to ")
    )
    assert (low + high) / 2 == pytest.approx(net, abs=0.01)
    assert low < 0 < high


def test_an_estimate_adds_arithmetic_and_memory() -> None:
    energy = estimated(1_000_000, weight_bytes=800, activation_bytes=200, precision="fp32")
    # 4.6 pJ a MAC; 1.95 nJ for 8 bytes
    assert energy.mj_per_inference == pytest.approx((4.6e6 + 1000 * 243.75) * 1e-9)
    assert (energy.kind, energy.meter, energy.ci95) == ("estimated", None, None)
    assert "ISSCC 2014" in str(energy.model)


@pytest.mark.parametrize(("precision", "pj"), [("fp32", 4.6), ("fp16", 1.5), ("int8", 0.3)])
def test_estimates_show_their_coefficients(precision: str, pj: float) -> None:
    energy = estimated(1, 0, 0, precision)
    assert energy.coefficients is not None
    assert energy.coefficients["multiplication_pj"] + energy.coefficients[
        "addition_pj"
    ] == pytest.approx(pj)
    assert energy.coefficients["dram_min_pj_per_byte"] * 8 == pytest.approx(1300)
    assert energy.coefficients["dram_max_pj_per_byte"] * 8 == pytest.approx(2600)
    assert from_json(Energy, to_json(energy)) == energy


def test_nothing_is_estimated_without_a_citation() -> None:
    with pytest.raises(UnavailableError, match=r"'int4': expected one of fp32, fp16, int8"):
        estimated(1, 1, 1, "int4")


def test_unavailable_energy_tells_why() -> None:
    assert unavailable("no meter") == Energy("unavailable", reason="no meter")
