"""Files that were written for one kind of processor, and go to another one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import registry
from edgekit.core import Quantizing
from edgekit.core.forms import fits
from edgekit.devices.runner import agent_on

if TYPE_CHECKING:
    from edgekit.core import Artifact
    from edgekit.devices.agents import Agent
    from edgekit.devices.device import Device


def misfit(
    path: Path, artifact: Artifact, device: Device, agent: Agent | None = None
) -> str | None:
    """What to say of a file that was written for another processor than that of a device.

    Args:
        artifact: what its contract says.
        agent: on the device; the one that runs files there if ``None``.

    Returns:
        ``None`` where it fits, makes no difference, or is not known.

    Raises:
        UnavailableError: the device cannot be reached.
    """
    written = artifact.scheme
    if written.isa is None or device.simulator is not None:
        return None
    target = registry.target(artifact.target)
    if not isinstance(target, Quantizing):
        return None
    there = device.isa(None if device.here else agent or agent_on(device))
    if fits(target.choices, written.precision, written.isa, there):
        return None
    place = "this machine" if device.here else device.name
    words = ["edgekit", "export", artifact.model, "--target", artifact.target]
    words += ["--precision", written.precision]
    words += [] if device.here else ["--device", device.name]
    return (
        f"{path} was written for processors of the kind {written.isa}, and {place} is of the kind "
        f"{there}, where it is slower or less exact than one of '{shlex.join(words)}'"
    )
