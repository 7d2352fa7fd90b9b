from __future__ import annotations

from pathlib import Path

import pytest
from fake_devices import Clock, tree, unreadable

from edgekit.core import Meter
from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.meters.power_supply import PowerSupply

BATTERY = "sys/class/power_supply/battery"
PHONE = {
    f"{BATTERY}/type": "Battery",
    f"{BATTERY}/status": "Discharging",
    f"{BATTERY}/current_now": -500_000,
    f"{BATTERY}/voltage_now": 3_900_000,
    "sys/class/power_supply/usb/type": "USB",
    "sys/class/power_supply/usb/online": 0,
}


def open_meter(root: Path) -> Meter:
    return PowerSupply(Clock()).open(root)


@pytest.mark.parametrize("current_ua", [500_000, -500_000])
def test_power_is_current_times_voltage_whatever_the_sign(tmp_path: Path, current_ua: int) -> None:
    meter = open_meter(tree(tmp_path, {**PHONE, f"{BATTERY}/current_now": current_ua}))
    assert (meter.scope, meter.detail) == ("device", "battery")
    assert meter.read()[0].value == pytest.approx(1950.0)


def test_power_is_read_where_the_gauge_shows_it(tmp_path: Path) -> None:
    meter = open_meter(tree(tmp_path, {**PHONE, f"{BATTERY}/power_now": 7_250_000}))
    assert meter.read()[0].value == pytest.approx(7250.0)


def test_discharging_batteries_are_summed_and_idle_ones_left_out(tmp_path: Path) -> None:
    files = dict(PHONE)
    for name, status in (("BAT1", "Discharging"), ("BAT2", "Not charging")):
        folder = f"sys/class/power_supply/{name}"
        files |= {
            f"{folder}/type": "Battery",
            f"{folder}/status": status,
            f"{folder}/power_now": 1_000_000,
        }
    assert open_meter(tree(tmp_path, files)).read()[0].value == pytest.approx(2950.0)


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown"])
def test_a_battery_that_does_not_discharge_is_refused(tmp_path: Path, status: str) -> None:
    with pytest.raises(UnavailableError, match=f"discharging.*battery: {status}"):
        open_meter(tree(tmp_path, {**PHONE, f"{BATTERY}/status": status}))


def test_external_power_is_refused_even_if_the_battery_says_discharging(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"external power \(usb\).*unplug"):
        open_meter(tree(tmp_path, {**PHONE, "sys/class/power_supply/usb/online": 1}))


def test_plugging_in_while_measuring_is_an_error(tmp_path: Path) -> None:
    meter = open_meter(tree(tmp_path, PHONE))
    tree(tmp_path, {"sys/class/power_supply/usb/online": 1})
    with pytest.raises(MeterError, match="external power"):
        meter.read()


@pytest.mark.parametrize("current", [0, -500])
def test_a_stuck_gauge_or_one_in_milliamperes_is_refused(tmp_path: Path, current: int) -> None:
    meter = open_meter(tree(tmp_path, PHONE))
    tree(tmp_path, {f"{BATTERY}/current_now": current})
    with pytest.raises(MeterError, match="stuck, or counts mA"):
        meter.read()


@pytest.mark.parametrize("other", [{"scope": "Device"}, {"present": "0"}, {"type": "UPS"}])
def test_other_batteries_are_no_meter(tmp_path: Path, other: dict[str, str]) -> None:
    files = {**PHONE, **{f"{BATTERY}/{name}": text for name, text in other.items()}}
    with pytest.raises(UnavailableError, match="no battery"):
        open_meter(tree(tmp_path, files))


def test_a_gauge_that_must_not_be_read_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, PHONE)
    with unreadable(tmp_path / BATTERY / "current_now"), pytest.raises(UnavailableError) as caught:
        open_meter(tmp_path)
    assert "adb shell" in str(caught.value)


def test_a_gauge_without_a_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="expected a number"):
        open_meter(tree(tmp_path, {**PHONE, f"{BATTERY}/voltage_now": ""}))


def test_a_gauge_without_its_file_is_an_error(tmp_path: Path) -> None:
    tree(tmp_path, PHONE)
    (tmp_path / BATTERY / "voltage_now").unlink()
    with pytest.raises(MeterError, match=r"cannot read .*voltage_now"):
        open_meter(tmp_path)
