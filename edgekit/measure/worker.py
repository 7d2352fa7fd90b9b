"""The process that measures: ``python -m edgekit.measure.worker``.

It has one subject at a time, does what it is asked, one JSON document per line, and answers in
kind. While it waits it computes nothing, so that several can take turns. It needs NumPy and the
runtime of its subject, nothing else. What runtimes print goes to standard error.

How fast a network runs depends by some percent on the pages of memory that it got, and those stay
with a process even when the network is loaded anew. So on Linux the process only imports the
runtime, and forks for each loading: a network is measured in many processes, for the price of one.
Elsewhere forking is not safe, and the network is loaded anew in the one process.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

from edgekit.core import to_json, with_kind
from edgekit.core.reasons import PASSING
from edgekit.errors import EdgekitError, name_of
from edgekit.isolation import bounds
from edgekit.measure.subjects import Subject, flush_denormals, open_subject, reference

Answer = TypeVar("Answer")

# An artifact that is loaded anew should lie elsewhere in memory: this much is set aside before.
_LARGEST_GAP_BYTES = 4_000_000


FORKS = sys.platform == "linux"


class Worker:
    """A subject, and the commands on it."""

    def __init__(self) -> None:
        self.flushed = flush_denormals()
        self.reference = reference()
        self.reference()  # the memory that it takes is not that of the subject
        self.rng = np.random.default_rng()  # places in memory should differ between loads
        self.gaps: list[Any] = []
        self.run: Callable[[], object] | None = None

    def open(self, subject: dict[str, Any], cores: list[int]) -> dict[str, Any]:
        """Loads a subject for the first time, and says what that took.

        Args:
            cores: on which to run; none for wherever the system likes.
        """
        place(cores)
        self.subject = open_subject(Subject(**subject))
        size = getattr(self.subject, "size", lambda: (None, None))()
        forget_peak()
        idle = resident_mib()
        return {
            **self._load(),
            "idle_rss_mib": idle,
            "runtime": self.subject.runtime,
            "tools": dict(self.subject.tools),
            "input": self.subject.input,
            "inputs": list(self.subject.inputs),
            "size_bytes": size[0],
            "sha256": size[1],
            "denormals_flushed": self.flushed,
            "timer_overhead_ns": timer_overhead_ns(),
        }

    def reload(self, subject: dict[str, Any], cores: list[int]) -> dict[str, Any]:
        """Loads a subject anew, elsewhere in memory, and on other cores."""
        self.run = None
        gc.collect()
        place(cores)
        gap = np.empty(int(self.rng.integers(1, _LARGEST_GAP_BYTES)), np.uint8)
        self.gaps = [*self.gaps[-3:], gap]
        self.subject = open_subject(Subject(**subject))
        return self._load()

    def _load(self) -> dict[str, Any]:
        """Times loading and the first inference; making an input is in neither."""
        state = self.state()
        allowed = getattr(self.subject, "bounds", lambda: None)()
        if allowed is not None and FORKS:  # an artifact, which may be anybody's
            bounds.apply(allowed)
        with self._explained():
            begin = time.perf_counter()
            loaded = self.subject.load()
            load_ms = 1e3 * (time.perf_counter() - begin)
            self.run = self.subject.prepare(loaded)
            first_ms = timed(self.run, 1)[0]
        bounds.lift_processor_time()
        return {
            "load_ms": load_ms,
            "first_ms": first_ms,
            "pid": os.getpid(),
            **state,
        }

    def _explained(self) -> AbstractContextManager[None]:
        """Turns what the runtime of a file raises into a sentence that names the file."""
        found: Callable[[], AbstractContextManager[None]]
        found = getattr(self.subject, "explained", contextlib.nullcontext)
        return found()

    def state(self) -> dict[str, Any]:
        """What changes when a file does that is measured."""
        return {"state": getattr(self.subject, "state", lambda: None)()}

    def block(self, runs: int, reference: int) -> dict[str, Any]:
        """Runs the subject, then the reference network."""
        assert self.run is not None
        before = involuntary_switches()
        begin = time.monotonic()
        with self._explained():
            samples = timed(self.run, runs)
        return {
            "begin_s": begin,
            "samples_ms": samples,
            "reference_ms": timed(self.reference, reference),
            "involuntary_switches": involuntary_switches() - before,
        }

    def burst(self, seconds: float) -> dict[str, Any]:
        """Runs the subject without a pause, for meters that are read at the same time."""
        assert self.run is not None
        begin = time.monotonic()
        inferences, now = 0, begin
        with self._explained():
            while now - begin < seconds:
                self.run()
                inferences += 1
                now = time.monotonic()
        return {"begin_s": begin, "end_s": now, "inferences": inferences}

    def operators(self, runs: int) -> dict[str, Any]:
        """Times the operators, by the runtime's profiler."""
        with self._explained():
            return {"operators": to_json(self.subject.operators(runs))}

    def memory(self) -> dict[str, Any]:
        """Most memory so far."""
        gpu_mib = getattr(self.subject, "peak_gpu_mib", lambda: None)()
        return {"peak_rss_mib": peak_resident_mib(), "peak_gpu_mib": gpu_mib}


