from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgekit.core import Energy, Reading, from_json, to_json
from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.energy import (
    EnergyRecorder,
    Window,
    discover,
    estimated,
    measured,
    poll_s,
    shortest_window_s,
    unavailable,
)
from edgekit.measure.energy_curve import EnergyCurve, energy_curve


@dataclass
class FakeMeter:
    quantity: str = "energy"
    range_mj: float | None = None
    period_s: float = 0.1
    name: str = "fake"
    scope: str = "board"
    detail: str = "VDD"
    show: Callable[[], Sequence[Reading]] = tuple
    closed: list[bool] = field(default_factory=list)

    def read(self) -> Sequence[Reading]:
        return self.show()

    def close(self) -> None:
        self.closed.append(True)


COUNTER = FakeMeter()
POWER = FakeMeter(quantity="power")


def readings(*pairs: tuple[float, float]) -> list[Reading]:
    return [Reading(*pair) for pair in pairs]


def counted(powers_mw: Sequence[float], step_s: float = 0.1) -> EnergyCurve:
    """The curve of a counter that moves once in a step."""
    energy = np.concatenate(([0.0], np.cumsum(np.array(powers_mw) * step_s)))
    return energy_curve([Reading(i * step_s, e) for i, e in enumerate(energy)], COUNTER)


def test_a_counter_is_taken_as_it_is() -> None:
    curve = energy_curve(readings((0, 50), (0.4, 450), (0.8, 650)), COUNTER)
    assert curve.between(0.0, 0.8) == 600
    assert curve.between(0.2, 0.6) == pytest.approx(200 + 100)


def test_power_is_summed_by_trapezoids() -> None:
    curve = energy_curve(readings((0, 1000), (0.5, 3000), (1.0, 3000)), POWER)
    assert curve.between(0.0, 1.0) == pytest.approx(1000 + 1500)


def test_a_counter_that_wraps_goes_on() -> None:
    meter = FakeMeter(range_mj=65_000.0)
    curve = energy_curve(readings((0, 64_900), (0.2, 64_980), (0.4, 60), (0.6, 140)), meter)
    assert curve.between(0.0, 0.6) == 240


@given(
    steps=st.lists(st.integers(1, 99_999), min_size=1, max_size=30),
    start=st.integers(0, 99_999),
)
def test_unwrapping_gives_back_the_sum_of_the_steps(steps: list[int], start: int) -> None:
    meter = FakeMeter(range_mj=100_000.0)
    totals = itertools.accumulate(steps, initial=start)
    shown = [Reading(i * 0.4, total % 100_000) for i, total in enumerate(totals)]
    assert energy_curve(shown, meter).between(0, 0.4 * len(steps)) == sum(steps)


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=30), st.floats(0.01, 0.99))
def test_parts_add_up_to_the_whole(powers: list[float], share: float) -> None:
    shown = [Reading(i * 0.1, power) for i, power in enumerate(powers)]
    curve = energy_curve(shown, POWER)
    end_s = shown[-1].time_s
    parts = curve.between(0, share * end_s) + curve.between(share * end_s, end_s)
    assert parts == pytest.approx(curve.between(0, end_s))


