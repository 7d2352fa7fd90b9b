"""What the machine is that edgekit runs on; see `edgekit.agent.hardware`."""

from __future__ import annotations

import dataclasses
import os
from importlib import metadata
from pathlib import Path

from edgekit import tables
from edgekit.agent import hardware
from edgekit.agent.hardware import processor_name, versions
from edgekit.core import DeviceProfile, Target


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
    facts = hardware.facts(root)
    return DeviceProfile(
        name="host",
        description="this machine, as it is found",
        transport="local:",
        soc=facts["soc"],
        isa=tuple(facts["isa"]),
        cores=facts["cores"],
        max_mhz=facts["max_mhz"],
        ram_mib=facts["ram_mib"],
        runtimes=tuple(versions(_runtimes())),
        threads=facts["threads"],
    )


def _runtimes() -> list[str]:
    """Distributions that run artifacts or networks."""
    targets, _ = tables.TARGETS.load_all()
    return sorted({"torch", *(name for target in targets.values() for name in target.engines)})


def conditions(target: Target) -> dict[str, object]:
    """What a latency on this machine depends on beside the file that is run.

    Args:
        target: what runs it.
    """
    versions = {name: metadata.version(name) for name in target.packages}
    found = {**target.environment(), **os.environ}
    variables = {name: found[name] for name in target.variables if name in found}
    return {"processor": processor_name(), "versions": versions, "environment": variables}
