from __future__ import annotations

from pathlib import Path

import pytest
from fake_devices import Clock, tree
from permissions import unreadable

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
    files: dict[str, object] = {"sys/class/power_supply/ac/online": 0}
    states = {"BAT0": "Discharging", "BAT1": "Discharging", "BAT2": "Not charging"}
    for name, status in states.items():
        folder = f"sys/class/power_supply/{name}"
        files |= {
            f"{folder}/type": "Battery",
            f"{folder}/status": status,
            f"{folder}/power_now": 1_000_000,
        }
    meter = open_meter(tree(tmp_path, files))
    assert (meter.detail, meter.read()[0].value) == ("BAT0 + BAT1 + BAT2", pytest.approx(2000.0))


def test_a_second_gauge_of_a_phones_battery_does_not_count_twice(tmp_path: Path) -> None:
    gauge = "sys/class/power_supply/maxfg"
    second = {path.replace(BATTERY, gauge): shown for path, shown in PHONE.items()}
    meter = open_meter(tree(tmp_path, {**PHONE, **second, f"{gauge}/online": 1}))
    assert (meter.detail, meter.read()[0].value) == ("battery", pytest.approx(1950.0))


@pytest.mark.parametrize("charger", ["ac", "dc", "usb", "wireless", "main-charger"])
def test_whatever_the_charger_is_called_it_is_noticed(tmp_path: Path, charger: str) -> None:
    # 2: online, with a voltage that is negotiated
    files = {**PHONE, f"sys/class/power_supply/{charger}/online": 2}
    with pytest.raises(UnavailableError, match=rf"external power \({charger}\)"):
        open_meter(tree(tmp_path, files))


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


@pytest.mark.parametrize(
    ("current", "volt"), [(0, 3_900_000), (-500, 3_900_000), (8_000, 4_200_000), (500_000, 3_900)]
)
def test_a_stuck_gauge_or_one_in_other_units_is_refused(
    tmp_path: Path, current: int, volt: int
) -> None:
    meter = open_meter(tree(tmp_path, PHONE))
    tree(tmp_path, {f"{BATTERY}/current_now": current, f"{BATTERY}/voltage_now": volt})
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
