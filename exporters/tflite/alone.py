"""Foreign programs on a file, each in a process of its own: with a time limit, and kept silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import InputError, UnavailableError

LIMIT_S = 300.0


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
        done = subprocess.run(  # noqa: S603 - our own words, and a path
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": places},
            timeout=limit_s,
            check=False,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the one that asks, which ends this one
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{path} cannot be used by {runtime}: it did not come to an end in {limit_s:.0f} s"
        ) from error
    except OSError as error:
        raise UnavailableError(f"{runtime} cannot be started: {error.strerror}") from error
    if done.returncode < 0:
        why = signal.Signals(-done.returncode).name
        raise InputError(f"{path} crashes {runtime} ({why}); it is damaged, or not made for it")
    return done.returncode, done.stdout, done.stderr
