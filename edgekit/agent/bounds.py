"""How much memory and processor time a runtime may take for a file, and what tells of it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core import ending, reason_with_layer
from edgekit.core.reasons import PASSING, chain, text_of
from edgekit.errors import EdgekitError, InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEMORY_VARIABLE = "EDGEKIT_RUNTIME_MIB"
TIME_VARIABLE = "EDGEKIT_RUNTIME_SECONDS"

# MobileNetV3-Small in fp32 at 224 px, a file of 9.7 MiB, takes 13 (ONNX Runtime), 17 (LiteRT) and
# 61 MiB (OpenVINO), and 0.03 to 0.23 s, until its first inference is done.
_BASE_MIB, _PER_MIB, _BATCH_MIB = 448.0, 12.0, 256.0
_BASE_S, _PER_MIB_S, _BATCH_S = 3.0, 2.0, 2.0
# Of each core: the stacks of two threads.
_CORE_MIB = 16.0


@dataclass(frozen=True)
class Allowed:
    """What a runtime may take until its first inference is done.

    Attributes:
        mib: of memory, beside what the process has already.
        seconds: of processor time, of all its threads together.
    """

    mib: float
    seconds: float


def allowed_for(files: Iterable[Path], batch: int = 1) -> Allowed:
    """The bounds for a file: in proportion to its size, or what the environment says.

    Raises:
        UsageError: a variable of the environment is no positive number.
    """
    size = sum(file.stat().st_size for file in files if file.is_file()) / 2**20
    more = batch - 1
    return Allowed(
        _given(MEMORY_VARIABLE, _BASE_MIB + _PER_MIB * size + _BATCH_MIB * more),
        _given(TIME_VARIABLE, _BASE_S + _PER_MIB_S * size + _BATCH_S * more),
    )


def _given(variable: str, usual: float) -> float:
    text = os.environ.get(variable)
    if not text:
        return usual
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise UsageError(f"{variable} is '{text}': expected a positive number")
    return value


def apply(allowed: Allowed) -> None:
    """Holds this process to the bounds, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):  # a lower bound holds already
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        cores = _CORE_MIB * (os.cpu_count() or 1)
        most = _data_bytes() + int((allowed.mib + cores) * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime + allowed.seconds) + 1
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def lift_processor_time() -> None:
    """Lets this process compute for as long as it is asked to."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def _data_bytes() -> int:
    """Memory that this process has taken for data, as RLIMIT_DATA counts it; 0 if nobody tells."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    return 0


def _left_bytes() -> float:
    """Memory that this process may still take, by its bounds."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_DATA)
        return float("inf") if most == resource.RLIM_INFINITY else most - _data_bytes()
    return float("inf")


FAULTS = tuple(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGBUS")
    if hasattr(signal, name)
)
"""Signals that faults of a program raise."""

# What runtimes say when they get no memory, in small letters.
_NO_MEMORY = (
    "bad_alloc", "bad allocation", "out of memory", "allocate memory", "failed to allocate",
    "std::length",
)  # fmt: skip


@contextlib.contextmanager
def explained(path: str | Path, runtime: str, allowed: Allowed | None) -> Iterator[None]:
    """Turns whatever a runtime raises on a file into one sentence that names the file.

    Args:
        allowed: the bounds that this process is held to; ``None`` where it is not.

    Raises:
        InputError: the runtime cannot run it, or gets no memory, whatever that became on its way.
        EdgekitError: as it was raised, where memory is not the cause.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise
    except PASSING:
        raise
    except BaseException as error:
        own = isinstance(error, EdgekitError)
        said = f"{path} cannot be run by {runtime}: {reason_with_layer(error)}"
        text = told = str(error) if own else said
        if allowed is not None:
            text = _with_memory(text, error, path, _memory(runtime, allowed))
        if own and text == told:
            raise
        raise InputError(text) from error


def _with_memory(text: str, error: BaseException, path: str | Path, memory: str) -> str:
    """What to say of an error where memory is its cause, or may be; else what is said of it."""
    foreign = [e for e in chain(error) if not isinstance(e, EdgekitError)]  # ours repeat others
    if any(_lacks_memory(e, path) for e in foreign):
        return f"{path} needs too much memory for its size: {memory}"
    if foreign and not any(map(text_of, foreign)):  # as LiteRT, where one of its kernels gets none
        return f"{text}; perhaps it needs too much memory for its size: {memory}"
    return text


def _lacks_memory(error: BaseException, path: str | Path) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = text_of(error).replace(str(path), "").lower()
    if "resource temporarily unavailable" in text:  # no thread could be started
        return _left_bytes() < _CORE_MIB * 2**20
    return any(sign in text for sign in _NO_MEMORY)


def exit_code(status: int) -> int:
    """The exit code that the status of `os.waitpid` tells of; of a signal, its number less 0."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def how_it_ended(code: int, runtime: str, allowed: Allowed) -> str:
    """Why a process ended whose file ran in it, to follow the name of the file.

    Args:
        code: its status, as `exit_code` gives it.
    """
    if code == -signal.SIGXCPU:
        return (
            f"takes too long for its size: {runtime} may compute {allowed.seconds:.0f} s until its "
            f"first inference is done; allow more with {TIME_VARIABLE}"
        )
    text = (
        f"crashed {runtime} ({ending(code)}): it is damaged, or nothing that this runtime can run"
    )
    if code in (-signal.SIGKILL, -signal.SIGABRT):
        text += f"; or it needs too much memory: {_memory(runtime, allowed)}"
    return text


def _memory(runtime: str, allowed: Allowed) -> str:
    return f"{runtime} may take {allowed.mib:,.0f} MiB for it; allow more with {MEMORY_VARIABLE}"


def crashed_on_its_file(code: int) -> bool:
    """Whether a process ended in a way that a file makes a runtime end."""
    return -code in (*FAULTS, signal.SIGXCPU)


def die_with(parent: int) -> None:
    """Asks Linux to end this process when the one that started it ends, however it does.

    Args:
        parent: its number, which is 1 where edgekit is all that runs in a container.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was too late
            os._exit(1)


_PR_SET_PDEATHSIG = 1  # prctl(2)
