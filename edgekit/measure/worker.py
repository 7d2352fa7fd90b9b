"""The process that measures: ``python -m edgekit.measure.worker``.

It has one subject, does what it is asked, one JSON document per line, and answers in kind. While
it waits it computes nothing, so that several can take turns. It needs NumPy and the runtime of
its subject, nothing else. What runtimes print goes to standard error.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edgekit.core import to_json
from edgekit.errors import EdgekitError
from edgekit.measure.subjects import Subject, flush_denormals, open_subject, reference

# An artifact that is loaded anew should lie elsewhere in memory: this much is set aside before.
_LARGEST_GAP_BYTES = 4_000_000


class Worker:
    """A subject, and the commands on it."""

    def __init__(self) -> None:
        self.flushed = flush_denormals()
        self.reference = reference()
        self.rng = np.random.default_rng()  # places in memory should differ between processes
        self.gaps: list[Any] = []
        self.run: Callable[[], object] | None = None

    def open(self, subject: dict[str, Any]) -> dict[str, Any]:
        """Loads the subject for the first time, and says what that took."""
        self.subject = open_subject(Subject(**subject))
        forget_peak()
        idle = resident_mib()
        begin = time.perf_counter()
        run = self.run = self.subject.load()
        loaded = time.perf_counter()
        run()
        first = time.perf_counter()
        size = getattr(self.subject, "size", lambda: (None, None))()
        return {
            "load_ms": 1e3 * (loaded - begin),
            "first_ms": 1e3 * (first - loaded),
            "idle_rss_mib": idle,
            "runtime": self.subject.runtime,
            "tools": dict(self.subject.tools),
            "input": self.subject.input,
            "size_bytes": size[0],
            "sha256": size[1],
            "denormals_flushed": self.flushed,
            "timer_overhead_ns": timer_overhead_ns(),
            "clock_s": time.monotonic(),
        }

    def reload(self) -> dict[str, Any]:
        """Loads the subject anew, elsewhere in memory."""
        self.run = None
        gc.collect()
        gap = np.empty(int(self.rng.integers(1, _LARGEST_GAP_BYTES)), np.uint8)
        self.gaps = [*self.gaps[-3:], gap]
        begin = time.perf_counter()
        self.run = self.subject.load()
        self.run()
        return {"load_ms": 1e3 * (time.perf_counter() - begin)}

    def block(self, runs: int, reference: int) -> dict[str, Any]:
        """Runs the subject, then the reference network."""
        assert self.run is not None
        before = involuntary_switches()
        begin = time.monotonic()
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
        while now - begin < seconds:
            self.run()
            inferences += 1
            now = time.monotonic()
        return {"begin_s": begin, "end_s": now, "inferences": inferences}

    def operators(self, runs: int) -> dict[str, Any]:
        """Times the operators, by the runtime's profiler."""
        return {"operators": to_json(self.subject.operators(runs))}

    def memory(self) -> dict[str, Any]:
        """Most memory so far."""
        return {"peak_rss_mib": peak_resident_mib()}


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
    """Answers requests until there are no more."""
    worker: Worker | None = None
    for line in requests:
        request = json.loads(line)
        command = request.pop("do")
        try:
            worker = worker or Worker()
            answer = getattr(worker, command)(**request)
        except EdgekitError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        except MemoryError:
            answer = {"error": "UnavailableError", "message": "there is not enough memory"}
        except Exception as error:  # whatever a runtime or the user's network raises
            text = next(iter(str(error).strip().splitlines()), "")
            answer = {"error": "InputError", "message": f"{type(error).__name__}: {text}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serves on standard input and output, which nobody else gets to write to."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    gc.disable()
    serve(sys.stdin, answers)
    # Runtimes that crash while they are torn down have done their work.
    answers.close()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
