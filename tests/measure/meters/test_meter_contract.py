"""What holds for every meter of the registry; a new one needs a line in DEVICES."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_devices import DEVICES, FakeDevice

from edgekit import registry, tables
from edgekit.errors import UnavailableError, UnknownNameError, UsageError
from edgekit.measure.energy_curve import energy_curve
from edgekit.measure.meters.csv_file import CsvFile
from edgekit.measure.meters.nvml import Nvml

SCOPES = ("package", "gpu", "rail", "board", "device", "wall")


@pytest.fixture(params=tables.METERS)
def device(request: pytest.FixtureRequest, tmp_path: Path) -> FakeDevice:
    return DEVICES[request.param](tmp_path)


@pytest.mark.parametrize("name", tables.METERS)
def test_an_opened_meter_says_what_it_is(name: str, tmp_path: Path) -> None:
    device = DEVICES[name](tmp_path)
    assert type(registry.meter(name)) is type(device.kind)
    meter = device.open()
    assert meter.name == name
    assert meter.scope in SCOPES
    assert meter.quantity in ("energy", "power")
    assert meter.detail
    assert meter.period_s > 0
    assert meter.range_mj is None or meter.range_mj > 0
    meter.close()


@pytest.mark.parametrize("name", tables.METERS)
def test_a_device_without_the_meter_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UnavailableError) as caught:
        registry.meter(name).open(tmp_path)
    assert len(str(caught.value)) > 40


def test_constant_power_gives_exact_joules(device: FakeDevice) -> None:
    meter = device.open()
    readings = device.draw(meter, watts=12.5, steps=40, step_s=0.4)
    curve = energy_curve(readings, meter)
    meter.close()
    assert curve.between(100.4, 115.6) == pytest.approx(12_500 * 15.2, rel=1e-6)


def test_two_levels_of_power_are_told_apart(device: FakeDevice) -> None:
    meter = device.open()
    low = device.draw(meter, watts=2.0, steps=20, step_s=0.4)
    high = device.draw(meter, watts=7.25, steps=20, step_s=0.4)
    curve = energy_curve([*low, *high], meter)
    meter.close()
    assert curve.between(101, 107) == pytest.approx(2_000 * 6, rel=1e-6)
    assert curve.between(109, 115) == pytest.approx(7_250 * 6, rel=1e-6)


def test_readings_bear_the_time_of_the_clock(device: FakeDevice) -> None:
    meter = device.open()
    readings = device.draw(meter, watts=3.0, steps=3, step_s=0.5)
    meter.close()
    times = [reading.time_s for reading in readings]
    assert times == sorted(times)
    assert times[-4:] == pytest.approx([100.0, 100.5, 101.0, 101.5], abs=1e-5)


def test_a_meter_takes_what_stands_behind_a_colon() -> None:
    assert registry.meter("csv:log/Wall-1.csv") == CsvFile(Path("log/Wall-1.csv"))
    assert registry.meter("NVML:2") == Nvml(index=2)


@pytest.mark.parametrize("words", ["rapl:0", "csv:", "nvml:first", "nvml:-1"])
def test_a_wrong_argument_of_a_meter_is_refused(words: str) -> None:
    with pytest.raises(UsageError):
        registry.meter(words)


def test_an_unknown_meter_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="edgekit list meters") as caught:
        registry.meter("rappl")
    assert "rapl" in caught.value.suggestions
