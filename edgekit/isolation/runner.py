"""A file in its runtime, in a fork of this process.

A runtime is C++ that trusts its file: one that is damaged or hostile ends the process, takes all
memory, or never comes back. So it runs in a fork of this process, which costs a few milliseconds;
what crosses over is plain arrays. Where there is no safe fork (Windows, macOS), it runs here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from edgekit import plugins, registry
from edgekit.core import TensorSpec, from_json, to_json
from edgekit.errors import EdgekitError, InputError, UnavailableError
from edgekit.isolation import bounds
from edgekit.isolation.frames import Closed, error_document, named_error, receive, send

if TYPE_CHECKING:
    from edgekit.core import Array, Inspectable, Runner, Target

FORKS = sys.platform == "linux"

_Answer = TypeVar("_Answer")

_SILENCE_S = 600.0
"""Longest wait for an answer: what computes is bounded by its processor time, this is for what
waits for something that never comes."""


def open_isolated(
    target: Target, path: Path, threads: int | None, *, batch: int | None = None
) -> Runner:
    """A file in its runtime, in a process of its own where that is possible.

    Raises:
        InputError: the runtime cannot load or run it, crashes on it, or takes more than its bounds.
        UnavailableError: the runtime is not installed, or does not answer.
    """
    if not FORKS:
        with bounds.explained(path, target.runtime, None):
            return target.open(path, threads, batch=batch)
    return cast("Runner", IsolatedRunner(target, path, threads, batch))


def activations_isolated(
    target: Target, path: Path, inputs: Sequence[Array]
) -> list[tuple[str, Array]]:
    """What `edgekit.core.Inspectable.activations` gives, from a process of its own."""

    def compute() -> list[tuple[str, Array]]:
        return list(cast("Inspectable", target).activations(path, inputs))

    if not FORKS:
        with bounds.explained(path, target.runtime, None):
            return compute()

    def serve(answers: socket.socket) -> None:
        found = compute()
        send(answers, {"names": [name for name, _ in found]}, [value for _, value in found])

    def asked() -> list[tuple[str, Array]]:
        child = _Child(target, path, 1, serve)
        try:
            answer, arrays = child.answer()
            return list(zip(answer["names"], arrays, strict=True))
        finally:
            child.close()

    return _twice(asked, asked)


class _CrashError(InputError):
    """A runtime ended its process by a signal that faults of a program raise."""


def _twice(attempt: Callable[[], _Answer], again: Callable[[], _Answer]) -> _Answer:
    """What an attempt gives, or where it crashes what another one does.

    A file that crashes its runtime does so each time. Once in thousands of forks a runtime crashes
    by itself, on what it finds of the threads that its parent has: that says nothing of the file.
    """
    try:
        return attempt()
    except _CrashError:
        return again()


class IsolatedRunner:
    """A runner in a process of its own; see `edgekit.core.Runner`."""

    def __init__(self, target: Target, path: Path, threads: int | None, batch: int | None) -> None:
        def serve(requests: socket.socket) -> None:
            runner = target.open(path, threads, batch=batch)
            inputs, outputs = runner.tensors()
            send(requests, {"inputs": to_json(inputs), "outputs": to_json(outputs)})
            first = True
            while True:
                try:
                    _, arrays = receive(requests)
                except Closed:
                    return
                found = runner.run(arrays)
                if first:  # later runs do what this one did
                    bounds.lift_processor_time()
                first = False
                send(requests, {}, found)

        def opened() -> dict[str, Any]:
            self._child = _Child(target, path, batch or 1, serve)
            return self._child.answer()[0]

        self._open = opened
        answer = _twice(opened, opened)
        self._tensors = tuple(
            tuple(from_json(TensorSpec, spec) for spec in answer[key])
            for key in ("inputs", "outputs")
        )
        self._found: list[Array] = []

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference."""

        def anew() -> list[Array]:
            self._open()
            return self._child.ask(inputs)

        self._found = _twice(lambda: self._child.ask(inputs), anew)
        return self._found

    def prepare(self, inputs: Sequence[Array]) -> Callable[[], object]:
        """Each call sends the inputs and waits for the outputs."""
        return lambda: self.run(inputs)

    def outputs(self) -> list[Array]:
        """The outputs of the last run."""
        return list(self._found)

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs of the file."""
        return self._tensors[0], self._tensors[1]


class _Child:
    """A fork that serves on a socket, and ends with the object.

    Args:
        serve: what it does; what that raises is the answer.
    """

    def __init__(
        self, target: Target, path: Path, batch: int, serve: Callable[[socket.socket], None]
    ) -> None:
        self._path, self._runtime = path, target.runtime
        self._allowed = bounds.allowed_for(target.files(path), batch)
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else what waits in them is written twice
        self._number = os.fork()
        if self._number == 0:
            ours.close()
            _serve(target, path, self._allowed, parent, theirs, serve)
        theirs.close()
        ours.settimeout(_SILENCE_S)
        self._socket = ours
        self._end = weakref.finalize(self, _end, self._number, ours)

    def ask(self, inputs: Sequence[Array]) -> list[Array]:
        """Sends arrays and waits for those that come back."""
        with contextlib.suppress(OSError):  # what became of it shows in the answer
            send(self._socket, {}, inputs)
        return self.answer()[1]

    def answer(self) -> tuple[dict[str, Any], list[Array]]:
        """Waits for what the process says.

        Raises:
            EdgekitError: of the class that was raised there.
            InputError: the process ended.
            UnavailableError: it is silent.
        """
        try:
            answer, arrays = receive(self._socket)
        except TimeoutError as error:
            self.close()
            raise UnavailableError(
                f"{self._path}: {self._runtime} did not answer for {_SILENCE_S:.0f} s"
            ) from error
        except (Closed, OSError) as error:
            status = os.waitpid(self._number, 0)[1]
            self._end.detach()
            self._socket.close()
            code = os.waitstatus_to_exitcode(status)
            kind = _CrashError if -code in bounds.FAULTS else InputError
            raise kind(
                f"{self._path} {bounds.how_it_ended(code, self._runtime, self._allowed)}"
            ) from error
        if "error" in answer:
            raise named_error(answer["error"], answer["message"])
        return answer, arrays

    def close(self) -> None:
        """Ends the process."""
        self._end()


def _end(number: int, ours: socket.socket) -> None:
    ours.close()
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)


def _serve(
    target: Target,
    path: Path,
    allowed: bounds.Allowed,
    parent: int,
    answers: socket.socket,
    serve: Callable[[socket.socket], None],
) -> None:
    """What the fork does, which never returns."""
    code = 1
    try:
        bounds.die_with(parent)
        faulthandler.disable()  # a crash is told by the one that asks
        for number in (signal.SIGINT, signal.SIGHUP):  # they are for the one that asks
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            with plugins.needed_packages(f"target {target.name}"):
                registry.start(target)  # its time and memory are not those of a file
                bounds.apply(allowed)
                with bounds.explained(path, target.runtime, allowed):
                    serve(answers)
        except EdgekitError as error:
            send(answers, error_document(error))
        code = 0
    except BaseException:  # noqa: S110 - the one that asks sees the status
        pass
    finally:
        os._exit(code)
