"""The battery of a phone or laptop, by the fuel gauge that the kernel shows.

Units and file names: https://www.kernel.org/doc/html/latest/power/power_supply_class.html. The
sign of a current is not to be relied on: drivers differ in which direction is positive. So power
is taken without its sign, and only while the battery says that it discharges.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core import Meter, Reading
from edgekit.errors import MeterError, UnavailableError

_FOLDER = Path("sys/class/power_supply")

# Fuel gauges average over about a second (Maxim MAX17055: 0.7 s, TI BQ27xxx: 1 s).
_PERIOD_S = 1.0

# No running phone or laptop draws less. Some Android drivers give mA where uA are meant.
_LEAST_MW = 10.0


@dataclass(frozen=True, slots=True)
class PowerSupply:
    """The kind of meter: opens all batteries of the device itself, not of mice and the like."""

    clock: Callable[[], float] = time.monotonic

    def open(self, root: Path) -> Meter:
        supplies = sorted((root / _FOLDER).glob("*"))
        batteries = [
            supply
            for supply in supplies
            if _optional(supply / "type") == "Battery"
            and _optional(supply / "scope") != "Device"
            and _optional(supply / "present") != "0"
        ]
        if not batteries:
            raise UnavailableError(
                f"no battery in {root / _FOLDER}: expected a folder whose file 'type' says Battery"
            )
        chargers = [supply for supply in supplies if (supply / "online").exists()]
        meter = PowerSupplyMeter(
            batteries, [one for one in chargers if one not in batteries], self.clock
        )
        meter.read()
        return meter


class PowerSupplyMeter:
    """What flows out of the discharging batteries."""

    name = "power_supply"
    scope = "device"
    quantity = "power"
    range_mj: float | None = None
    period_s = _PERIOD_S

    def __init__(
        self, batteries: Sequence[Path], chargers: Sequence[Path], clock: Callable[[], float]
    ) -> None:
        self.detail = " + ".join(battery.name for battery in batteries)
        self._batteries = batteries
        self._chargers = chargers
        self._clock = clock

    def read(self) -> Sequence[Reading]:
        for charger in self._chargers:
            if _optional(charger / "online") not in (None, "0"):
                raise MeterError(
                    f"external power ({charger.name}) is connected, so the battery does not see "
                    "the load: unplug it (reach a phone over Wi-Fi: 'adb tcpip 5555')"
                )
        status = {battery: _text(battery / "status") for battery in self._batteries}
        discharging = [battery for battery in self._batteries if status[battery] == "Discharging"]
        if not discharging or "Charging" in status.values():
            shown = ", ".join(f"{battery.name}: {status[battery]}" for battery in self._batteries)
            raise MeterError(
                f"the battery must be discharging, so that it sees the load ({shown}): unplug "
                "the charger"
            )
        now_s = self._clock()
        power_mw = sum(_power_mw(battery) for battery in discharging)
        if power_mw < _LEAST_MW:
            raise MeterError(
                f"the battery ({self.detail}) shows {power_mw:.3g} mW, less than a running device "
                "can draw: its gauge is stuck, or counts mA where uA are expected; leave it out "
                "with --energy off"
            )
        return (Reading(now_s, power_mw),)

    def close(self) -> None:
        """Nothing stays open between readings."""


def _power_mw(battery: Path) -> float:
    power = battery / "power_now"  # uW
    if power.exists():
        return abs(_number(power)) / 1e3
    # uA x uV is pW
    return abs(_number(battery / "current_now")) * _number(battery / "voltage_now") / 1e9


def _number(file: Path) -> float:
    text = _text(file)
    try:
        return float(text)
    except ValueError as error:
        raise MeterError(f"{file} shows '{text[:40]}': expected a number") from error


def _optional(file: Path) -> str | None:
    return _text(file) if file.exists() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except PermissionError as error:
        raise MeterError(
            f"no permission to read {file}: on Android use 'adb shell', elsewhere "
            f"'sudo chmod a+r {file}'"
        ) from error
    except OSError as error:
        raise MeterError(
            f"cannot read {file}: {error.strerror}; leave the battery out with --energy off"
        ) from error


METER = PowerSupply()
