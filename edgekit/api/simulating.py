"""``edgekit.estimate``: what files take on microcontrollers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.api.checking import typed
from edgekit.api.keywords import StrPath
from edgekit.tables import SIMULATORS

if TYPE_CHECKING:
    from edgekit.core import Simulation, Simulator


@typed
def estimate(artifact: StrPath, device: str) -> Simulation:
    """What an exported file takes on a microcontroller, of which nothing is here.

    Args:
        artifact: the file; with integers at both ends.
        device: a simulator of ``edgekit devices list``, such as ``tflm`` or ``ethos-u55-128``.

    Returns:
        Memory and, where a model of the device says so, cycles; ``kind`` says which of them it is.

    Raises:
        UsageError: there is no such simulator, or it is no file that is named.
        InputError: the file cannot be used there; names all operators that are missing.
        UnavailableError: a package is not installed.
    """
    from edgekit.contract import is_artifact
    from edgekit.devices.device import find_device
    from edgekit.devices.simulators import look, refuse_networks

    found: Simulator = SIMULATORS.load(device)
    path = os.fspath(artifact)
    if not is_artifact(path):
        refuse_networks(find_device(device, simulators=True), path)
    return look(found, Path(path))
