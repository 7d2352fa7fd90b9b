"""A device as the rest of edgekit has it: files are placed on it, and agents opened."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.devices.agents import Agent
from edgekit.devices.transports.local import LOCAL

if TYPE_CHECKING:
    from edgekit.core import Array, Transport


@dataclass(frozen=True, slots=True)
class Device:
    """Where files are run and measured.

    Attributes:
        name: of its profile.
        transport: the way to it.
    """

    name: str
    transport: Transport

    @property
    def here(self) -> bool:
        """Whether it is this machine, whose files need not be sent."""
        return self.transport is LOCAL

    def open(self) -> Agent:
        """Starts an agent there.

        Raises:
            UnavailableError: the device cannot be reached, or no agent can run there.
        """
        return Agent(self.transport.start, self.transport.where, self.transport.explain)

    def place(self, agent: Agent, files: Sequence[Path]) -> tuple[str, ...]:
        """Brings files to the device, in one folder; gives their paths there.

        Raises:
            UnavailableError: the device is gone, or its disk is full.
        """
        if self.here:
            return tuple(str(file) for file in files)
        raise NotImplementedError

    def place_arrays(self, agent: Agent, arrays: Sequence[Array], folder: Path) -> str:
        """Brings arrays to the device, as a ``.npz`` file; gives its path there.

        Args:
            folder: here, for the file.
        """
        with tempfile.NamedTemporaryFile(suffix=".npz", dir=folder, delete=False) as file:
            np.savez(file, *arrays)
        return self.place(agent, [Path(file.name)])[0]


HOST = Device("host", LOCAL)
"""This machine."""
