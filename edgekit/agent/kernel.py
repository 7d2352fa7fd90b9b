"""What the Linux kernel tells in files below an injectable root; elsewhere everything is absent."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath


def text(path: Path) -> str | None:
    """Text of a file of the kernel, ``None`` where it cannot be read; device trees end with NUL."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def number(path: Path) -> float | None:
    """The number that a file of the kernel holds, ``None`` where there is none."""
    try:
        return float(text(path) or "")
    except ValueError:
        return None


def max_mhz(root: Path, file: str) -> float | None:
    """The highest frequency that a file of cpufreq tells for any core; the kernel gives kHz."""
    files = (root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/cpufreq/{file}")
    khz = [found for found in map(number, files) if found is not None]
    return max(khz) / 1000 if khz else None


def usable_cores(root: Path = Path("/")) -> int:
    """Logical processors that this process may use, by its affinity and its control group.

    Of a quota, whole processors count: a thread more would be stopped again and again.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    quota = _quota(root)
    return cores if quota is None else max(1, min(cores, int(quota)))


def _quota(root: Path) -> float | None:
    """Processors that the control groups of this process allow it (cgroup v2, ``cpu.max``)."""
    lines = (text(root / "proc/self/cgroup") or "").splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return None
    group = PurePosixPath(own.lstrip("/"))
    quotas = []
    for part in (group, *group.parents):  # each bounds those below
        fields = (text(root / "sys/fs/cgroup" / part / "cpu.max") or "").split()
        if len(fields) == 2 and all(word.isdecimal() for word in fields) and int(fields[1]) > 0:
            quotas.append(int(fields[0]) / int(fields[1]))
    return min(quotas, default=None)
