"""A slot of an agent with one file or network at a time: loads it, times it, runs it.

While it waits it computes nothing, so that several can take turns. What runtimes print goes to the
file of their slot.

How fast a network runs depends by some percent on the pages of memory that it got, and those stay
with a process even when the network is loaded anew. So on Linux the slot's process only imports the
runtime, and forks for each loading: a network is measured in many processes, for the price of one.
Elsewhere forking is not safe, and the network is loaded anew in the one process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Dict

import numpy as np

from edgekit.agent import bounds
from edgekit.agent.files import load_object
from edgekit.agent.parts import Parts
from edgekit.agent.reference import flush_denormals, reference
from edgekit.agent.wire import MISSING, Closed, Wire, packed, unpacked
from edgekit.core import to_json, with_kind
from edgekit.core.reasons import PASSING
from edgekit.errors import EdgekitError, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.core import Array, Runner

# An artifact that is loaded anew should lie elsewhere in memory: this much is set aside before.
_LARGEST_GAP_BYTES = 4_000_000

FORKS = sys.platform == "linux"

Subject = Dict[str, Any]
"""What is loaded: ``loader``, the ``module:attribute`` of a class, and its ``arguments``.

An object of it has what `edgekit.agent.files.File` has: ``load``, ``prepare``, ``runtime``,
``tools``, ``input`` and ``inputs``; ``forks``, ``bounds``, ``explained``, ``size``, ``state``,
``operators``, ``activations`` and ``peak_gpu_mib`` where there is something to say.
"""


def made(subject: Subject) -> Any:
    """The object of a subject, with what it needs imported; loads nothing yet."""
    return load_object(subject["loader"])(**subject["arguments"])


class Worker:
    """A subject, and the commands on it."""

    def __init__(self) -> None:
        self.subject: Any = None
        self.rng = np.random.default_rng()  # places in memory should differ between loads
        self.gaps: list[Any] = []
        self.run_once: Callable[[], object] | None = None
        self.runner: Runner | None = None
        self.reference: Callable[[], object] | None = None
        self.parts: Parts | None = None

    def open(self, subject: Subject, cores: Sequence[int]) -> dict[str, Any]:
        """Loads a subject for the first time to time it, and says what that took.

        Args:
            cores: on which to run; none for wherever the system likes.
        """
        flushed = self._begin(cores)
        self.subject = made(subject)
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
            "denormals_flushed": flushed,
            "timer_overhead_ns": timer_overhead_ns(),
        }

    def reload(self, subject: Subject, cores: Sequence[int]) -> dict[str, Any]:
        """Loads a subject anew, elsewhere in memory, and on other cores."""
        self.run_once = None
        gc.collect()
        self._begin(cores)
        gap = np.empty(int(self.rng.integers(1, _LARGEST_GAP_BYTES)), np.uint8)
        self.gaps = [*self.gaps[-3:], gap]
        self.subject = made(subject)
        return self._load()

    def _begin(self, cores: Sequence[int]) -> bool:
        """Makes this process one that only measures; gives whether denormals are flushed."""
        place(cores)
        flushed = flush_denormals()
        if self.reference is None:
            self.reference = reference()
            self.reference()  # the memory that it takes is not that of the subject
        return flushed

    def _load(self) -> dict[str, Any]:
        """Times loading and the first inference; making an input is in neither."""
        state = self.state()
        with self._bounded():
            begin = time.perf_counter()
            loaded = self.subject.load()
            load_ms = 1e3 * (time.perf_counter() - begin)
            self.run_once = self.subject.prepare(loaded)
            first_ms = timed(self.run_once, 1)[0]
        bounds.lift_processor_time()
        return {"load_ms": load_ms, "first_ms": first_ms, "pid": os.getpid(), **state}

    @contextlib.contextmanager
    def _bounded(self) -> Any:
        """Holds a file, which may be anybody's, to its bounds while the block loads it."""
        allowed = getattr(self.subject, "bounds", None)
        if allowed is not None and FORKS:
            bounds.apply(allowed)
        with self._explained():
            yield

    def _explained(self) -> ContextManager[None]:
        return _explained(self.subject)

    def tensors(self, subject: Subject) -> dict[str, Any]:
        """Loads a file to run it, and says what goes in and out: records of `TensorSpec`."""
        self.subject = made(subject)
        with self._bounded():
            self.runner = self.subject.load()
            inputs, outputs = self.runner.tensors()
        self.first = True
        return {"inputs": to_json(inputs), "outputs": to_json(outputs), "pid": os.getpid()}

    def run(self, arrays: list[Array]) -> tuple[dict[str, Any], list[Array]]:
        """One inference of what ``tensors`` has loaded."""
        assert self.runner is not None
        with self._explained():
            found = self.runner.run(arrays)
        if self.first:  # later runs do what this one did
            bounds.lift_processor_time()
        self.first = False
        return {}, list(found)

    def activations(
        self, subject: Subject, arrays: list[Array]
    ) -> tuple[dict[str, Any], list[Array]]:
        """What flows between the layers of a file: ``names``, and an array each."""
        self.subject = made(subject)
        with self._bounded():
            found = self.subject.activations(arrays)
        return {"names": [name for name, _ in found]}, [value for _, value in found]

    def part(self, subject: Subject, beside: Subject, between: int, whole: bool) -> dict[str, Any]:
        """Times a file against one that stays loaded; see `edgekit.agent.parts.Parts`."""
        self.subject = made(subject)
        if self.parts is None:
            other = made(beside)
            with _explained(other):
                self.parts = Parts(other, between)
        with self._explained():
            own_ms, reference_ms = self.parts.time(self.subject, whole=whole)
        return {"own_ms": own_ms, "reference_ms": reference_ms, "pid": os.getpid()}

    def renamed(self, text: str) -> str:
        """A message in which files are called as the one that asks calls them."""
        found: str = getattr(self.subject, "renamed", str)(text)
        return found

    def state(self) -> dict[str, Any]:
        """What changes when a file does that is measured."""
        return {"state": getattr(self.subject, "state", lambda: None)()}

    def block(self, runs: int, reference: int) -> dict[str, Any]:
        """Runs the subject, then the reference network."""
        assert self.run_once is not None
        assert self.reference is not None
        before = involuntary_switches()
        begin = time.monotonic()
        with self._explained():
            samples = timed(self.run_once, runs)
        return {
            "begin_s": begin,
            "samples_ms": samples,
            "reference_ms": timed(self.reference, reference),
            "involuntary_switches": involuntary_switches() - before,
        }

    def burst(self, seconds: float) -> dict[str, Any]:
        """Runs the subject without a pause, for meters that are read at the same time."""
        assert self.run_once is not None
        begin = time.monotonic()
        inferences, now = 0, begin
        with self._explained():
            while now - begin < seconds:
                self.run_once()
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


