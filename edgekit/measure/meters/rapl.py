"""Processor packages: the RAPL counters of Linux's powercap, on Intel and AMD.

Units and file names: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core import Meter, Reading
from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.meters._sysfs import LEAVE_OUT, count_of, optional_text, text_of

_FOLDER = Path("sys/class/powercap")
_TOP_ZONE = re.compile(r"intel-rapl:\d+")  # 'intel-rapl:0:0' is a part of 'intel-rapl:0'

# The counters are updated about every millisecond (Intel SDM volume 3B, 15.10.1).
_PERIOD_S = 1e-3

# More than a package draws: a counter that moves faster, or seems to have wrapped so, is wrong.
_MOST_UW = 2_000e6

# Counters that nobody has read for longer may have wrapped any number of times. The smallest range
# is passed in half a minute at most power; what was drawn in a pause is never asked for.
_PAUSE_S = 5.0

_PERMISSION = (
    "since Linux 5.10 only root may read it; allow it until the next start with "
    "'sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj', for good with the udev rule "
    'SUBSYSTEM=="powercap", KERNEL=="intel-rapl:*", ACTION=="add", '
    'RUN+="/bin/chmod a+r /sys%p/energy_uj"'
)


@dataclass
class _Zone:
    """A package's counter, unwrapped on its own, since packages wrap at different times."""

    folder: Path
    name: str
    range_uj: int | None
    raw_uj: int
    total_uj: int = 0

    def advance(self, elapsed_s: float) -> None:
        """Reads the counter and adds what it moved by; behind a pause, only notes where it is.

        Raises:
            MeterError: it moved by what no package draws, or went backwards and no wrap explains
                that.
        """
        before_uj, self.raw_uj = self.raw_uj, count_of(self.folder / "energy_uj", _PERMISSION)
        if elapsed_s > _PAUSE_S:
            return
        step_uj = self.raw_uj - before_uj
        went = f"the RAPL counter of {self.name} went from {before_uj} to {self.raw_uj} uJ"
        if step_uj < 0:
            if self.range_uj is None:
                raise MeterError(
                    f"{went}, and without {self.folder / 'max_energy_range_uj'} nobody can tell "
                    "whether it began again at 0; measure again"
                )
            step_uj += self.range_uj
        if not 0 <= step_uj <= _MOST_UW * (elapsed_s + _PERIOD_S):
            range_ = "" if self.range_uj is None else f" or its range of {self.range_uj} uJ"
            raise MeterError(
                f"{went} within {elapsed_s:.3g} s, which no power{range_} explains; {LEAVE_OUT}"
            )
        self.total_uj += step_uj


@dataclass(frozen=True)
class Rapl:
    """The kind of meter: opens all packages, or ``psys`` where it is the only zone."""

    clock: Callable[[], float] = time.monotonic

    def open(self, root: Path) -> Meter:
        zones = [
            _Zone(
                folder,
                text_of(folder / "name"),
                _range(folder),
                count_of(folder / "energy_uj", _PERMISSION),
            )
            for folder in sorted((root / _FOLDER).glob("intel-rapl:*"))
            if _TOP_ZONE.fullmatch(folder.name)
        ]
        packages = [zone for zone in zones if zone.name.startswith("package")]
        platform = [zone for zone in zones if zone.name == "psys"]
        if packages:
            return RaplMeter(packages, "package", self.clock)
        if platform and len(zones) == 1:
            return RaplMeter(platform, "board", self.clock)
        raise UnavailableError(
            f"no RAPL package zone in {root / _FOLDER}: expected intel-rapl:0 with the name "
            "'package-0'; load it with 'sudo modprobe intel_rapl_msr' (virtual machines and ARM "
            "have none)"
        )


class RaplMeter:
    """The sum of some zones since they were opened.

    Each zone's wrap is taken out before they are added up, so the sum has no range.
    """

    name = "rapl"
    quantity = "energy"
    range_mj: float | None = None
    period_s = _PERIOD_S

    def __init__(self, zones: Sequence[_Zone], scope: str, clock: Callable[[], float]) -> None:
        self.scope = scope
        self.detail = " + ".join(zone.name for zone in zones)
        self._zones = zones
        self._clock = clock
        self._time_s = clock()

    def read(self) -> Sequence[Reading]:
        now_s = self._clock()
        for zone in self._zones:
            zone.advance(now_s - self._time_s)
        self._time_s = now_s
        return (Reading(now_s, sum(zone.total_uj for zone in self._zones) / 1e3),)

    def close(self) -> None:
        """Nothing stays open between readings."""


def _range(folder: Path) -> int | None:
    file = folder / "max_energy_range_uj"
    return None if optional_text(file) is None else count_of(file)


METER = Rapl()