def place(cores: list[int]) -> None:
    """Keeps all threads of this process on some cores; those that they start stay there too."""
    for thread in os.listdir("/proc/self/task") if cores else []:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread), cores)


def timed(run: Callable[[], object], runs: int) -> list[float]:
    """Milliseconds of each of some runs."""
    clock = time.perf_counter_ns
    ticks = [clock()]
    for _ in range(runs):
        run()
        ticks.append(clock())
    return [(after - before) / 1e6 for before, after in itertools.pairwise(ticks)]


def timer_overhead_ns() -> float:
    """What a sample holds beside the run."""
    return 1e6 * float(np.median(timed(lambda: None, 1000)))


def resident_mib() -> float | None:
    """Memory of this process that is in use; ``None`` where the system does not tell."""
    return _status_mib("VmRSS")


def peak_resident_mib() -> float | None:
    """Most memory that this process had in use."""
    return _status_mib("VmHWM")


def forget_peak() -> None:
    """Makes the peak start again at what is in use now (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status_mib(key: str) -> float | None:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) / 1024
    except OSError:
        return None
    return None


def involuntary_switches() -> int:
    """How often another process took the processor from this one."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def serve(requests: TextIO, answers: TextIO) -> None:
    """Imports what the first request asks for; answers all others in forks, where possible."""
    imported = None
    while imported is None:
        line = requests.readline()
        if not line:
            return
        subject = Subject(**json.loads(line)["subject"])
        imported = _answering(answers, partial(open_subject, subject))
    _send(answers, {})
    line = requests.readline()
    forks = FORKS and subject.processor == "cpu"  # CUDA works in no fork
    while line:
        if forks:
            line = _fork(line, requests, answers)
        else:
            line = _serve_loaded(Worker(), line, requests, answers, forks=False)


def _fork(line: str, requests: TextIO, answers: TextIO) -> str:
    """Lets a child answer a request and those that follow; gives the one that needs another."""
    out, into = os.pipe()
    own = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(out)
        bounds.die_with(own)
        left = _serve_loaded(Worker(), line, requests, answers, forks=True)
        os.write(into, left.encode())
        os._exit(0)
    os.close(into)
    with open(out, encoding="utf-8") as file:
        left = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:  # this process ends as its child did
        os.kill(os.getpid(), -code)
    if code != 0:
        os._exit(code)
    return left


def _serve_loaded(
    worker: Worker, line: str, requests: TextIO, answers: TextIO, *, forks: bool
) -> str:
    """Answers requests until there are no more, or one needs a new process: that one, or ''."""
    while line:
        request = json.loads(line)
        command = getattr(worker, request.pop("do"))
        answer: dict[str, Any] | None = _answering(answers, partial(command, **request))
        if answer is not None:
            _send(answers, answer)
        line = requests.readline()
        if forks and line and json.loads(line)["do"] == "reload":
            return line
    return ""


def _answering(answers: TextIO, compute: Callable[[], Answer]) -> Answer | None:
    """What a computation gives; if it fails, the answer is why, and there is nothing to give."""
    try:
        return compute()
    except EdgekitError as error:
        _send(answers, {"error": name_of(error), "message": str(error)})
    except MemoryError:
        _send(answers, {"error": "UnavailableError", "message": "there is not enough memory"})
    except PASSING:
        raise
    except BaseException as error:  # whatever a runtime or the user's network raises
        _send(answers, {"error": "InputError", "message": told(error)})
    return None


def _send(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def told(error: BaseException) -> str:
    """An error of a runtime or of the user's network: its class, cause, and place."""
    frames = traceback.extract_tb(error.__traceback__)
    own = Path(__file__).parent
    inner = [f for f in frames if own not in Path(f.filename).parents]
    where = f" ({inner[-1].filename}:{inner[-1].lineno})" if inner else ""
    return f"{with_kind(error)}{where}"


def main() -> None:
    """Serves on standard input and output, which nobody else gets to write to."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    bounds.die_with(int(sys.argv[1]))
    gc.disable()
    serve(sys.stdin, answers)
    # Runtimes that crash while they are torn down have done their work.
    answers.close()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
