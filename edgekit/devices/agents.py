"""An agent on a device, seen from the one that asks it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from edgekit import errors
from edgekit.agent.wire import (
    CRASHED,
    GREETING,
    MISSING,
    PROTOCOL,
    SILENT,
    Closed,
    Message,
    Wire,
    packed,
    unpacked,
)
from edgekit.core.reading import parse_json
from edgekit.errors import EdgekitError, UnavailableError, UnknownNameError, UsageError
from edgekit.plugins import to_install
from edgekit.signals import waiting

if TYPE_CHECKING:
    from edgekit.core import Array

LIMIT_S = 300.0
"""Longest silence of an agent that was asked something, beside the time that it should take."""

_GREETING_S = 60.0
_GREETING_BYTES = 1 << 16
# The agent notices first that a slot is silent; what is silent longer is the way to it.
_GRACE_S = 15.0
_ENDING_S = 10.0

Explain = Callable[[int, str], Exception]
"""Makes an error of what became of the process that leads to an agent: its exit code, which is
negative for a signal, and the end of what it printed."""


class EndedError(UnavailableError):
    """A slot whose process has ended, by itself or as it was silent.

    Attributes:
        code: exit code, negative for a signal; ``None`` where it was silent.
        do: what it was asked.
        told: the last line that it printed.
        limit_s: seconds that it had for an answer.
    """

    def __init__(self, answer: Mapping[str, Any], where: str) -> None:
        self.code: int | None = answer.get("code")
        self.do, self.told = str(answer.get("do")), str(answer.get("told", ""))
        self.limit_s = float(answer.get("within_s", 0.0))
        super().__init__(f"a process of the agent on {where} ended at '{self.do}'")


class Agent:
    """A conversation with an agent, which ends with the object.

    Args:
        start: starts the process that leads to it, given the file for what that prints; its
            standard input and output are those of the agent.
        where: the device, for people.
        explain: see `Explain`.

    Raises:
        EdgekitError: there is no agent; as ``explain`` says.
    """

    def __init__(
        self,
        start: Callable[[IO[bytes]], subprocess.Popen[bytes]],
        where: str,
        explain: Explain,
    ) -> None:
        self.where, self._explain = where, explain
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the agent
        self._process = start(self._stderr)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._wire = Wire(self._process.stdout.fileno(), self._process.stdin.fileno())
        self._owner = os.getpid()
        self._answer_due = False
        try:
            self._greeted()
        except BaseException:
            self.close()
            raise

    def _greeted(self) -> None:
        """Waits until the agent speaks; what comes before is what a shell prints."""
        end_s, read = time.monotonic() + _GREETING_S, 0
        try:
            while read < _GREETING_BYTES:
                line = self._wire.line(end_s)
                read += len(line) + 1
                with contextlib.suppress(ValueError, AttributeError):
                    spoken = parse_json(line).get(GREETING)
                    if spoken is not None:
                        break
            else:
                raise UnavailableError(
                    f"{self.where} answers with something else than edgekit's agent: expected no "
                    f"output of its own from what the login starts there"
                )
        except TimeoutError as error:
            raise UnavailableError(
                f"{self.where} did not answer for {_GREETING_S:.0f} s: see whether it is on, and "
                f"whether its name or address is right"
            ) from error
        except Closed as error:
            raise self._gone() from error
        if spoken != PROTOCOL:
            raise UnavailableError(
                f"the agent on {self.where} speaks version {spoken!r} of its protocol, expected "
                f"{PROTOCOL}: use one version of edgekit"
            )

    @property
    def pid(self) -> int:
        """Of the process here that leads to it."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it can be asked: it runs, and this process has started it."""
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(
        self,
        do: str,
        arrays: Sequence[Array] = (),
        *,
        limit_s: float = LIMIT_S,
        about: str = "",
        **arguments: Any,
    ) -> tuple[dict[str, Any], list[Array]]:
        """Sends a command and waits for its answer.

        Args:
            limit_s: longest time that it should take.
            about: what errors name if they do not by themselves.

        Raises:
            EndedError: the slot that was asked has ended.
            UnavailableError: the device is gone or silent, or a package is missing there.
            EdgekitError: of the class that was raised there.
        """
        kinds, contents = packed(arrays)
        if self._answer_due:  # of a question whose asker was interrupted
            self._received(do, limit_s)
        with contextlib.suppress(Closed), waiting():  # what became of it shows in the answer
            self._answer_due = True
            self._wire.send({"do": do, **arguments, **kinds}, contents)
        answer, received = self._received(do, limit_s)
        check(answer, self.where, about)
        return answer, unpacked(answer, received)

    def _received(self, do: str, limit_s: float) -> Message:
        """The next message; an interrupt comes before it or after it, and leaves it whole."""
        try:
            self._wire.await_some(limit_s + _GRACE_S)
            with waiting():
                found = self._wire.receive(limit_s + _GRACE_S)
                self._answer_due = False
        except TimeoutError as error:
            self.close()
            raise UnavailableError(
                f"{self.where} did not answer to '{do}' for {limit_s:.0f} s"
            ) from error
        except Closed as error:
            raise self._gone() from error
        return found

    def _gone(self) -> Exception:
        """Why there is no agent any more."""
        try:
            code = self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            code = 0
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4000))
        told = self._stderr.read().decode(errors="replace").strip()
        self.close()
        return self._explain(code, told)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was never started
            self.close()

    def close(self) -> None:
        """Ends the conversation, and the agent with it."""
        process = self._process
        if self._owner != os.getpid():  # a fork, whose parent still talks
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel
                process.wait(_ENDING_S)
        with contextlib.suppress(OSError):
            self._stderr.close()


def check(answer: Mapping[str, Any], where: str, about: str = "") -> None:
    """Raises what an answer says has failed.

    Args:
        where: the device, for people.
        about: what errors name if they do not by themselves.

    Raises:
        EdgekitError: see `Agent.ask`.
    """
    if "error" not in answer:
        return
    kind = str(answer["error"])
    if kind in (CRASHED, SILENT):
        raise EndedError(answer, where)
    if kind == MISSING:
        raise UnavailableError(
            f"{about or 'it'} needs the package '{answer['package']}', which is not installed on "
            f"{where}: pip install {to_install(str(answer['package']))}"
        )
    message = str(answer["message"])
    raise named_error(kind, message if about in message else f"{about}: {message}")


def named_error(name: str, message: str) -> EdgekitError:
    """The error that an answer stands for."""
    kind = getattr(errors, name, EdgekitError)
    if kind is UnknownNameError:  # its message is composed already
        kind = UsageError
    found: EdgekitError = kind(message)
    return found
