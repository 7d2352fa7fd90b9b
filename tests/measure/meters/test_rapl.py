from __future__ import annotations

from pathlib import Path

import pytest
from fake_devices import Clock, rapl_zone
from hypothesis import given
from hypothesis import strategies as st
from permissions import unreadable

from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.energy_curve import energy_curve
from edgekit.measure.meters.rapl import Rapl


def test_packages_are_summed_without_their_parts_and_the_platform(tmp_path: Path) -> None:
    one = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    part = rapl_zone(tmp_path, "intel-rapl:0:0", "core", 1_000)
    two = rapl_zone(tmp_path, "intel-rapl:1", "package-1", 9_000)
    platform = rapl_zone(tmp_path, "intel-rapl:2", "psys", 9_000)
    rapl_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 7)
    meter = Rapl(Clock()).open(tmp_path)
    assert (meter.detail, meter.scope) == ("package-0 + package-1", "package")
    for file, uj in ((one, 3_500), (part, 90_000), (two, 10_000), (platform, 90_000)):
        file.write_text(f"{uj}\n")
    assert [reading.value for reading in meter.read()] == [3.5]


def test_the_platform_counts_where_it_is_the_only_zone(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "psys", 500)
    meter = Rapl(Clock()).open(tmp_path)
    file.write_text("2500")
    assert (meter.detail, meter.scope, meter.read()[0].value) == ("psys", "board", 2.0)


def test_each_package_wraps_on_its_own(tmp_path: Path) -> None:
    one = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 900_000, 1_000_000)
    two = rapl_zone(tmp_path, "intel-rapl:1", "package-1", 100_000, 3_000_000)
    clock = Clock()
    meter = Rapl(clock).open(tmp_path)
    shown = []
    for first, second in ((950_000, 2_900_000), (50_000, 50_000), (999_999, 60_000), (0, 60_001)):
        clock.now_s += 1
        one.write_text(f"{first}")
        two.write_text(f"{second}")
        shown.append(meter.read()[0].value)
    assert shown == [2_850, 3_100, 4_059.999, 4_060.001]


@given(
    steps=st.lists(st.integers(0, 999_999), min_size=1, max_size=20),
    start=st.integers(0, 999_999),
)
def test_any_wraps_give_back_the_sum_of_the_steps(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], start: int
) -> None:
    root = tmp_path_factory.mktemp("rapl")
    file = rapl_zone(root, "intel-rapl:0", "package-0", start, 1_000_000)
    clock = Clock()
    meter = Rapl(clock).open(root)
    raw = start
    for step in steps:
        raw = (raw + step) % 1_000_000
        file.write_text(f"{raw}")
        clock.now_s += 0.1
        value = meter.read()[0].value
    assert value == sum(steps) / 1e3


def test_a_missing_range_matters_only_when_the_counter_goes_backwards(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 1_000, range_uj=None)
    meter = Rapl(Clock()).open(tmp_path)
    file.write_text("4000")
    assert meter.read()[0].value == 3.0
    file.write_text("10")
    with pytest.raises(MeterError, match=r"went from 4000 to 10 uJ.*max_energy_range_uj"):
        meter.read()


def test_a_step_back_that_no_wrap_explains_is_refused(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 50_000_000, 65_532_610_987)
    clock = Clock()
    meter = Rapl(clock).open(tmp_path)
    clock.now_s += 0.05
    file.write_text("49000000")
    with pytest.raises(MeterError, match=r"from 50000000 to 49000000 uJ within 0.05 s"):
        meter.read()


def test_a_step_that_no_package_can_draw_is_refused(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 5_000, 65_532_610_987)
    clock = Clock()
    meter = Rapl(clock).open(tmp_path)
    clock.now_s += 1.0
    file.write_text("2100005000")
    with pytest.raises(MeterError, match=r"from 5000 to 2100005000 uJ within 1 s, which no power"):
        meter.read()


def test_a_wrap_between_two_readings_is_exact_at_its_limits(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 999_999, 1_000_000)
    clock = Clock()
    meter = Rapl(clock).open(tmp_path)
    shown = []
    for raw in (1_000_000, 0, 999_999, 999_998):
        clock.now_s += 0.1
        file.write_text(f"{raw}")
        shown.append(meter.read()[0].value)
    assert shown == [0.001, 0.001, 1000.0, 1999.999]


def test_a_pause_in_which_it_may_have_wrapped_many_times_starts_anew(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 60_000_000, None)
    clock = Clock()
    meter = Rapl(clock).open(tmp_path)
    clock.now_s += 600
    file.write_text("1000")
    before = meter.read()[0].value
    clock.now_s += 0.1
    file.write_text("251000")
    assert meter.read()[0].value - before == 250.0


def test_energy_of_a_pause_is_refused_by_whoever_asks_for_it(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0, 1_000_000_000)
    clock = Clock()
    meter = Rapl(clock).open(tmp_path)
    readings = []
    for step_s in (0.1, 0.1, 6.0, 0.1, 0.1):
        clock.now_s += step_s
        file.write_text(f"{int(file.read_text()) + int(step_s * 5e6)}")
        readings.extend(meter.read())
    curve = energy_curve(readings, meter)
    assert curve.between(100.12, 100.18) == pytest.approx(300.0)
    with pytest.raises(MeterError, match="showed nothing new for"):
        curve.between(100.15, 106.35)


def test_a_counter_above_its_range_is_refused_when_it_comes_back(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 5_000, 1_000)
    meter = Rapl(Clock()).open(tmp_path)
    file.write_text("10")
    with pytest.raises(MeterError, match=r"range of 1000 uJ"):
        meter.read()


def test_no_permission_comes_with_chmod_and_the_udev_rule(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    with unreadable(file), pytest.raises(UnavailableError) as caught:
        Rapl(Clock()).open(tmp_path)
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in str(caught.value)
    assert 'SUBSYSTEM=="powercap"' in str(caught.value)


def test_permission_that_is_lost_while_measuring_is_an_error(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    meter = Rapl(Clock()).open(tmp_path)
    with unreadable(file), pytest.raises(MeterError, match=r"no permission"):
        meter.read()


def test_a_counter_that_is_a_folder_is_named(tmp_path: Path) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    file.unlink()
    file.mkdir()
    with pytest.raises(MeterError, match=r"cannot read .*energy_uj: Is a directory"):
        Rapl(Clock()).open(tmp_path)


@pytest.mark.parametrize("text", ["", "nan", "1e3", "lots"])
def test_a_counter_without_a_number_is_refused(tmp_path: Path, text: str) -> None:
    file = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    meter = Rapl(Clock()).open(tmp_path)
    file.write_text(text)
    with pytest.raises(MeterError, match=r"expected a whole number"):
        meter.read()


def test_parts_without_a_package_are_no_meter(tmp_path: Path) -> None:
    rapl_zone(tmp_path, "intel-rapl:0:0", "core", 1_000)
    with pytest.raises(UnavailableError, match=r"modprobe"):
        Rapl(Clock()).open(tmp_path)
