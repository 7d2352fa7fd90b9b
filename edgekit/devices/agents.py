"""An agent on a device, seen from the one that asks it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edgekit import errors
from edgekit.agent.wire import (
    CRASHED,
    GREETING,
    MISSING,
    PROTOCOL,
    SILENT,
    Closed,
    Garbled,
    Message,
    Wire,
    packed,
    unpacked,
)
from edgekit.core import ending
from edgekit.core.reading import parse_json
from edgekit.devices.answers import check_answer, check_error
from edgekit.errors import EdgekitError, UnavailableError, UnknownNameError, UsageError
from edgekit.foreign import explained
from edgekit.plugins import to_install
from edgekit.signals import waiting

if TYPE_CHECKING:
    from edgekit.core import Array, Transport

    Answer = tuple[dict[str, Any], list[Array]]

LIMIT_S = 300.0
"""Longest silence of an agent that was asked something, beside the time that it should take."""

WITH_ARRAYS = (("worker", "run"), ("worker", "activations"), ("meter", "end"))
"""Who answers what with arrays; no other answer has some."""

_GREETING_S = 60.0
_GREETING_BYTES = 1 << 16
# The agent notices first that a slot is silent; what is silent longer is the way to it.
_GRACE_S = 15.0
_ENDING_S = 10.0
# For the answer to a question whose asker was interrupted: what takes longer is ended.
_DUE_S = 2.0


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
        how = f"did not answer to '{self.do}' for {self.limit_s:.0f} s"
        if self.code is not None:
            how = f"ended by itself at '{self.do}' ({self.why}){self.last}"
        super().__init__(f"a process of the agent on {where} {how}")

    @property
    def why(self) -> str:
        """Its exit code or signal, in words."""
        return ending(self.code or 0)

    @property
    def last(self) -> str:
        """The last line behind a colon, where there is one."""
        return f": {self.told}" if self.told else ""


class _Talk:
    """Questions and answers on a wire, in turns, whatever interrupts them.

    The answer to a question whose asker was interrupted is passed over, if it comes soon. An
    interrupt in the middle of a message ends the conversation. Threads ask one after the other.
    """

    def __init__(self, channel: socket.socket) -> None:
        self.channel, self.turn = channel, threading.RLock()
        channel.setblocking(False)
        self.wire = Wire(channel.fileno(), channel.fileno())
        self._due = self._cut = self._arrays = False
        self._asked = 0

    @property
    def ready(self) -> bool:
        """Whether a question can be asked at once."""
        return self.channel.fileno() >= 0 and not self._due and not self._cut

    def begin(
        self,
        document: Mapping[str, Any],
        contents: Sequence[Any],
        limit_s: float,
        *,
        arrays: bool = False,
    ) -> Callable[[], Message]:
        """Asks; what is given waits for the answer, which no other question may come before.

        Args:
            arrays: whether the answer may have some.

        Raises:
            Closed: the other end has gone, or a message was cut.
            TimeoutError: there is no answer in time.
        """
        with self.turn:
            if self.channel.fileno() < 0 or self._cut:
                raise Closed
            if self._due:
                self._received(min(limit_s, _DUE_S))
            self._due = self._cut = True
            self._arrays = arrays
            with contextlib.suppress(Closed):  # what became of it shows in the answer
                self.wire.send(document, contents, limit_s)
            self._cut = False
            self._asked += 1
            return partial(self._answer, self._asked, limit_s)

    def _answer(self, number: int, limit_s: float) -> Message:
        with self.turn:
            assert number == self._asked, "another question came before the answer"
            return self._received(limit_s)

    def _received(self, limit_s: float) -> Message:
        self.wire.await_some(limit_s)
        self._cut = True
        message = self.wire.receive(limit_s, arrays=self._arrays)
        self._due = self._cut = False
        return message

    def close(self) -> None:
        """Ends it, whoever else has a copy of the channel."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)
        self.channel.close()


