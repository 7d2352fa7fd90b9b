"""How much of the processors other processes use, from the counters of the Linux kernel."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgekit.agent.kernel import text, usable_cores

LEAST_S = 0.25
"""Shortest time to look at: the kernel counts in steps of 0.01 s."""


class Others:
    """What other processes use, since this was made or last asked.

    Args:
        root: of the file system.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._last = self._reading()

    def cores(self) -> float | None:
        """Processors that others kept busy on average; ``None`` where the system does not tell."""
        if self._last is None:
            return None
        time.sleep(max(0.0, LEAST_S - (time.monotonic() - self._last[0])))
        now, last = self._reading(), self._last
        if now is None:
            return None
        self._last = now
        passed, busy, own = (b - a for a, b in zip(last, now, strict=True))
        return max(0.0, busy - own) / passed

    def _reading(self) -> tuple[float, float, float] | None:
        """Now, and the seconds that all and this process have computed so far."""
        allowed = set(range(os.cpu_count() or 1))
        if hasattr(os, "sched_getaffinity"):
            allowed = os.sched_getaffinity(0)
        names = {f"cpu{number}" for number in allowed}
        ticks = 0
        lines = [line.split() for line in (text(self._root / "proc/stat") or "").splitlines()]
        lines = [fields for fields in lines if fields and fields[0] in names]
        if not lines:
            return None
        for fields in lines:
            # proc_stat(5): user nice system idle iowait irq softirq steal
            values = [int(word) for word in fields[1:9]]
            ticks += sum(values) - sum(values[3:5])
        used = os.times()
        own = used.user + used.system + used.children_user + used.children_system
        return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), own


def left_by(others: float, most: int) -> int:
    """Threads that find a processor each beside others, at least one.

    Args:
        others: processors that other processes keep busy.
        most: threads at most.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else usable_cores()
    return max(1, min(most, round(allowed - others)))
