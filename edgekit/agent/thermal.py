"""How hot a device is, and whether it slows its processor down, from files of the Linux kernel."""

from __future__ import annotations

from pathlib import Path

from edgekit.agent.kernel import number, text

# Of the Raspberry Pi's firmware: under-voltage, frequency capped, throttled, soft limit of
# temperature; what was since the start stands 16 bits further up.
_PI = "sys/devices/platform/soc/soc:firmware/get_throttled"
_PI_NOW = 0xF

_COOLING = ("processor", "cpu", "thermal-cpufreq")


def celsius(root: Path = Path("/")) -> float | None:
    """The highest temperature of all zones; ``None`` where the system does not tell."""
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    millidegrees = [found for found in map(number, zones) if found is not None]
    return max(millidegrees) / 1000 if millidegrees else None


def throttled(root: Path = Path("/")) -> bool | None:
    """Whether the processor is slowed down at this moment; ``None`` where the system does not tell.

    The firmware of a Raspberry Pi tells, and the kernel's own means of cooling do, where one of
    them holds the processor back.
    """
    found: bool | None = None
    firmware = text(root / _PI)
    if firmware is not None:
        try:
            found = bool(int(firmware, 16) & _PI_NOW)
        except ValueError:
            found = None
    for device in (root / "sys/class/thermal").glob("cooling_device*"):
        kind = (text(device / "type") or "").lower()
        state = number(device / "cur_state")
        if state is not None and kind.startswith(_COOLING):
            found = bool(found) or state > 0
    return found


def throttle_count(root: Path = Path("/")) -> float | None:
    """How often processors were slowed down since the start, on x86; ``None`` elsewhere."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    counts = [found for found in map(number, files) if found is not None]
    return sum(counts) if counts else None