class Agent:
    """A conversation with an agent, which ends with the object.

    Args:
        transport: the way to it.

    Raises:
        EdgekitError: there is no agent; as `edgekit.core.Transport.explain` says.
    """

    def __init__(self, transport: Transport) -> None:
        self.where, self._transport = transport.where, transport
        self._lost: Exception | None = None
        self._direct: list[_Talk] = []
        self._met = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the agent
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as failing:
            failing.callback(ours.close)
            failing.callback(self._stderr.close)
            told = f"{self.where} cannot be reached: "
            with explained(told.__add__, UnavailableError):  # of whatever a plug-in does
                self._process = transport.start(theirs.fileno(), self._stderr)
            failing.pop_all()
        self._talk = _Talk(ours)
        self._owner = os.getpid()
        try:
            self._greeted()
            self._met = True
        except BaseException:
            self.close()
            raise

    def _greeted(self) -> None:
        """Waits until the agent speaks; what comes before is what a shell prints."""
        read = 0
        try:
            self._transport.introduce(self._talk.wire, _GREETING_S)
            end_s = time.monotonic() + _GREETING_S  # what had to be sent took its own time
            while read < _GREETING_BYTES:
                line = self._talk.wire.line(end_s, _GREETING_BYTES)
                read += len(line) + 1
                with contextlib.suppress(ValueError, AttributeError):
                    spoken = parse_json(line).get(GREETING)
                    if spoken is not None:
                        break
            else:
                raise Garbled
        except TimeoutError as error:
            raise UnavailableError(
                f"{self.where} did not answer for {_GREETING_S:.0f} s: see whether it is on, and "
                f"whether its name or address is right"
            ) from error
        except Garbled as error:
            raise UnavailableError(
                f"{self.where} answers with something else than edgekit's agent: expected no "
                f"output of its own from what the login starts there"
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
    ) -> Answer:
        """Sends a command and waits for its answer.

        Args:
            limit_s: longest time that it should take.
            about: what errors name if they do not by themselves.

        Raises:
            EndedError: the slot that was asked has ended.
            UnavailableError: the device is gone or silent, or a package is missing there.
            EdgekitError: of the class that was raised there.
        """
        with self._talk.turn:
            return self.begin(do, arrays, limit_s=limit_s, about=about, **arguments)()

    def begin(
        self,
        do: str,
        arrays: Sequence[Array] = (),
        *,
        limit_s: float = LIMIT_S,
        about: str = "",
        whom: str = "",
        **arguments: Any,
    ) -> Callable[[], Answer]:
        """Sends a command; what is given waits for its answer.

        Nothing else is asked meanwhile. See `ask`.

        Args:
            whom: who answers, of `edgekit.devices.answers.FORMS`; a worker where a slot is asked,
                else the agent.
        """
        kinds, contents = packed(arrays)
        asked = {"do": do, **arguments}
        whom = whom or ("agent" if "slot" not in arguments else "worker")
        with self._losing(do, limit_s):
            finish = self._talk.begin(
                {**asked, **kinds}, contents, limit_s + _GRACE_S, arrays=(whom, do) in WITH_ARRAYS
            )

        def answer() -> Answer:
            with self._losing(do, limit_s):
                document, received = finish()
            return _read(whom, asked, document, received, self.where, about)

        return answer

    @contextlib.contextmanager
    def _losing(self, do: str, limit_s: float) -> Iterator[None]:
        """Says why there is no answer to a command, and ends the conversation then."""
        try:
            yield
        except TimeoutError as error:
            self._lost = UnavailableError(
                f"{self.where} did not answer to '{do}' for {limit_s:.0f} s"
            )
            self.close()
            raise self._lost from error
        except Garbled as error:
            self._lost = UnavailableError(
                f"{self.where} answers to '{do}' with what is no message of edgekit's agent: see "
                f"whether the way to it changes what passes"
            )
            self.close()
            raise self._lost from error
        except Closed as error:
            raise self._gone() from error

    def slot(self, serves: str = "worker") -> Slot:
        """Makes a slot; see `edgekit.agent.supervisor.Supervisor.slot`."""
        answer, _ = self.ask("slot", serves=serves)
        return Slot(self, answer["slot"], answer["pid"], serves=serves)

    def direct_slot(self) -> Slot:
        """Makes a slot of a worker that is asked without the supervisor in between.

        Images then pass once and not twice. It is for agents on this machine, whose channel takes
        the end of another one.
        """
        ours, theirs = socket.socketpair()
        talk = _Talk(ours)
        self._direct.append(talk)
        with theirs, self._talk.turn, waiting():
            self.ask("expect")
            socket.send_fds(self._talk.channel, [b"."], [theirs.fileno()])
            answer, _ = self.ask("slot", serves="worker", direct=True)
        return Slot(self, answer["slot"], answer["pid"], talk=talk)

    def _gone(self) -> Exception:
        """Why there is no agent any more."""
        if self._lost is not None:
            return self._lost
        if self._stderr.closed:
            return UnavailableError(f"the agent on {self.where} was ended")
        self._talk.close()
        try:
            code = self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            code = 0
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4000))
        told = self._stderr.read().decode(errors="replace").strip()
        self.close()
        self._lost = self._transport.explain(code, told)
        return self._lost

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was never started
            self.close()

    def close(self) -> None:
        """Ends the conversation, and the agent with it."""
        process = self._process
        if self._owner != os.getpid():  # a fork, whose parent still talks
            return
        for talk in (self._talk, *self._direct):
            talk.close()
        try:
            process.wait(_ENDING_S if self._met else 0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel
                process.wait(_ENDING_S)
        with contextlib.suppress(OSError):
            self._stderr.close()


class Slot:
    """A slot of an agent, seen from here; see `edgekit.agent.supervisor`.

    Attributes:
        number: of the slot.
        pid: of its process, on the device.
    """

    def __init__(
        self,
        agent: Agent,
        number: int,
        pid: int,
        *,
        serves: str = "worker",
        talk: _Talk | None = None,
    ) -> None:
        self.agent, self.number, self.pid, self._talk = agent, number, pid, talk
        self._serves = serves

    def ask(
        self,
        do: str,
        arrays: Sequence[Array] = (),
        *,
        limit_s: float = LIMIT_S,
        about: str = "",
        **arguments: Any,
    ) -> Answer:
        """Sends a command and waits for its answer; see `Agent.ask`."""
        turn = (self._talk or self.agent._talk).turn
        with turn:
            return self.begin(do, arrays, limit_s=limit_s, about=about, **arguments)()

    def begin(
        self,
        do: str,
        arrays: Sequence[Array] = (),
        *,
        limit_s: float = LIMIT_S,
        about: str = "",
        **arguments: Any,
    ) -> Callable[[], Answer]:
        """Sends a command; what is given waits for its answer; see `Agent.begin`."""
        if self._talk is None:
            return self.agent.begin(
                do,
                arrays,
                limit_s=limit_s,
                about=about,
                whom=self._serves,
                slot=self.number,
                within_s=limit_s,
                **arguments,
            )
        kinds, contents = packed(arrays)
        asked = {"do": do, **arguments}
        with self._ending(do, limit_s):
            finish = self._talk.begin(
                {**asked, **kinds}, contents, limit_s, arrays=(self._serves, do) in WITH_ARRAYS
            )

        def answer() -> Answer:
            with self._ending(do, limit_s):
                document, received = finish()
            return _read(self._serves, asked, document, received, self.agent.where, about)

        return answer

    @contextlib.contextmanager
    def _ending(self, do: str, limit_s: float) -> Iterator[None]:
        """Says what became of a process that is asked without the supervisor in between."""
        assert self._talk is not None
        try:
            yield
        except TimeoutError as error:
            self.end()
            raise EndedError({"do": do, "within_s": limit_s}, self.agent.where) from error
        except Closed as error:
            self._talk.close()
            fate, _ = self.agent.ask("fate", of=self.number)
            raise EndedError({"do": do, **fate}, self.agent.where) from error

    @property
    def ready(self) -> bool:
        """Whether it can be asked at once: no answer is due of one that was interrupted."""
        return self._talk is None or self._talk.ready

    def end(self) -> None:
        """Ends its process."""
        if self._talk is not None:
            self._talk.close()
        if self.agent.usable:
            with contextlib.suppress(UnavailableError):  # the device is gone, and the slot with it
                self.agent.ask("end", of=self.number)


def _read(
    whom: str,
    asked: Mapping[str, Any],
    answer: dict[str, Any],
    received: Sequence[bytearray],
    where: str,
    about: str,
) -> Answer:
    """An answer with its arrays; see `Agent.begin` for the rest.

    Raises:
        UnavailableError: it is none of edgekit's agent.
    """
    try:
        check(answer, where, about)
        arrays = unpacked(answer, received)
        check_answer(whom, asked, answer, arrays)
    except (LookupError, TypeError, ValueError) as error:
        raise UnavailableError(
            f"{where} answers to '{asked['do']}' with what is no message of edgekit's agent: see "
            f"whether it has another version of it"
        ) from error
    return answer, arrays


def check(answer: Mapping[str, Any], where: str, about: str = "") -> None:
    """Raises what an answer says has failed.

    Args:
        where: the device, for people.
        about: what errors name if they do not by themselves.

    Raises:
        EdgekitError: see `Agent.ask`.
        ValueError: it tells of no error of an agent.
    """
    if "error" not in answer:
        return
    check_error(answer)
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
    if not (isinstance(kind, type) and issubclass(kind, EdgekitError)):
        kind = EdgekitError
    if kind is UnknownNameError:  # its message is composed already
        kind = UsageError
    found: EdgekitError = kind(message)
    return found
