"""What a network may cost, as people write it: ``latency=0.6x,size=2MB``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from edgekit.errors import UsageError

_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "KiB": 2.0**10, "MB": 1e6, "MiB": 2.0**20}

UNITS: dict[str, dict[str, float]] = {
    "latency": {"ms": 1.0, "us": 1e-3, "s": 1e3},
    "size": _BYTES,
    "arena": _BYTES,
    "sram": _BYTES,
    "macs": {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9},
    "energy": {"mJ": 1.0, "uJ": 1e-3, "J": 1e3},
}
"""Resources and their units, the factors to ms, bytes, multiply-accumulates and mJ."""

MEASURED = ("latency", "energy")
"""Resources that a clock or a meter tells, never exactly."""

MEMORIES = ("arena", "sram")
"""Those that a simulator tells; see `edgekit.core.Simulator`."""

_LIMIT = re.compile(r"([a-z]+)=([0-9.]+(?:e-?[0-9]+)?)([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Limit:
    """The bound of one resource.

    Attributes:
        resource: a key of `UNITS`.
        value: in ms, bytes, multiply-accumulates or mJ; a share of the start where ``relative``.
        text: as it was written.
    """

    resource: str
    value: float
    relative: bool
    text: str

    def absolute(self, start: float) -> float:
        """The bound, for what the start costs."""
        return self.value * start if self.relative else self.value


def parse_budget(text: str) -> tuple[Limit, ...]:
    """Reads a budget.

    Raises:
        UsageError: a resource or unit that there is not, or a number out of range.
    """
    limits: dict[str, Limit] = {}
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        if match is None or match[1] not in UNITS:
            raise UsageError(
                f"budget '{part.strip()}': expected such as latency=0.6x, latency=4ms, size=2MB, "
                f"macs=50M, energy=3mJ, arena=256KB or sram=128KB, separated by commas"
            )
        resource, unit, relative = match[1], match[3], match[3] == "x"
        if not relative and unit not in UNITS[resource]:
            names = ", ".join(repr(name) for name in UNITS[resource] if name)
            raise UsageError(f"budget '{part.strip()}': expected x or one of {names} as unit")
        try:
            number = float(match[2])
        except ValueError:
            number = math.nan
        value = number * (1.0 if relative else UNITS[resource][unit])
        if not (0 < value < math.inf) or (relative and value >= 1):
            raise UsageError(
                f"budget '{part.strip()}': expected a number above 0"
                + (" and below 1, a share of the start" if relative else "")
            )
        if resource in limits:
            raise UsageError(f"budget '{text}' has two bounds of {resource}")
        limits[resource] = Limit(resource, value, relative, part.strip())
    return tuple(limits.values())


def amount(resource: str, value: float) -> str:
    """What something costs, in words."""
    if resource == "latency":
        return f"{value:.3f} ms"
    if resource in MEMORIES:
        return f"{value / 2**10:.1f} KiB"
    if resource == "size":
        return f"{value / 2**20:.2f} MiB"
    if resource == "energy":
        return f"{value:.3f} mJ"
    return f"{value / 1e6:.1f}M MACs"
