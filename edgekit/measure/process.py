"""A subject in a slot of an agent, seen from the one that asks."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.agent.bounds import allowed_for, crashed_on_its_file, how_it_ended
from edgekit.contract import is_artifact, target_by_suffix
from edgekit.devices.agents import LIMIT_S, Agent, EndedError
from edgekit.errors import EdgekitError, InputError, UnavailableError
from edgekit.measure.subjects import Subject, request


@dataclass(frozen=True, slots=True)
class Placed:
    """A subject on a device.

    Attributes:
        files: where its files lie there, the main one first; where they are here if ``None``.
        inputs: where the inputs lie that it is timed with; ``None`` for noise.
    """

    subject: Subject
    files: tuple[str, ...] | None = None
    inputs: str | None = None

    def request(self) -> dict[str, Any]:
        """As an agent takes it."""
        return request(self.subject, self.files, self.inputs)


class Process:
    """Loads a subject in a slot, and asks it.

    Crashes, hangs and errors there become errors that name the subject.

    Args:
        agent: that makes the slot.
    """

    def __init__(self, agent: Agent, placed: Placed, time_limit_s: float = LIMIT_S) -> None:
        self._agent, self._placed, self._limit_s = agent, placed, time_limit_s
        self._slot = agent.slot()
        self._loaded: int | None = None
        self._ended = False

    @property
    def subject(self) -> Subject:
        """What it has loaded, or is about to."""
        return self._placed.subject

    @property
    def pids(self) -> list[int]:
        """Numbers, on the device, of the slot's process and of the one that has the subject."""
        own, loaded = self._slot.pid, self._loaded
        return [own] if loaded is None or loaded == own else [own, loaded]

    @property
    def number(self) -> int:
        """Of the slot."""
        return self._slot.number

    def begin(self) -> None:
        """Makes the slot import what the subject needs, and does not wait for it."""
        asked = {"do": "import", "subject": self._placed.request()}
        self._agent.ask("tell", of=self.number, request=asked)

    def ready(self) -> None:
        """Waits for what `begin` began.

        Raises:
            EdgekitError: as `ask`.
        """
        with self.ending():
            self._agent.ask(
                "heard",
                limit_s=self._limit_s,
                about=self.subject.called,
                of=self.number,
                asked="import",
                within_s=self._limit_s,
            )

    def open(self, cores: Sequence[int] = ()) -> dict[str, Any]:
        """Loads the subject, once the slot is ready.

        Returns:
            What `edgekit.agent.worker.Worker.open` tells.
        """
        return self._load("open", 0.0, cores)

    def reload(
        self, placed: Placed, cores: Sequence[int] = (), expected_s: float = 0.0
    ) -> dict[str, Any]:
        """Loads a subject anew, or another one that needs the same imports."""
        self._placed = placed
        return self._load("reload", expected_s, cores)

    def _load(self, do: str, expected_s: float, cores: Sequence[int]) -> dict[str, Any]:
        answer = self.ask(do, expected_s, subject=self._placed.request(), cores=list(cores))
        self._loaded = answer.get("pid", self._loaded)
        return answer

    def allowed_s(self, expected_s: float = 0.0) -> float:
        """How long an answer may take that should take so long."""
        return self._limit_s + 3 * expected_s

    def ask(self, do: str, expected_s: float = 0.0, **arguments: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer.

        Args:
            expected_s: time that the command should take.

        Raises:
            EdgekitError: of the class that was raised there.
            UnavailableError: the process crashed, or did not answer in time.
        """
        limit_s = self.allowed_s(expected_s)
        with self.ending():
            answer, _ = self._slot.ask(do, limit_s=limit_s, about=self.subject.called, **arguments)
        return answer

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Tells why the slot has ended, where it has."""
        try:
            yield
        except EndedError as error:
            self._ended = True
            raise self._how_it_ended(error) from error

    def _how_it_ended(self, error: EndedError) -> EdgekitError:
        name, code = self.subject.called, error.code
        if code is None:
            return UnavailableError(
                f"{name}: no answer to '{error.do}' for {error.limit_s:.0f} s, so its process was "
                f"ended; give it more with --time-limit"
            )
        if is_artifact(self.subject.source) and crashed_on_its_file(code):
            path = Path(self.subject.source)
            target = target_by_suffix(path)
            assert target is not None
            allowed = allowed_for(target.files(path), self.subject.images)
            return InputError(f"{path} {how_it_ended(code, target.runtime, allowed)}")
        memory = code in (-signal.SIGKILL, -signal.SIGABRT)
        why = error.why + (", perhaps for want of memory" if memory else "")
        return UnavailableError(f"{name}: its runtime crashed at '{error.do}' ({why}){error.last}")

    def close(self) -> None:
        """Ends the slot."""
        if not self._ended:
            self._ended = True
            self._slot.end()
