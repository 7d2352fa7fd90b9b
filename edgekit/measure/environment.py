"""What could explain a latency: processor, frequency, load, and others who measure."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekit.core import Scalar

_TICK_S = 1 / (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time since the machine started, in seconds over all cores.

    Attributes:
        busy_s: in user and system mode.
        steal_s: taken by the machine's host.
        clock_s: when it was read.
    """

    busy_s: float
    steal_s: float
    clock_s: float


def usage(root: Path = Path("/")) -> Usage | None:
    """Reads the processor time; ``None`` where the system does not tell."""
    try:
        fields = (root / "proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, fields)
    busy = user + nice + system + irq + softirq
    return Usage(busy * _TICK_S, steal * _TICK_S, time.monotonic())


def own_seconds(pids: list[int], root: Path = Path("/")) -> float:
    """Processor time of some processes so far, in seconds."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            # The name in brackets may hold spaces.
            fields = (root / f"proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


def machine(root: Path = Path("/")) -> dict[str, Scalar]:
    """Facts that stay: system, processor, cores, governor."""
    facts: dict[str, Scalar] = {
        "system": platform.platform(),
        "cpu": cpu_name(root),
        "cores": os.cpu_count(),
    }
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    facts["governor"] = _text(folder / "scaling_governor")
    return facts


def moment(root: Path = Path("/")) -> dict[str, Scalar]:
    """Facts that change: frequency, temperature, load."""
    khz = [
        int(text)
        for path in sorted(
            (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        )
        if (text := _text(path)) is not None and text.isdigit()
    ]
    degrees = [
        int(text) / 1000
        for path in (root / "sys/class/thermal").glob("thermal_zone*/temp")
        if (text := _text(path)) is not None and text.lstrip("-").isdigit()
    ]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "max_mhz": max(khz) / 1000 if khz else None,
        "max_celsius": max(degrees) if degrees else None,
        "load_1m": None if load is None else round(load, 2),
    }


def cpu_name(root: Path = Path("/")) -> str:
    """Name of the processor."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


class Presence:
    """Lets the measurements that run on a machine at the same time know of each other.

    Each holds a lock on a file of its own, which ends with its process, however it ends.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._name = folder, f"{os.getpid()}.lock"
        self.met = False

    def others(self) -> int:
        """How many other measurements are running; remembers that there were some."""
        import fcntl

        found = 0
        for path in self._folder.glob("*.lock"):
            if path.name == self._name:
                continue
            try:
                with open(path, "rb") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        found += 1
                        continue
                path.unlink(missing_ok=True)  # of a process that was killed
            except OSError:
                continue
        self.met |= found > 0
        return found


@contextmanager
def presence(folder: Path | None = None) -> Iterator[Presence]:
    """Makes this measurement known to others while the block runs."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = folder or Path(tempfile.gettempdir(), f"edgekit-measuring-{user}")
    try:
        import fcntl

        folder.mkdir(mode=0o700, exist_ok=True)
        file = open(folder / f"{os.getpid()}.lock", "wb")  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX)
    except (ImportError, OSError):  # nobody can be told; measuring goes on all the same
        yield Presence(Path(os.devnull))
        return
    try:
        yield Presence(folder)
    finally:
        Path(file.name).unlink(missing_ok=True)
        file.close()
