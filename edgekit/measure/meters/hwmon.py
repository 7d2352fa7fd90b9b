"""Current sensors INA219, INA226 and INA3221 on supply rails, those of Jetson boards included.

Units and file names: https://www.kernel.org/doc/html/latest/hwmon/ina2xx.html and ina3221.html;
the ``in_power*_input`` of older Jetsons: NVIDIA's L4T developer guide, "Power Monitoring".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core import Meter, Reading
from edgekit.errors import UnavailableError
from edgekit.measure.meters._sysfs import number_of, optional_text

_HWMON = Path("sys/class/hwmon")
_IIO = Path("sys/bus/i2c/drivers/ina3221x")

_ONE_CHANNEL = ("ina219", "ina220", "ina226", "ina230", "ina231")  # all of the driver ina2xx
_THREE_CHANNELS = "ina3221"  # its in4 to in7 and curr4 are shunt voltages and sums of channels

# What the whole module draws on Jetsons; the other rails come behind it.
_TOTALS = ("VDD_IN", "POM_5V_IN")

# Where the driver does not tell: 16 averages of twice 1.1 ms, an INA226 as the kernel sets it up.
_PERIOD_S = 0.035


@dataclass(frozen=True)
class _Rail:
    """A supply rail: ``scale`` x the product of its files is its power in mW."""

    label: str
    files: tuple[Path, ...]
    scale: float

    def power_mw(self) -> float:
        power = self.scale
        for file in self.files:
            power *= number_of(file)
        return power


@dataclass(frozen=True)
class Hwmon:
    """The kind of meter: opens the rail of the whole board, or else all rails."""

    clock: Callable[[], float] = time.monotonic

    def open(self, root: Path) -> Meter:
        chips = [
            chip
            for chip in sorted((root / _HWMON).glob("hwmon*"))
            if optional_text(chip / "name") in (*_ONE_CHANNEL, _THREE_CHANNELS)
        ]
        rails = [rail for chip in chips for rail in _rails(chip)]
        rails = rails or list(_iio_rails(root / _IIO))
        if not rails:
            raise UnavailableError(
                f"no current sensor in {root / _HWMON} or {root / _IIO}: expected an INA219, "
                "INA226 or INA3221; its driver is 'ina2xx' or 'ina3221'"
            )
        totals = [rail for rail in rails if rail.label in _TOTALS]
        meter = HwmonMeter(
            totals[:1] or rails,
            scope="board" if totals else "rail",
            period_s=max(map(_period_s, chips), default=_PERIOD_S),
            clock=self.clock,
        )
        meter.read()
        return meter


class HwmonMeter:
    """The power of some rails together."""

    name = "hwmon"
    quantity = "power"
    range_mj: float | None = None

    def __init__(
        self, rails: Sequence[_Rail], scope: str, period_s: float, clock: Callable[[], float]
    ) -> None:
        self.scope = scope
        self.detail = " + ".join(rail.label for rail in rails)
        self.period_s = period_s
        self._rails = rails
        self._clock = clock

    def read(self) -> Sequence[Reading]:
        now_s = self._clock()
        return (Reading(now_s, sum(rail.power_mw() for rail in self._rails)),)

    def close(self) -> None:
        """Nothing stays open between readings."""


def _rails(chip: Path) -> Iterator[_Rail]:
    name = optional_text(chip / "name") or chip.name
    for channel in (1, 2, 3) if name == _THREE_CHANNELS else (1,):
        volt, ampere = chip / f"in{channel}_input", chip / f"curr{channel}_input"
        power = chip / f"power{channel}_input"
        label = optional_text(chip / f"in{channel}_label")
        if optional_text(chip / f"in{channel}_enable") == "0" or label == "NC":  # not connected
            continue
        label = label or f"{name} {chip.name} channel {channel}"
        if name != _THREE_CHANNELS and optional_text(power) is not None:
            yield _Rail(label, (power,), 1e-3)  # uW
        elif None not in (optional_text(volt), optional_text(ampere)):
            yield _Rail(label, (volt, ampere), 1e-3)  # mV x mA


def _iio_rails(driver: Path) -> Iterator[_Rail]:
    for file in sorted(driver.glob("*/iio*device*/in_power*_input")):
        channel = file.name[len("in_power") : -len("_input")]
        label = optional_text(file.with_name(f"rail_name_{channel}"))
        yield _Rail(label or f"{file.parent.name} channel {channel}", (file,), 1.0)  # mW


def _period_s(chip: Path) -> float:
    file = chip / "update_interval"  # ms
    return _PERIOD_S if optional_text(file) is None else max(number_of(file) / 1e3, 1e-3)


METER = Hwmon()
