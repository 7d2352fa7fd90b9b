"""A device as the rest of edgekit has it: files are placed on it, and agents opened."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import secrets
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.agent.files import digest
from edgekit.agent.hardware import described, isa_family, processor_name
from edgekit.core import canonical_json
from edgekit.core.names import problem_on_device
from edgekit.core.reading import open_file
from edgekit.devices.agents import Agent
from edgekit.devices.facts import built_in
from edgekit.devices.transports.local import LOCAL
from edgekit.errors import InputError, UnavailableError
from edgekit.tables import SIMULATORS

if TYPE_CHECKING:
    from edgekit.core import Array, DeviceProfile, Simulator, Target, Transport


_CHUNK_BYTES = 4 << 20
_TOKEN = secrets.token_hex(16)
"""Tells this process from others that measure on a device."""

_TRIES = 3
"""A file whose bytes arrive otherwise than they were is sent again."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where files are run and measured.

    Attributes:
        name: of its profile.
        transport: the way to it.
        profile: what is declared of it; ``None`` where it has none.
        simulator: what stands for it here, of a microcontroller; ``None`` for all others.
    """

    name: str
    transport: Transport
    profile: DeviceProfile | None = None
    simulator: Simulator | None = None

    @property
    def here(self) -> bool:
        """Whether it is this machine, whose files need not be sent."""
        return self.transport is LOCAL

    def conditions(self, target: Target) -> dict[str, object]:
        """What a latency there depends on beside the file that is run.

        Args:
            target: what runs it.

        Raises:
            UnavailableError: the device cannot be reached.
        """
        if self.here:
            versions = {name: metadata.version(name) for name in target.packages}
            environment = {**target.environment(), **os.environ}
            variables = {key: environment[key] for key in target.variables if key in environment}
            return {
                "processor": processor_name(),
                "versions": versions,
                "environment": variables,
            }
        with contextlib.closing(self.open()) as agent:
            about, _ = agent.ask(
                "about", packages=list(target.packages), variables=list(target.variables)
            )
        return {
            "processor": about["hardware"]["soc"],
            "versions": about["versions"],
            "environment": about["environment"],
        }

    def hardware(self, agent: Agent | None = None) -> Mapping[str, Any]:
        """What it is, see `edgekit.agent.hardware.described`; a device is asked for it once.

        Args:
            agent: on it; one of its own, where it has to be asked, if ``None``.

        Raises:
            UnavailableError: the device cannot be reached.
        """
        if self.here:
            return described()
        where = self.transport.where
        if where not in _HARDWARE:
            with contextlib.ExitStack() as opened:
                if agent is None:
                    agent = opened.enter_context(contextlib.closing(self.open()))
                answer, _ = agent.ask("about", packages=[], variables=[])
            _HARDWARE[where] = answer["hardware"]
        return _HARDWARE[where]

    def isa(self, agent: Agent | None = None) -> str:
        """The family of its processor's instruction set, of `edgekit.core.PROCESSORS`.

        Args:
            agent: see `hardware`.

        Raises:
            UnavailableError: the device cannot be reached.
        """
        found = self.hardware(agent)
        return isa_family(found["machine"], found["isa"])

    def check_able(self, what: str) -> None:
        """Refuses at once what nothing on the device can do.

        Args:
            what: key of what the transport lacks: ``parts``, which a search times.

        Raises:
            UnavailableError: it cannot do that; says what could.
        """
        why = getattr(self.transport, "lacks", {}).get(what)
        if why is not None:
            raise UnavailableError(f"{self.transport.where}: {why}")

    def emulated(self, agent: Agent | None = None) -> bool:
        """Whether a program imitates its processor, so that its times mean nothing.

        Args:
            agent: see `hardware`.

        Raises:
            UnavailableError: the device cannot be reached.
        """
        return bool(self.hardware(agent)["emulated"])

    def open(self, *, known: bool = True) -> Agent:
        """Starts an agent there.

        Args:
            known: whether it has to be what is declared of it.

        Raises:
            UnavailableError: the device cannot be reached, is another one, or no agent can run
                there.
        """
        agent = Agent(self.transport)
        if known and not self.here and self.profile is not None:
            try:
                self._recognize(agent, self.profile)
            except BaseException:
                agent.close()
                raise
        return agent

    def _recognize(self, agent: Agent, profile: DeviceProfile) -> None:
        """Refuses another machine than the one that the profile is about.

        Raises:
            UnavailableError: names what is different.
        """
        if profile.soc is None and profile.cores is None and not profile.isa:
            return
        hardware = agent.ask("about", packages=[], variables=[])[0]["hardware"]
        for found in built_in(profile, hardware):
            if found.agrees is False:
                raise UnavailableError(
                    f"device '{self.name}' is not what its profile says: its {found.what} should "
                    f"be {found.declared}, and at {self.transport.where} is {found.found}: see "
                    f"'edgekit devices check {self.name}', and mend the profile or the address"
                )

    def claim(self, agent: Agent, *, alone: bool = True) -> None:
        """Keeps others from measuring there as long as the agent is open.

        On this machine, measurements only tell that there were others.

        Args:
            alone: whether this one measures, or only runs files, as others may then.

        Raises:
            UnavailableError: somebody else measures there, or runs files where this one would
                measure; says who.
        """
        if self.here:
            return
        agent.ask("claim", token=_TOKEN, owner=_owner(), alone=alone, about=self.transport.where)

    def check_names(self, files: Sequence[Path]) -> None:
        """Refuses files that cannot be brought to the device, before it is asked for anything.

        Raises:
            InputError: of which one its name cannot be that of a file there, and why.
        """
        for file in files if not self.here else ():
            problem = problem_on_device(file.name)
            if problem is not None:
                raise InputError(
                    f"{file} cannot be sent to {self.transport.where}: {problem}; rename the file"
                )

    def place(self, agent: Agent, files: Sequence[Path]) -> tuple[str, ...]:
        """Brings files to the device, in one folder; gives their paths there.

        Raises:
            InputError: a file was changed meanwhile, or its name cannot be that of a file there.
            UnavailableError: the device is gone, or its disk is full.
        """
        if self.here:
            return tuple(str(file) for file in files)
        self.check_names(files)
        about = [(file.name, file.stat().st_size, digest([file])) for file in files]
        key = hashlib.sha256(canonical_json(about).encode()).hexdigest()
        answer, _ = agent.ask("place", key=key, files=about)
        for file, (name, size, sha256), have in zip(files, about, answer["have"], strict=True):
            self._send(agent, file, have, key=key, name=name, size=size, digest=sha256)
        return tuple(answer["paths"])

    def _send(self, agent: Agent, file: Path, have: int, **about: Any) -> None:
        """Sends what is not there of a file.

        Raises:
            InputError: the file was changed meanwhile.
            UnavailableError: the device is gone, its disk is full, or it does not keep what it
                gets.
        """
        changed = f"{file} was changed while it was sent to {self.transport.where}: try again"
        size, begun = about["size"], 0
        with open_file(file) as stream:
            while have < size or (size == 0 and not begun):
                if have == 0:
                    begun += 1
                if begun > _TRIES:
                    if digest([file]) != about["digest"]:
                        raise InputError(changed)
                    raise UnavailableError(
                        f"{self.transport.where} does not keep {file} as it was sent: see whether "
                        f"its disk is damaged"
                    )
                stream.seek(have)
                content = stream.read(min(_CHUNK_BYTES, size - have))
                if not content and size > 0:
                    raise InputError(changed)
                chunk = np.frombuffer(content, np.uint8)
                have = agent.ask("put", [chunk], offset=have, **about)[0]["have"]

    def place_arrays(self, agent: Agent, arrays: Sequence[Array], folder: Path) -> str:
        """Brings arrays to the device, as a ``.npz`` file; gives its path there.

        Args:
            folder: here, for the file.
        """
        # Always of the same name, so that the same arrays are there already the next time.
        path = Path(tempfile.mkdtemp(dir=folder), "inputs.npz")
        np.savez(path, *arrays)
        return self.place(agent, [path])[0]

    def release(self, agent: Agent, paths: Sequence[str]) -> None:
        """Lets the device delete files that `place` has brought there, should it need room.

        Args:
            paths: as `place` gave them.

        Raises:
            UnavailableError: the device is gone.
        """
        if not self.here:
            agent.ask("release", key=PurePosixPath(paths[0]).parent.name)


def _owner() -> str:
    """Who asks, for people at other computers."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # as in containers
        user = f"user {os.geteuid()}" if hasattr(os, "geteuid") else "somebody"
    return f"{user}@{socket.gethostname()}"


_HARDWARE: dict[str, Mapping[str, Any]] = {}
"""Of devices that were asked for it, by where they are."""

HOST = Device("host", LOCAL)
"""This machine."""


def find_device(name: str, *, simulators: bool = False) -> Device:
    """The device of a profile, or at an address.

    Args:
        name: of a profile, or an address such as ``ssh://pi@desk``; one that a profile of the
            user's has stands for that.
        simulators: whether a microcontroller will do, which has no clock.

    Raises:
        UnknownNameError: there is no device of that name.
        UsageError: the address is none.
        InputError: the profile is damaged.
    """
    from edgekit.devices.profiles import find_profile, native_of, profile_at, transport_of

    if ":" in name:
        known = profile_at(name)
        if known is None:
            return Device(name, transport_of(name))
        name = known.name
    key = SIMULATORS.key(name) if simulators else None
    if key is not None:
        return Device(key, LOCAL, simulator=SIMULATORS.load(key))
    profile = find_profile(name).profile
    native = native_of(profile)
    return Device(profile.name, transport_of(profile.transport, profile.python, native), profile)
