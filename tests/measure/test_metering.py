"""Finding the meter that sees a network."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest
from permissions import unreadable

from edgekit.agent import metering as on_device
from edgekit.core import Meter
from edgekit.devices.device import HOST
from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.metering import metering
from edgekit.tables import METERS

KINDS = {name: entry.where for name, entry in METERS.items()}


def discover(root: Path, *, gpu: bool = False) -> tuple[Meter | None, tuple[str, ...]]:
    return on_device.discover(KINDS, root, gpu=gpu)


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


@pytest.mark.usefixtures("without_nvml")
def test_a_meter_that_must_not_be_read_is_a_reason(tmp_path: Path) -> None:
    file = write(tmp_path, LAPTOP) / "sys/class/powercap/intel-rapl:0" / "energy_uj"
    with unreadable(file):
        meter, reasons = discover(tmp_path)
        assert meter is not None
        assert meter.name == "power_supply"
        (reason,) = [reason for reason in reasons if reason.startswith("rapl: ")]
        assert "sudo chmod a+r" in reason
        with pytest.raises(UnavailableError, match="no permission"):
            on_device.open_meter("rapl", KINDS["rapl"], tmp_path)


def test_a_meter_that_is_asked_for_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    with (
        closing(HOST.open()) as agent,
        pytest.raises(UnavailableError, match="rapl"),
        metering(agent, "rapl", root=tmp_path),
    ):
        pytest.fail("the block must not run")


class Odd:
    """A kind of meter that fails as no meter should."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def open(self, root: Path) -> object:
        raise self.error


@pytest.mark.usefixtures("without_nvml")
@pytest.mark.parametrize(
    "error", [PermissionError(13, "denied"), OSError(5, "I/O"), ValueError("odd"), KeyError("x")]
)
def test_a_meter_that_fails_in_an_unforeseen_way_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("edgekit.measure.meters.hwmon.METER", Odd(error))
    meter, reasons = discover(write(tmp_path, LAPTOP))
    assert meter is not None
    assert meter.name == "rapl"
    (reason,) = [reason for reason in reasons if reason.startswith("hwmon: ")]
    assert repr(error) in reason
    with pytest.raises(MeterError, match="'hwmon' cannot be opened"):
        on_device.open_meter("hwmon", KINDS["hwmon"], tmp_path)
