"""Microcontrollers, by what stands for them on this machine; see `edgekit.core.Simulator`.

They have no clock and no transport: they run files, or tell what a file takes, and that is all.
"""

from __future__ import annotations

import dataclasses
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import registry
from edgekit.devices.device import Device
from edgekit.errors import InputError, UnavailableError, UsageError
from edgekit.native_output import captured
from edgekit.tables import SIMULATORS, TARGETS

if TYPE_CHECKING:
    from edgekit.core import Simulation, Simulator


def simulator(name: str) -> Simulator | None:
    """The simulator of that name; ``None`` where it is none."""
    if SIMULATORS.key(name) is None:
        return None
    loaded: Simulator = SIMULATORS.load(name)
    return loaded


def ready(name: str) -> Simulator | None:
    """The same, with all that it needs.

    Raises:
        UnavailableError: a package is not installed.
    """
    found = simulator(name)
    if found is None:
        return None
    try:
        with captured():
            found.start()
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"device '{found.name}' needs {' and '.join(found.packages)}, which is not installed: "
            f"pip install '{found.extra}'"
        ) from error
    return found


def interpreter(device: Device, path: Path) -> Simulator | None:
    """What runs a file instead of its target's own runtime; ``None`` for devices that have that.

    Raises:
        UsageError: nothing can be run there.
        UnavailableError: a package is not installed.
        InputError: the device does not take the file.
    """
    found = device.simulator
    if found is None:
        return None
    if found.runtime is None:
        able = [name for name in SIMULATORS if (one := simulator(name)) and one.runtime]
        raise UsageError(
            f"device '{found.name}' is an estimate, on which nothing runs: 'edgekit profile {path} "
            f"--device {found.name}' shows it; {' and '.join(able)} runs files"
        )
    check(found, path)
    return ready(found.name)


def refuse_networks(device: Device, source: str) -> None:
    """Refuses what is no exported file, on all devices but this machine.

    Raises:
        UsageError: as said.
    """
    if device.simulator is not None:
        raise UsageError(
            f"device '{device.name}' takes exported files, and '{source}' is a network: give the "
            f"file of 'edgekit export {source} {device.simulator.exported}'"
        )
    if not device.here:
        raise UsageError(
            f"'{source}' is no artifact: networks run on this machine only; export it, and give "
            f"the file with --device"
        )


def check(simulator: Simulator, path: Path) -> None:
    """Refuses a file that a simulator does not take.

    Raises:
        InputError: it is of another target, or takes floats.
    """
    known = registry.target_by_suffix(path.suffix)
    if known is not None and known.name != simulator.target:
        raise InputError(
            f"{path} is a file of target {known.name}, and device '{simulator.name}' takes those "
            f"of {simulator.target}: 'edgekit export MODEL {simulator.exported}'"
        )
    simulator.check(path)


def look(simulator: Simulator, path: Path) -> Simulation:
    """What a file takes on a microcontroller.

    Raises:
        InputError: it cannot be used there.
        UnavailableError: a package is not installed.
    """
    check(simulator, path)
    ready(simulator.name)
    versions = [f"{name} {metadata.version(name)}" for name in simulator.packages]
    return dataclasses.replace(simulator.look(path), simulator=", ".join(versions))


def about(name: str) -> dict[str, object]:
    """What is known of a simulator, as it stands in documents."""
    key, entry = SIMULATORS.find(name)
    found: Simulator = SIMULATORS.load(name)
    versions: dict[str, str | None] = {}
    for package in found.packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "name": key,
        "description": entry.about,
        "kind": found.kind,
        "target": found.target,
        "files": TARGETS[found.target].about,
        "runs": found.runtime is not None,
        "packages": versions,
    }
