"""A measuring process, seen from the one that asks."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.contract import is_artifact, target_by_suffix
from edgekit.errors import EdgekitError, InputError, UnavailableError
from edgekit.isolation.bounds import allowed_for, crashed_on_its_file, how_it_ended
from edgekit.isolation.frames import named_error
from edgekit.measure.subjects import Subject

# Longest silence of a process that was asked something, beside the time that it should take.
TIME_LIMIT_S = 300.0
# A process that was killed ends within this, unless it hangs in the kernel.
_ENDING_S = 10.0


class Process:
    """Starts a worker for a subject, and asks it.

    Crashes, hangs and errors in the process become errors that name the subject.
    """

    def __init__(self, subject: Subject, time_limit_s: float = TIME_LIMIT_S) -> None:
        self.subject, self._limit = subject, time_limit_s
        # For the reference network; the runtimes have thread pools of their own.
        single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - our own module, in words of its own
            [sys.executable, "-P", "-m", "edgekit.measure.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **single, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the process that decides what is kept
        )
        self._pending = b""
        self._loaded: int | None = None

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """Numbers of the process and of the one that has the subject loaded."""
        return [self.pid] if self._loaded in (None, self.pid) else [self.pid, self._loaded]

    def begin(self) -> None:
        """Makes the process import what the subject needs, and does not wait for it."""
        self._send("import", subject=asdict(self.subject))

    def ready(self) -> None:
        """Waits for what `begin` began.

        Raises:
            EdgekitError: as `ask`.
        """
        self._answer("import", self._limit)

    def open(self, cores: Sequence[int] = ()) -> dict[str, Any]:
        """Loads the subject, once the process is ready.

        Returns:
            What opening it told; see `edgekit.measure.worker.Worker.open`.
        """
        return self.ask("open", subject=asdict(self.subject), cores=cores)

    def reload(
        self, subject: Subject, cores: Sequence[int] = (), expected_s: float = 0.0
    ) -> dict[str, Any]:
        """Loads a subject anew, or another one that needs the same imports."""
        self.subject = subject
        return self.ask("reload", expected_s, subject=asdict(subject), cores=cores)

    def ask(self, do: str, expected_s: float = 0.0, **arguments: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer.

        Args:
            expected_s: time that the command should take.

        Raises:
            EdgekitError: of the class that the worker raised.
            UnavailableError: the process crashed, or did not answer in time.
        """
        self._send(do, **arguments)
        return self._answer(do, self._limit + 3 * expected_s)

    def close(self) -> None:
        """Ends the process."""
        process = self._process
        if process.poll() is None:
            self._kill()
        try:
            process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:  # it waits for a device, and ends when that answers
            return
        for stream in (process.stdin, process.stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _send(self, do: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what became of it shows in the answer
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._process.stdin.flush()

    def _answer(self, do: str, limit_s: float) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._line(do, limit_s))
        if "error" in answer:
            message, called = answer["message"], self.subject.called
            raise named_error(
                answer["error"], message if called in message else f"{called}: {message}"
            )
        self._loaded = answer.get("pid", self._loaded)
        return answer

    def _kill(self) -> None:
        """Ends the process and those that it started, such as a compiler."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def _line(self, do: str, limit_s: float) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(deadline - time.monotonic()):
                    self.close()
                    raise UnavailableError(
                        f"{self.subject.called}: no answer to '{do}' for {limit_s:.0f} s, so its "
                        f"process was ended; give it more with --time-limit"
                    )
                received = os.read(stdout.fileno(), 1 << 20)
                if not received:
                    raise self._crash(do)
                self._pending += received
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _crash(self, do: str) -> EdgekitError:
        code = self._process.wait()
        if is_artifact(self.subject.source) and crashed_on_its_file(code):
            path = Path(self.subject.source)
            target = target_by_suffix(path)
            assert target is not None
            allowed = allowed_for(target.files(path), self.subject.images)
            return InputError(f"{path} {how_it_ended(code, target.runtime, allowed)}")
        self._stderr.seek(0)
        lines = self._stderr.read()[-4000:].decode(errors="replace").strip().splitlines()
        why = f"exit status {code}"
        if code < 0:
            why = signal.Signals(-code).name
            why += (
                ", perhaps for want of memory" if code in (-signal.SIGKILL, -signal.SIGABRT) else ""
            )
        last = f": {lines[-1].strip()}" if lines else ""
        return UnavailableError(
            f"{self.subject.called}: its runtime crashed at '{do}' ({why}){last}"
        )
