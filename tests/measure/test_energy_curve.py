from __future__ import annotations

import itertools

import pytest
from fake_meters import COUNTER, POWER, FakeMeter, counted, readings
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core import Reading
from edgekit.errors import MeterError
from edgekit.measure.energy_curve import energy_curve


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