_COMMANDS = (
    "open", "reload", "tensors", "run", "activations", "part", "state", "block", "burst",
    "operators", "memory",
)  # fmt: skip
_TAKE_ARRAYS = ("run", "activations")
_LOAD = ("reload", "tensors", "activations")
"""Commands that each have a process of their own, where one can be forked."""


def _explained(subject: Any) -> ContextManager[None]:
    """Turns what the runtime of a file raises into a sentence that names the file."""
    found = getattr(subject, "explained", None)
    told: ContextManager[None]
    told = contextlib.nullcontext() if found is None else found(bounded=FORKS)
    return told


def place(cores: Sequence[int]) -> None:
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
    return [(after - before) / 1e6 for before, after in zip(ticks, ticks[1:])]


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


def serve(wire: Wire) -> None:
    """Imports what the first request asks for; answers all others in forks, where possible.

    Raises:
        Closed: nobody asks any more.
    """
    gc.disable()
    imported = None
    while imported is None:
        request, _ = wire.receive()
        imported = _answering(wire, partial(made, request["subject"]))
    wire.send({})
    forks = FORKS and getattr(imported, "forks", True)  # CUDA works in no fork
    if not forks:
        _serve_loaded(Worker(), wire, wire.receive(), forks=False)
    message: Any | None = wire.receive()
    while message is not None:
        message = _fork(wire, message)


def _fork(wire: Wire, message: Any) -> Any:
    """Lets a child answer a request and those that follow; gives the one that needs another."""
    out, into = os.pipe()
    own = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(out)
        code = 0
        try:
            bounds.die_with(own)
            document, contents = _serve_loaded(Worker(), wire, message, forks=True)
            Wire(out, into).send(document, contents)
        except Closed:
            pass
        except BaseException:
            code = 1
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(code)
    os.close(into)
    left: Any = None
    try:
        with contextlib.suppress(Closed):
            left = Wire(out, into).receive()
    finally:
        os.close(out)
    code = bounds.exit_code(os.waitpid(child, 0)[1])
    if code < 0:  # this process ends as its child did
        os.kill(os.getpid(), -code)
    if code != 0:
        os._exit(code)
    return left


def _serve_loaded(worker: Worker, wire: Wire, message: Any, *, forks: bool) -> Any:
    """Answers requests until one needs a new process: that one.

    Raises:
        Closed: nobody asks any more.
    """
    while True:
        request, contents = message
        do = request.pop("do")
        assert do in _COMMANDS, do
        if do in _TAKE_ARRAYS:
            request["arrays"] = unpacked(request, contents)
        answer = _answering(wire, partial(_sent, getattr(worker, do), request), worker.renamed)
        if answer is not None:
            wire.send(*answer)
        message = wire.receive()
        if forks and message[0].get("do") in _LOAD:
            return message


def _sent(
    command: Callable[..., Any], arguments: dict[str, Any]
) -> tuple[dict[str, Any], list[Any]]:
    """What a command gives, as a message."""
    found = command(**arguments)
    if isinstance(found, dict):
        return found, []
    document, arrays = found
    about, contents = packed(arrays)
    return {**document, **about}, contents


def _answering(wire: Wire, compute: Callable[[], Any], renamed: Callable[[str], str] = str) -> Any:
    """What a computation gives; if it fails, the answer is why, and there is nothing to give.

    Args:
        renamed: makes messages call files as the one that asks does.
    """
    try:
        return compute()
    except EdgekitError as error:
        wire.send({"error": name_of(error), "message": renamed(str(error))})
    except ModuleNotFoundError as error:
        wire.send({"error": MISSING, "package": str(error.name), "message": str(error)})
    except MemoryError:
        wire.send({"error": "UnavailableError", "message": "there is not enough memory"})
    except PASSING:
        raise
    except BaseException as error:  # whatever a runtime or the user's network raises
        wire.send({"error": "InputError", "message": renamed(told(error))})
    return None


def told(error: BaseException) -> str:
    """An error of a runtime or of the user's network: its class, cause, and place."""
    frames = traceback.extract_tb(error.__traceback__)
    own = Path(__file__).parent
    inner = [f for f in frames if own not in Path(f.filename).parents]
    where = f" ({inner[-1].filename}:{inner[-1].lineno})" if inner else ""
    return f"{with_kind(error)}{where}"
