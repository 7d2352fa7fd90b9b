"""Which cores measure: the same ones for all that take turns, other ones after each loading.

On a machine whose cores are shared with others, two cores differ by more than two networks do.
Networks that are compared run on the same cores; moving all of them now and then makes a median
one of the machine and not of a core.
"""

from __future__ import annotations

import os
from pathlib import Path

# Cores this much slower than the fastest are another kind: the small ones of a phone or a laptop.
_SAME_KIND = 0.95


def placements(threads: int, root: Path = Path("/")) -> list[tuple[int, ...]]:
    """Sets of cores for so many threads, in the order in which they are used.

    The fastest kind of cores only, and one thread for each physical core, as long as there are
    enough of them.

    Args:
        root: of the file system, in which Linux describes the cores.

    Returns:
        Sets of ``threads`` cores, or of all that there are; none where a process cannot choose.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    usable = sorted(os.sched_getaffinity(0))
    speeds = {core: _speed(root, core) for core in usable}
    fast = [core for core in usable if speeds[core] >= _SAME_KIND * max(speeds.values())]
    physical = list({_physical(root, core): core for core in reversed(fast)}.values())[::-1]
    pool = next((pool for pool in (physical, fast, usable) if len(pool) >= threads), usable)
    if threads >= len(pool):
        return [tuple(pool)]
    count = len(pool)
    return [tuple(sorted(pool[(i + j) % count] for j in range(threads))) for i in range(count)]


def _speed(root: Path, core: int) -> float:
    """How fast a core is at most, in whatever unit all of its machine are told in."""
    folder = root / f"sys/devices/system/cpu/cpu{core}"
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        try:
            return float((folder / name).read_text())
        except (OSError, ValueError):
            continue
    return 0.0


def _physical(root: Path, core: int) -> str:
    """What threads of one physical core have in common."""
    path = root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"
    try:
        return path.read_text().strip()
    except OSError:
        return str(core)
