from __future__ import annotations

from pathlib import Path

import pytest
from fake_devices import Clock, tree
from permissions import unreadable

from edgekit.core import Meter
from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.meters.hwmon import Hwmon

CHIP = "sys/class/hwmon/hwmon0"
ORIN = {  # as on a Jetson Orin Nano, with shunt voltages and sums behind the channels
    f"{CHIP}/name": "ina3221",
    f"{CHIP}/in1_label": "VDD_IN",
    f"{CHIP}/in1_input": 5040,
    f"{CHIP}/curr1_input": 1000,
    f"{CHIP}/in2_label": "VDD_CPU_GPU_CV",
    f"{CHIP}/in2_input": 5032,
    f"{CHIP}/curr2_input": 250,
    f"{CHIP}/in3_label": "VDD_SOC",
    f"{CHIP}/in3_input": 5032,
    f"{CHIP}/curr3_input": 125,
    f"{CHIP}/in4_input": 5000,
    f"{CHIP}/curr4_input": 1375,
    f"{CHIP}/in7_label": "sum of shunt voltages",
    f"{CHIP}/update_interval": 40,
}


def open_meter(root: Path) -> Meter:
    return Hwmon(Clock()).open(root)


def power_mw(meter: Meter) -> float:
    (reading,) = meter.read()
    return reading.value


def test_the_input_rail_of_a_jetson_is_the_whole_board(tmp_path: Path) -> None:
    meter = open_meter(tree(tmp_path, ORIN))
    assert (meter.detail, meter.scope) == ("VDD_IN", "board")
    assert power_mw(meter) == pytest.approx(5040.0)
    assert meter.period_s == 0.04


def test_without_an_input_rail_all_rails_are_summed(tmp_path: Path) -> None:
    meter = open_meter(tree(tmp_path, {**ORIN, f"{CHIP}/in1_label": "VDD_GPU"}))
    assert (meter.detail, meter.scope) == ("VDD_GPU + VDD_CPU_GPU_CV + VDD_SOC", "rail")
    assert power_mw(meter) == pytest.approx(5040 + 1258 + 629)


def test_channels_that_are_off_are_left_out(tmp_path: Path) -> None:
    files = {**ORIN, f"{CHIP}/in1_label": "NC", f"{CHIP}/in2_enable": 0, f"{CHIP}/in3_enable": 1}
    meter = open_meter(tree(tmp_path, files))
    assert (meter.detail, power_mw(meter)) == ("VDD_SOC", pytest.approx(629.0))


@pytest.mark.parametrize("chip", ["ina219", "ina226"])
def test_chips_of_one_channel_tell_power_in_microwatts(tmp_path: Path, chip: str) -> None:
    files = {f"{CHIP}/name": chip, f"{CHIP}/power1_input": 2_340_000, f"{CHIP}/in1_input": 5000}
    meter = open_meter(tree(tmp_path, files))
    assert (meter.scope, power_mw(meter)) == ("rail", pytest.approx(2340.0))
    assert "ina2" in meter.detail


def test_sensors_of_several_chips_are_summed(tmp_path: Path) -> None:
    files = {
        "sys/class/hwmon/hwmon0/name": "ina219",
        "sys/class/hwmon/hwmon0/power1_input": 1_000_000,
        "sys/class/hwmon/hwmon1/name": "coretemp",
        "sys/class/hwmon/hwmon1/power1_input": 9_000_000,
        "sys/class/hwmon/hwmon2/name": "ina226",
        "sys/class/hwmon/hwmon2/in1_input": 5000,
        "sys/class/hwmon/hwmon2/curr1_input": 100,
    }
    assert power_mw(open_meter(tree(tmp_path, files))) == pytest.approx(1500.0)


@pytest.mark.parametrize(
    ("first", "expected", "scope"), [("POM_5V_IN", 2200, "board"), ("VDD_SYS_GPU", 2600, "rail")]
)
def test_older_jetsons_tell_milliwatts_per_rail(
    tmp_path: Path, first: str, expected: float, scope: str
) -> None:
    folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    files = {
        f"{folder}/rail_name_0": first,
        f"{folder}/in_power0_input": 2200,
        f"{folder}/rail_name_1": "POM_5V_GPU",
        f"{folder}/in_power1_input": 400,
    }
    meter = open_meter(tree(tmp_path, files))
    assert (power_mw(meter), meter.scope) == (expected, scope)


def test_other_sensors_are_no_meter(tmp_path: Path) -> None:
    files = {f"{CHIP}/name": "coretemp", f"{CHIP}/power1_input": 5}
    with pytest.raises(UnavailableError, match=r"INA219, INA226 or INA3221"):
        open_meter(tree(tmp_path, files))


def test_a_sensor_that_must_not_be_read_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, ORIN)
    file = tmp_path / CHIP / "curr1_input"
    with unreadable(file), pytest.raises(UnavailableError, match=r"sudo chmod a.r"):
        open_meter(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("", "expected a number"), (None, "cannot read")])
def test_a_sensor_that_fails_is_an_error(tmp_path: Path, text: str | None, message: str) -> None:
    meter = open_meter(tree(tmp_path, ORIN))
    file = tmp_path / CHIP / "curr1_input"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(MeterError, match=message):
        meter.read()
