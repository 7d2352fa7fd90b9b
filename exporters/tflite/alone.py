"""Foreign programs on a file, each in a process of its own, bounded in time and memory, silent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import InputError, UnavailableError

LIMIT_S = 300.0

MOST_BYTES = 4 * 2**30
"""Of memory, mapped files included. EfficientNet-B7 at 96 px takes less than 1 GiB, in Vela and in
TensorFlow Lite Micro (2026-11-30)."""


def run_alone(
    path: Path, runtime: str, module: str, arguments: Sequence[str], limit_s: float = LIMIT_S
) -> tuple[int, str, str]:
    """Runs a module of Python on a file.

    Args:
        path: of the file, for messages.
        runtime: what works on it, for people.
        arguments: of the module.
        limit_s: after which it is ended.

    Returns:
        Exit status, and what it printed on both streams.

    Raises:
        InputError: it crashed, or did not come to an end.
        UnavailableError: it cannot be started.
    """
    places = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own words, and a path
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": places},
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the one that asks, which ends this one
        )
    except OSError as error:
        raise UnavailableError(f"{runtime} cannot be started: {error.strerror}") from error
    with process:
        _bound(process.pid)
        try:
            printed, chatter = process.communicate(timeout=limit_s)
        except BaseException as error:
            process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise InputError(
                    f"{path} cannot be used by {runtime}: it did not come to an end in "
                    f"{limit_s:g} s"
                ) from error
            raise
    if process.returncode < 0:
        why = signal.Signals(-process.returncode).name
        raise InputError(f"{path} crashes {runtime} ({why}); it is damaged, or not made for it")
    return process.returncode, printed, chatter


def _bound(process: int) -> None:
    """Bounds the memory of a process, where the system can."""
    try:
        from resource import RLIMIT_AS, prlimit
    except ImportError:  # not Linux
        return
    with contextlib.suppress(ProcessLookupError, ValueError):  # it has ended, or has less
        prlimit(process, RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
