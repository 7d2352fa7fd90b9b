"""Files appear under their names only when they are complete, and replace nothing unasked."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.errors import OutputError

# Native code that runs out of disk raises errors of its own; with less than this left, that is why.
LOW_DISK_BYTES = 1 << 20

WRITING_FAILED = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS}
)
"""Codes of an `OSError` that are about the place of the results."""


_PREFIX = ".edgekit-"


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """A folder for results, made where missing; gone again where nothing was put into it.

    Raises:
        OutputError: it cannot be made, is a file, or is read-only.
    """
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        _prepare(folder)
        yield
    finally:
        for path in made:  # the innermost first; one that holds something stays
            with suppress(OSError):
                path.rmdir()


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{folder} is no folder: expected one for the results (-o)") from error
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror}; name another folder with -o"
        ) from error


def refuse_existing(paths: Sequence[Path], overwrite: bool) -> None:
    """Protects earlier results.

    Raises:
        OutputError: a file exists and may not be replaced.
    """
    for path in paths:
        if path.is_dir():
            raise OutputError(f"{path} is a folder: expected a place for a file; move it away")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already: give --overwrite to replace it")


def check_space(folder: Path, size: int) -> None:
    """Refuses to start where the results cannot fit.

    Converters that run out of disk end the whole process from native code.

    Args:
        size: bytes that will be written.

    Raises:
        OutputError: less is free.
    """
    needed = size + LOW_DISK_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"cannot write to {folder}: No space left on device for the conversion "
            f"({free / 2**20:,.1f} MiB free, {needed / 2**20:,.1f} MiB needed)"
        )


def hidden_folder(folder: Path) -> Path:
    """Makes a folder of a new name, which `without_staging` takes out of messages."""
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the results, gone at the end whatever happens."""
    staged = hidden_folder(folder)
    try:
        yield staged
    except Exception as error:
        free = shutil.disk_usage(folder).free
        failed = isinstance(error, OSError) and error.errno in WRITING_FAILED
        if failed or free < LOW_DISK_BYTES:
            reason = error.strerror if isinstance(error, OSError) else "the disk is full"
            raise OutputError(
                f"cannot write to {folder}: {reason or error} ({free / 2**20:,.0f} MiB free); "
                f"nothing was kept"
            ) from error
        raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def without_staging(text: str) -> str:
    """A message with the names that files were to get, in place of those of `staging`."""
    return re.sub(rf"{re.escape(_PREFIX)}\w+{re.escape(os.sep)}", "", text)


def publish(staged: Path, finals: Sequence[Path]) -> None:
    """Gives finished files their names, in order.

    Args:
        staged: the folder of `staging`, where they have the same names.
    """
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # all of them or none
    try:
        for final in finals:
            os.replace(staged / final.name, final)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
