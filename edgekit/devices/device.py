"""A device as the rest of edgekit has it: files are placed on it, and agents opened."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.agent.files import digest
from edgekit.core import canonical_json
from edgekit.core.reading import open_file
from edgekit.devices.agents import Agent
from edgekit.devices.transports.local import LOCAL
from edgekit.errors import UnavailableError

if TYPE_CHECKING:
    from edgekit.core import Array, Transport


_CHUNK_BYTES = 4 << 20
_TRIES = 3
"""A file whose bytes arrive otherwise than they were is sent again."""


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
        return Agent(self.transport)

    def place(self, agent: Agent, files: Sequence[Path]) -> tuple[str, ...]:
        """Brings files to the device, in one folder; gives their paths there.

        Raises:
            UnavailableError: the device is gone, or its disk is full.
        """
        if self.here:
            return tuple(str(file) for file in files)
        about = [(file.name, file.stat().st_size, digest([file])) for file in files]
        key = hashlib.sha256(canonical_json(about).encode()).hexdigest()
        answer, _ = agent.ask("place", key=key, files=about)
        for file, (name, size, sha256), have in zip(files, about, answer["have"], strict=True):
            self._send(agent, file, have, key=key, name=name, size=size, digest=sha256)
        return tuple(answer["paths"])

    def _send(self, agent: Agent, file: Path, have: int, **about: Any) -> None:
        """Sends what is not there of a file.

        Raises:
            UnavailableError: the device is gone, its disk is full, or it does not keep what it
                gets.
        """
        size, begun = about["size"], 0
        with open_file(file) as stream:
            while have < size or (size == 0 and not begun):
                if have == 0:
                    begun += 1
                if begun > _TRIES:
                    raise UnavailableError(
                        f"{self.transport.where} does not keep {file} as it was sent: see whether "
                        f"its disk is damaged"
                    )
                stream.seek(have)
                chunk = np.frombuffer(stream.read(_CHUNK_BYTES), np.uint8)
                have = agent.ask("put", [chunk], offset=have, **about)[0]["have"]

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
