"""The power management chip of the Raspberry Pi 5, as ``vcgencmd pmic_read_adc`` shows it.

A line is ``3V3_SYS_A current(1)=0.06342188A`` or ``3V3_SYS_V volt(9)=3.30708200V``. Rails with
both are summed up; ``EXT5V_V`` and ``BATT_V`` have no current, and USB devices are on no rail.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core import Meter, Reading
from edgekit.errors import MeterError, UnavailableError

_PLACES = (Path("usr/bin/vcgencmd"), Path("opt/vc/bin/vcgencmd"))
_LINE = re.compile(r"^\s*(\S+)_([AV])\s+(?:current|volt)\(\d+\)=([-+.\w]+)[AV]\s*$", re.MULTILINE)

# Each reading is a process of its own; more of them would be seen in what they measure.
_PERIOD_S = 0.2


@dataclass(frozen=True)
class Pmic:
    """The kind of meter.

    Attributes:
        limit_s: time after which the command is given up.
    """

    limit_s: float = 5.0
    clock: Callable[[], float] = time.monotonic

    def open(self, root: Path) -> Meter:
        found = shutil.which("vcgencmd") if root == Path("/") else None
        places = [Path(found)] if found else [p for p in map(root.joinpath, _PLACES) if p.is_file()]
        if not places:
            raise UnavailableError(
                f"no command 'vcgencmd' in PATH or {root / _PLACES[0]}: it is a part of Raspberry "
                "Pi OS, and only the Raspberry Pi 5 has this meter"
            )
        rails = _rails(places[0], self.limit_s)
        if not rails:
            raise UnavailableError(
                f"'{places[0]} pmic_read_adc' shows no rail: only the Raspberry Pi 5 has this meter"
            )
        return PmicMeter(places[0], tuple(rails), self.limit_s, self.clock)


class PmicMeter:
    """The power of all rails together."""

    name = "pmic"
    scope = "rail"
    quantity = "power"
    range_mj: float | None = None
    period_s = _PERIOD_S

    def __init__(
        self, command: Path, rails: tuple[str, ...], limit_s: float, clock: Callable[[], float]
    ) -> None:
        self.detail = " + ".join(rails)
        self._command = command
        self._rails = rails
        self._limit_s = limit_s
        self._clock = clock

    def read(self) -> Sequence[Reading]:
        before_s = self._clock()
        rails = _rails(self._command, self._limit_s)
        now_s = (before_s + self._clock()) / 2
        missing = [name for name in self._rails if name not in rails]
        if missing:
            raise MeterError(
                f"'{self._command} pmic_read_adc' does not show the rail {missing[0]} any more; "
                "leave it out with --energy off"
            )
        return (Reading(now_s, sum(rails[name] for name in self._rails)),)

    def close(self) -> None:
        """Nothing stays open between readings."""


def _rails(command: Path, limit_s: float) -> Mapping[str, float]:
    """Power in mW by the name of the rail."""
    shown: dict[tuple[str, str], float] = {}
    for name, unit, number in _LINE.findall(_output(command, limit_s)):
        try:
            shown[name, unit] = float(number)
        except ValueError as error:
            raise MeterError(
                f"'{command} pmic_read_adc' shows '{number}' for {name}: expected a number"
            ) from error
    return {
        name: value * shown[name, "A"] * 1e3
        for (name, unit), value in shown.items()
        if unit == "V" and (name, "A") in shown
    }


def _output(command: Path, limit_s: float) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, and no shell
            [str(command), "pmic_read_adc"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MeterError(
            f"'{command} pmic_read_adc' did not answer within {limit_s:g} s; "
            "leave it out with --energy off"
        ) from error
    except OSError as error:
        raise MeterError(f"cannot run {command}: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[:200]
        raise MeterError(
            f"'{command} pmic_read_adc' failed ({said or f'exit code {done.returncode}'}): your "
            "user must be in the group 'video', as after 'sudo usermod -aG video $USER'"
        )
    return done.stdout.decode(errors="replace")


METER = Pmic()
