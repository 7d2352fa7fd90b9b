"""A file in its runtime, in a process of the agent of a device.

A runtime is C++ that trusts its file: one that is damaged or hostile ends the process, takes all
memory, or never comes back. So edgekit runs no file in its own process: an agent does, here or on
another device, with bounds of memory and time, and what crosses over is plain arrays.
"""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgekit.agent import bounds
from edgekit.core import TensorSpec, from_json
from edgekit.devices.agents import Agent, EndedError, Slot
from edgekit.devices.device import HOST, Device
from edgekit.devices.files import file_request, opener_of
from edgekit.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from edgekit.core import Array, Target
    from edgekit.devices.agents import Answer

LIMIT_S = 600.0
"""Longest wait for an inference; until the first one is done, processor time is bounded, too."""

_Found = TypeVar("_Found")

_PASSING = {*bounds.FAULTS, *([signal.SIGKILL] if hasattr(signal, "SIGKILL") else [])}
"""What may end a process of a runtime once: a fault, or a system that is short of memory."""


class Slots:
    """Slots of one agent on a device, each with a runtime that stays imported.

    Args:
        device: whose agent is started when it is needed, and anew where it is gone.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._agent: Agent | None = None
        self._path: list[str] = []
        self._idle: dict[str, Slot] = {}
        self._returned: list[tuple[str, Slot]] = []
        self._turn = threading.RLock()

    def agent(self) -> Agent:
        """The agent, which no other process asks.

        Raises:
            UnavailableError: the device cannot be reached, or somebody else measures there.
        """
        # What is imported there is looked for where this process did when it was started.
        if self._agent is None or not self._agent.usable or self._path != sys.path:
            agent = self.device.open()
            try:
                self.device.claim(agent, alone=False)
            except BaseException:
                agent.close()
                raise
            self._agent, self._idle, self._path = agent, {}, [*sys.path]
        return self._agent

    def place(self, files: Sequence[Path]) -> tuple[str, ...] | None:
        """Brings files to the device; see `edgekit.devices.device.Device.place`."""
        if self.device.here:
            return None
        self.device.check_names(files)  # before it is reached
        return self.device.place(self.agent(), files)

    def take(self, opener: str, subject: dict[str, Any], about: str) -> Slot:
        """A slot that has imported what opens a file.

        Args:
            about: what errors name.
        """
        with self._turn:
            agent = self.agent()
            while self._returned:
                key, slot = self._returned.pop()
                if slot.agent is agent and slot.ready and key not in self._idle:
                    self._idle[key] = slot
                else:
                    slot.end()
            if opener in self._idle:
                return self._idle.pop(opener)
            made = agent.direct_slot() if self.device.here else agent.slot()
            try:
                made.ask("import", subject=subject, about=about)
            except BaseException:
                made.end()
                raise
            return made

    def give_back(self, opener: str, slot: Slot) -> None:
        """Notes that a slot is free; asks nothing, as it may come in the middle of a question."""
        self._returned.append((opener, slot))

    def close(self) -> None:
        """Ends the agent."""
        if self._agent is not None:
            self._agent.close()
        self._agent = None


_SLOTS: dict[str, Slots] = {}
"""Of the devices that files have run on."""


@atexit.register
def _close() -> None:
    for slots in _SLOTS.values():
        slots.close()


class DeviceRunner:
    """A file that an agent runs; see `edgekit.core.Runner`.

    Args:
        batch: see `edgekit.core.Target.open`.

    Raises:
        InputError: the runtime cannot load it, crashes on it, or takes more than its bounds.
        UnavailableError: the runtime is not installed, or the device is gone.
    """

    def __init__(
        self, slots: Slots, target: Target, path: Path, threads: int | None, batch: int | None
    ) -> None:
        self._slots, self._target, self._path = slots, target, path
        self._images = batch or 1
        self._opener = opener_of(target)
        self._threads, self._batch = threads, batch
        self._slot: Slot | None = None
        answer = self._twice(self._load, self._load)
        self._tensors = tuple(
            tuple(from_json(TensorSpec, spec) for spec in answer[key])
            for key in ("inputs", "outputs")
        )
        self._found: list[Array] = []

    def _load(self) -> dict[str, Any]:
        self._subject = file_request(
            self._target,
            self._path,
            threads=self._threads,
            batch=self._batch,
            images=self._images,
            files=self._slots.place(self._target.files(self._path)),
        )
        self._slot = self._slots.take(self._opener, self._subject, str(self._path))
        self._end = weakref.finalize(self, self._slots.give_back, self._opener, self._slot)
        return self._ask("tensors", subject=self._subject)[0]

    def _ask(self, do: str, arrays: Sequence[Array] = (), **arguments: Any) -> Answer:
        with self._asked() as slot:
            return slot.ask(do, arrays, limit_s=LIMIT_S, about=str(self._path), **arguments)

    @contextlib.contextmanager
    def _asked(self) -> Iterator[Slot]:
        """The slot, which is given back to nobody where it has ended."""
        assert self._slot is not None
        try:
            yield self._slot
        except EndedError:
            self._end.detach()
            raise

    def _twice(self, attempt: Callable[[], _Found], again: Callable[[], _Found]) -> _Found:
        """What an attempt gives, or where it crashes what another one does.

        A file that crashes its runtime does so each time. A runtime may crash by itself, once in
        thousands of times, and a process may be killed: that says nothing of the file. Nor does an
        agent that has ended, as one on another device does that is asked nothing for long.
        """
        try:
            return attempt()
        except EndedError as error:
            if error.code is None or -error.code not in _PASSING:
                raise self._how_it_ended(error) from error
        except UnavailableError:
            if self._slot is None or self._slot.agent.usable:
                raise
        try:
            return again()
        except EndedError as error:
            raise self._how_it_ended(error) from error

    def _how_it_ended(self, error: EndedError) -> InputError | UnavailableError:
        path, runtime = self._path, self._target.runtime
        if error.code is None:
            return UnavailableError(f"{path}: {runtime} did not answer for {error.limit_s:.0f} s")
        allowed = bounds.allowed_for(self._target.files(path), self._images)
        return InputError(f"{path} {bounds.how_it_ended(error.code, runtime, allowed)}")

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference."""
        return self.begin(inputs)()

    def begin(self, inputs: Sequence[Array]) -> Callable[[], list[Array]]:
        """Begins an inference, and gives what waits for its outputs.

        What is done in between, such as making the next input, takes no time of its own where
        there is a second core. Nothing else is asked of the device meanwhile.
        """

        def sent() -> Callable[[], Answer]:
            with self._asked() as slot:
                return slot.begin("run", inputs, limit_s=LIMIT_S, about=str(self._path))

        def received() -> Answer:
            if isinstance(begun, UnavailableError):
                raise begun
            with self._asked():
                return begun()

        def anew() -> Answer:
            self._load()
            return self._ask("run", inputs)

        def finish() -> list[Array]:
            self._found = self._announced(self._twice(received, anew)[1])
            return self._found

        begun: Callable[[], Answer] | UnavailableError
        try:
            begun = sent()
        except UnavailableError as error:  # it is told, or tried again, where the outputs are due
            begun = error
        return finish

    def _announced(self, found: list[Array]) -> list[Array]:
        """Outputs that are as many and as large as the runtime has told.

        Raises:
            UnavailableError: they are not.
        """
        specs, device = self._tensors[1], self._slots.device
        if not device.here and (len(found) != len(specs) or any(map(_differs, found, specs))):
            raise UnavailableError(
                f"{device.transport.where} gives other outputs of {self._path} than it has "
                f"announced: see whether something else answers there"
            )
        return found

    def prepare(self, inputs: Sequence[Array]) -> Callable[[], None]:
        """Each call sends the inputs and waits for the outputs."""

        def infer() -> None:
            self.run(inputs)

        return infer

    def outputs(self) -> list[Array]:
        """The outputs of the last run."""
        return list(self._found)

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs of the file."""
        return self._tensors[0], self._tensors[1]

    def activations(self, inputs: Sequence[Array]) -> list[tuple[str, Array]]:
        """What `edgekit.core.Inspectable.activations` gives; the file has to be loaded anew."""

        def compute() -> list[tuple[str, Array]]:
            answer, arrays = self._ask("activations", inputs, subject=self._subject)
            return list(zip(answer["names"], arrays, strict=True))

        def anew() -> list[tuple[str, Array]]:
            self._load()
            return compute()

        return self._twice(compute, anew)


def _differs(found: Array, announced: TensorSpec) -> bool:
    """Whether an output has another shape than its runtime has told of; -1 is of any length."""
    if found.ndim != len(announced.shape):
        return True
    pairs = zip(found.shape, announced.shape, strict=True)
    return any(length not in (have, -1) for have, length in pairs)


def open_file(
    target: Target,
    path: Path,
    threads: int | None,
    *,
    batch: int | None = None,
    device: Device = HOST,
) -> DeviceRunner:
    """A file in its runtime, in a process of its own; see `DeviceRunner`.

    Args:
        device: that it runs on.

    Raises:
        UnavailableError: the device cannot be reached.
    """
    return DeviceRunner(_slots_of(device), target, path, threads, batch)


def agent_on(device: Device) -> Agent:
    """The agent that runs files of this process on a device.

    Raises:
        UnavailableError: the device cannot be reached.
    """
    return _slots_of(device).agent()


def _slots_of(device: Device) -> Slots:
    slots = _SLOTS.get(device.name)
    if slots is None or slots.device != device:
        slots = _SLOTS[device.name] = Slots(device)
    return slots
