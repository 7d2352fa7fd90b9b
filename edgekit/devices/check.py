"""Whether a device is what its profile says, and can be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit import registry, tables
from edgekit.core import DeviceProfile
from edgekit.devices.host import detect
from edgekit.devices.profiles import TRANSPORTS
from edgekit.errors import UnavailableError, UsageError

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


def check_device(profile: DeviceProfile, root: Path = Path("/")) -> list[Finding]:
    """Compares a profile with the device.

    Args:
        root: of the file system, ``/`` but in tests.

    Raises:
        UnavailableError: there is no transport to the device.
    """
    scheme = profile.transport.partition(":")[0]
    if scheme not in TRANSPORTS:
        raise UnavailableError(
            f"device '{profile.name}' is reached by '{profile.transport}', and this edgekit has no "
            f"transport '{scheme}': there is {', '.join(f'{t}:' for t in TRANSPORTS)}, this "
            f"machine itself; install edgekit on the device and run it there"
        )
    detected = detect(root)
    return [
        _finding("processor", profile.soc, detected.soc, compare=False),
        _names("instructions", profile.isa, detected.isa),
        _finding("cores", profile.cores, detected.cores),
        _finding("max MHz", profile.max_mhz, detected.max_mhz),
        _memory(profile.ram_mib, detected.ram_mib),
        _names("runtimes", profile.runtimes, detected.runtimes),
        _meter(profile.meter, root),
    ]


def _finding(what: str, declared: object, detected: object, compare: bool = True) -> Finding:
    known = compare and declared is not None and detected is not None
    texts = ["" if value is None else f"{value}" for value in (declared, detected)]
    return Finding(what, texts[0], texts[1], declared == detected if known else None)


def _names(what: str, declared: tuple[str, ...], detected: tuple[str, ...]) -> Finding:
    """More may be found than is declared."""
    agrees = set(declared) <= set(detected) if declared else None
    return Finding(what, ", ".join(declared), ", ".join(detected), agrees)


def _memory(declared: int | None, detected: int | None) -> Finding:
    agrees = None
    if declared is not None and detected is not None:
        agrees = declared * (1 - _RESERVED_SHARE) <= detected <= declared
    texts = ["" if value is None else f"{value} MiB" for value in (declared, detected)]
    return Finding("memory", texts[0], texts[1], agrees)


def _meter(declared: str | None, root: Path) -> Finding:
    """Opens the declared meter; without one, tells which could be opened."""
    if declared is not None:
        try:
            return Finding("meter", declared, _open(declared, root), True)
        except (UnavailableError, UsageError) as error:
            return Finding("meter", declared, str(error), False)
    working = []
    for name in tables.METERS:
        try:
            _open(name, root)
        except (UnavailableError, UsageError):
            continue  # most machines have one kind of meter, or none
        working.append(name)
    return Finding("meter", "", ", ".join(working) or "none", None)


def _open(name: str, root: Path) -> str:
    """What an opened meter shows."""
    meter = registry.meter(name).open(root)
    try:
        return f"{meter.scope}: {meter.detail}"
    finally:
        meter.close()
