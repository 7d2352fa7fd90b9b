"""What could explain a latency: processor, frequency, load."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.agent.hardware import emulated, processor_name
from edgekit.agent.kernel import max_mhz, text, usable_cores
from edgekit.agent.thermal import celsius

if TYPE_CHECKING:
    from edgekit.core import Scalar

_TICK_S = 1 / (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)


@dataclass(frozen=True)
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
    first = (text(root / "proc/stat") or "").partition("\n")[0]
    try:
        user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, first.split()[1:])
    except ValueError:  # no such file, or one of another system that shows less in it
        return None
    busy = user + nice + system + irq + softirq
    return Usage(busy * _TICK_S, steal * _TICK_S, time.monotonic())


def own_seconds(pids: list[int], root: Path = Path("/")) -> float:
    """Processor time of some processes so far, and of their children that ended, in seconds."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            # The name in brackets may hold spaces.
            fields = (root / f"proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) * _TICK_S
    return total


def machine(root: Path = Path("/")) -> dict[str, Scalar]:
    """Facts that stay: system, processor, cores that can be used, governor."""
    return {
        "system": platform.platform(),
        "cpu": processor_name(root) or platform.machine(),
        "cores": usable_cores(root),
        "governor": text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        **({"emulated": True} if emulated(root) else {}),
    }


def moment(root: Path = Path("/")) -> dict[str, Scalar]:
    """Facts that change: frequency, temperature, load."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "max_mhz": max_mhz(root, "scaling_cur_freq"),
        "max_celsius": celsius(root),
        "load_1m": None if load is None else round(load, 2),
    }