def test_a_counter_read_more_often_than_it_moves_is_not_a_staircase() -> None:
    fine = [Reading(i / 100, 100.0 * (i // 10)) for i in range(101)]
    assert energy_curve(fine, COUNTER).between(0.25, 0.75) == pytest.approx(500)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("meter", [COUNTER, POWER], ids=["energy", "power"])
def test_values_that_cannot_be_are_refused(meter: FakeMeter, value: float) -> None:
    with pytest.raises(MeterError, match="which cannot be"):
        energy_curve(readings((0, 1), (0.1, value), (0.2, 3)), meter)


def test_absurd_power_is_refused() -> None:
    with pytest.raises(MeterError, match=r"5e\+07 mW, which cannot be"):
        energy_curve(readings((0, 1), (0.1, 5e7)), POWER)


def test_a_counter_that_jumps_is_refused() -> None:
    with pytest.raises(MeterError, match=r"from 1 to 1e\+09 mJ within 0.1 s, which no wrap"):
        energy_curve(readings((0, 1), (0.1, 1e9)), COUNTER)


def test_going_backwards_without_a_range_is_refused() -> None:
    with pytest.raises(MeterError, match="backwards by 5 mJ"):
        energy_curve(readings((0, 10), (0.1, 5)), COUNTER)


def test_going_backwards_by_more_than_a_wrap_explains_is_refused() -> None:
    meter = FakeMeter(range_mj=65_532_610.987)
    with pytest.raises(MeterError, match="no wrap explains"):
        energy_curve(readings((0, 30_000_000), (0.1, 29_999_000)), meter)


def test_a_counter_above_its_range_is_refused() -> None:
    with pytest.raises(MeterError, match="more than its range"):
        energy_curve(readings((0, 90), (0.1, 110)), FakeMeter(range_mj=100.0))


def test_times_that_run_backwards_are_refused() -> None:
    with pytest.raises(MeterError, match="times that run backwards"):
        energy_curve(readings((1, 1), (0.9, 2)), POWER)


@pytest.mark.parametrize("count", [0, 1])
def test_a_series_is_needed(count: int) -> None:
    with pytest.raises(MeterError, match=f"showed {count} values"):
        energy_curve(readings((0, 1))[:count], POWER)


@pytest.mark.parametrize("span", [(-0.5, 0.5), (0.5, 1.6)])
def test_a_window_that_the_meter_did_not_cover_is_refused(span: tuple[float, float]) -> None:
    with pytest.raises(MeterError, match="beyond them"):
        counted([1000] * 10).between(*span)


def test_a_meter_that_pauses_is_refused_within_the_pause_only() -> None:
    shown = [Reading(t / 10, 1000.0 + t) for t in (*range(11), *range(40, 51))]
    curve = energy_curve(shown, POWER)
    assert curve.between(0, 1) > 0
    with pytest.raises(MeterError, match="nothing new for 3 s"):
        curve.between(0.5, 4.5)


def test_a_counter_that_is_stuck_while_the_network_runs_is_refused() -> None:
    curve = energy_curve(
        [Reading(t / 10, 100.0 * min(t, 20) + 100.0 * max(t - 60, 0)) for t in range(90)], COUNTER
    )
    with pytest.raises(MeterError, match="stuck"):
        curve.between(2.5, 5.5)


def test_a_counter_that_never_moves_is_refused() -> None:
    curve = energy_curve([Reading(t / 10, 0.0) for t in range(100)], COUNTER)
    with pytest.raises(MeterError, match="stuck"):
        curve.between(1.0, 3.0)


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


def test_windows_are_twenty_periods_and_polls_not_too_fast() -> None:
    assert (poll_s(COUNTER), shortest_window_s(COUNTER)) == (0.05, 2.0)
    fast = FakeMeter(period_s=0.001)
    assert (poll_s(fast), shortest_window_s(fast)) == (0.01, 0.2)


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


class Script:
    """A meter's answers, one a call; then nothing new. Tells when it is through."""

    def __init__(self, *answers: Sequence[Reading] | Exception) -> None:
        self.answers = iter(answers)
        self.through = threading.Event()

    def __call__(self) -> Sequence[Reading]:
        answer = next(self.answers, None)
        if answer is None:
            self.through.set()
            return ()
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_recorder_gathers_what_the_meter_shows() -> None:
    script = Script(readings((0, 1000)), readings((0.5, 1000), (1.0, 2000)), readings((1.5, 2000)))
    with EnergyRecorder(FakeMeter("power", show=script), every_s=0.001) as recorder:
        recorder.reach(1.4)
        assert recorder.curve().between(0, 1.5) == pytest.approx(500 + 750 + 1000)
    assert "edgekit-energy" not in {thread.name for thread in threading.enumerate()}


def test_a_recorder_waits_for_a_counter_to_move() -> None:
    script = Script(readings((0, 5)), readings((1.0, 7)), readings((2.0, 7)))
    meter = FakeMeter(show=script)
    with EnergyRecorder(meter, every_s=0.001) as recorder:
        recorder.reach(1.0)
        assert script.through.wait(10)
        with pytest.raises(MeterError, match="nothing new"):
            recorder.reach(1.5, limit_s=0.0)
    assert meter.closed == []


def test_a_meter_that_fails_at_once_is_raised_on_entering() -> None:
    meter = FakeMeter(show=Script(MeterError("broken")))
    with pytest.raises(MeterError, match="broken"), EnergyRecorder(meter):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("failure", [MeterError("broken"), KeyError("broken")])
def test_a_meter_that_fails_later_is_raised_in_the_caller(failure: Exception) -> None:
    script = Script(readings((0, 5)), failure)
    with (
        pytest.raises(MeterError, match="broken"),
        EnergyRecorder(FakeMeter(show=script), every_s=0.001) as recorder,
    ):
        recorder.reach(1.0)
    with pytest.raises(MeterError, match="broken"):
        recorder.curve()


def test_a_meter_that_fails_unasked_is_raised_at_the_end_of_the_block() -> None:
    failed = threading.Event()

    def show() -> Sequence[Reading]:
        if threading.current_thread() is threading.main_thread():
            return readings((0, 5))
        failed.set()
        raise MeterError("broken")

    with (
        pytest.raises(MeterError, match="broken"),
        EnergyRecorder(FakeMeter(show=show), every_s=0.001),
    ):
        assert failed.wait(10)


def test_an_error_of_the_block_is_not_hidden_by_one_of_the_meter() -> None:
    script = Script(readings((0, 5)), MeterError("broken"))
    with (
        pytest.raises(ValueError, match="of the block"),
        EnergyRecorder(FakeMeter(show=script), every_s=0.001),
    ):
        raise ValueError("of the block")


@pytest.fixture
def without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.mark.usefixtures("without_nvml")
def test_without_a_meter_every_reason_is_told(tmp_path: Path) -> None:
    meter, reasons = discover(tmp_path)
    assert meter is None
    assert [reason.partition(":")[0] for reason in reasons] == [
        *("csv", "hwmon", "nvml", "pmic", "power_supply", "rapl"),
    ]


def write(root: Path, files: dict[str, object]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(str(content))
    return root


LAPTOP = {
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": 5,
    "sys/class/power_supply/BAT0/type": "Battery",
    "sys/class/power_supply/BAT0/status": "Discharging",
    "sys/class/power_supply/BAT0/power_now": 5_000_000,
}
BOARD = {
    "sys/class/hwmon/hwmon0/name": "ina3221",
    "sys/class/hwmon/hwmon0/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon0/in1_input": 5000,
    "sys/class/hwmon/hwmon0/curr1_input": 900,
}


@pytest.mark.usefixtures("without_nvml")
def test_the_meter_nearest_to_the_network_is_chosen(tmp_path: Path) -> None:
    meter, reasons = discover(write(tmp_path, LAPTOP))
    assert meter is not None
    assert meter.name == "rapl"
    assert "power_supply: rapl is preferred" in reasons
    meter, reasons = discover(write(tmp_path, BOARD))
    assert meter is not None
    assert meter.name == "hwmon"
    assert "rapl: hwmon is preferred" in reasons


@pytest.mark.usefixtures("without_nvml")
def test_the_package_does_not_see_a_network_on_the_gpu(tmp_path: Path) -> None:
    meter, reasons = discover(write(tmp_path, LAPTOP), gpu=True)
    assert meter is not None
    assert meter.name == "power_supply"
    assert any(reason.startswith("rapl: it meters the package") for reason in reasons)
