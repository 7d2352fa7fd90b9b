"""What the machine is that edgekit runs on; see `edgekit.agent.hardware`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgekit import tables
from edgekit.agent import hardware
from edgekit.agent.hardware import versions
from edgekit.core import DeviceProfile


def detected(profile: DeviceProfile, root: Path = Path("/")) -> DeviceProfile:
    """A profile with what it does not declare read off this machine.

    Args:
        profile: returned as it is unless its transport is ``local:``.
        root: of the file system, ``/`` but in tests.
    """
    if profile.transport != "local:":
        return profile
    found = detect(root)
    empty = {
        field.name: getattr(found, field.name)
        for field in dataclasses.fields(DeviceProfile)
        if field.name != "sources" and getattr(profile, field.name) in (None, ())
    }
    return dataclasses.replace(profile, **empty)


def detect(root: Path = Path("/")) -> DeviceProfile:
    """What this machine is, as a profile without sources.

    Args:
        root: of the file system, ``/`` but in tests.
    """
    found = hardware.described(root)
    return DeviceProfile(
        name="host",
        description="this machine, as it is found",
        transport="local:",
        soc=found["soc"],
        isa=tuple(found["isa"]),
        cores=found["cores"],
        max_mhz=found["max_mhz"],
        ram_mib=found["ram_mib"],
        runtimes=tuple(versions(_runtimes())),
        threads=found["threads"],
    )


def _runtimes() -> list[str]:
    """Distributions that run artifacts or networks."""
    targets, _ = tables.TARGETS.load_all()
    return sorted({"torch", *(name for target in targets.values() for name in target.engines)})
