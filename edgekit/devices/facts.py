"""What is declared of a device against what an agent there tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.core import DeviceProfile

SEEN = "seen there on "
"""How the source of a fact begins that was not declared, but read off the device."""

# Firmware and kernel keep some memory for themselves, so that less is found than is built in.
_RESERVED_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact of a device, looked up.

    Attributes:
        agrees: ``None`` where nothing is declared or nothing could be found out.
    """

    what: str
    declared: str
    found: str
    agrees: bool | None


def built_in(profile: DeviceProfile, hardware: Mapping[str, Any]) -> tuple[Finding, ...]:
    """What a device is, which stays whatever is installed there.

    Args:
        hardware: see `edgekit.agent.hardware.described`.
    """
    # What people call a processor need not be what its kernel does.
    seen = profile.sources.get("soc", "").startswith(SEEN)
    return (
        fact("processor", profile.soc, hardware["soc"], compare=seen),
        names("instructions", profile.isa, tuple(hardware["isa"])),
        fact("cores", profile.cores, hardware["cores"]),
        _memory(profile.ram_mib, hardware["ram_mib"]),
    )


def fact(what: str, declared: object, found: object, compare: bool = True) -> Finding:
    """A fact that is what is declared, or is not."""
    known = compare and declared is not None and found is not None
    texts = ["" if value is None else f"{value}" for value in (declared, found)]
    return Finding(what, texts[0], texts[1], declared == found if known else None)


def names(what: str, declared: tuple[str, ...], found: tuple[str, ...]) -> Finding:
    """Names of which more may be found than are declared."""
    agrees = set(declared) <= set(found) if declared else None
    return Finding(what, ", ".join(declared), ", ".join(found), agrees)


def _memory(declared: int | None, found: int | None) -> Finding:
    agrees = None
    if declared is not None and found is not None:
        agrees = declared * (1 - _RESERVED_SHARE) <= found <= declared
    texts = ["" if value is None else f"{value} MiB" for value in (declared, found)]
    return Finding("memory", texts[0], texts[1], agrees)
