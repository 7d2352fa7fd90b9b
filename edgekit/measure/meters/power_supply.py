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
from edgekit.measure.meters._sysfs import LEAVE_OUT, number_of, optional_text, text_of

_FOLDER = Path("sys/class/power_supply")

# Fuel gauges average over about a second (Maxim MAX17055: 0.7 s, TI BQ27xxx: 1 s).
_PERIOD_S = 1.0

# No running phone or laptop draws less. Some Android drivers give mA where uA are meant: what looks
# like 40 mW is 10 A then, and no phone draws that.
_LEAST_MW = 40.0

# What phones name their one battery. Others of the type are further gauges of the same cell there,
# as a Pixel's 'maxfg' is; batteries of laptops are BAT0, BAT1.
_OF_PHONES = "battery"

_PERMISSION = "on Android use 'adb shell', elsewhere allow it with 'sudo chmod a+r'"


@dataclass(frozen=True)
class PowerSupply:
    """The kind of meter: opens all batteries of the device itself, not of mice and the like."""

    clock: Callable[[], float] = time.monotonic

    def open(self, root: Path) -> Meter:
        supplies = sorted((root / _FOLDER).glob("*"))
        types = {one: optional_text(one / "type", _PERMISSION) for one in supplies}
        batteries = [
            one
            for one in supplies
            if types[one] == "Battery"
            and optional_text(one / "scope") != "Device"
            and optional_text(one / "present") != "0"
        ]
        batteries = [one for one in batteries if one.name == _OF_PHONES] or batteries
        if not batteries:
            raise UnavailableError(
                f"no battery in {root / _FOLDER}: expected a folder whose file 'type' says Battery"
            )
        chargers = [one for one in supplies if types[one] != "Battery"]
        meter = PowerSupplyMeter(batteries, chargers, self.clock)
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
            if optional_text(charger / "online") not in (None, "0"):
                raise MeterError(
                    f"external power ({charger.name}) is connected, so the battery does not see "
                    "the load: unplug it (reach a phone over Wi-Fi: 'adb tcpip 5555')"
                )
        status = {battery: text_of(battery / "status", _PERMISSION) for battery in self._batteries}
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
                f"can draw: its gauge is stuck, or counts mA where uA are expected; {LEAVE_OUT}"
            )
        return (Reading(now_s, power_mw),)

    def close(self) -> None:
        """Nothing stays open between readings."""


def _power_mw(battery: Path) -> float:
    power = battery / "power_now"  # uW
    if optional_text(power, _PERMISSION) is not None:
        return abs(number_of(power, _PERMISSION)) / 1e3
    # uA x uV is pW
    current, volt = (
        number_of(battery / name, _PERMISSION) for name in ("current_now", "voltage_now")
    )
    return abs(current) * volt / 1e9


METER = PowerSupply()
