"""Standard output and error that cannot be written: full disks, readers that have gone."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

import click

from edgekit.cli import console
from edgekit.errors import OutputError


def _failure(stream: TextIO) -> OSError | None:
    """Why a stream cannot take what still waits in it."""
    try:
        stream.flush()
    except OSError as error:
        return error
    return None


def discard(stream: TextIO) -> None:
    """Sends all that a stream still holds, and will be given, nowhere."""
    with suppress(OSError, ValueError):  # it has no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def finished(code: int) -> int:
    """Writes what is left of the output; gives the exit code, of which an error's own stays."""
    failure = _failure(sys.stdout)
    if failure is not None:
        discard(sys.stdout)
        if code == 0 and failure.errno != errno.EPIPE:
            text = f"cannot write to standard output: {failure.strerror or failure}"
            code = console.fail(text, OutputError.__name__, OutputError.exit_code)
    if _failure(sys.stderr) is not None:
        discard(sys.stderr)
    return code


def of_output(error: OSError) -> bool:
    """Whether standard output could not be written, by click itself: help and versions are its."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code is click.echo.__code__


def broken_pipe(error: BaseException | None) -> bool:
    """Whether an exception, or one that it was raised in the handling of, is a broken pipe."""
    if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):  # click has seen one
        return True
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            return True
        error = error.__context__
    return False
