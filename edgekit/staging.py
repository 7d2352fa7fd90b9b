"""Files appear under their names only when they are complete, and replace nothing unasked."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from edgekit.errors import OutputError
from edgekit.locks import in_turn
from edgekit.signals import cleaning, waiting

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
    with _empty_ones_removed(folder):
        _prepare(folder)
        yield


@contextmanager
def _empty_ones_removed(folder: Path) -> Iterator[None]:
    """A block that may make a folder, which does not stay where nothing was put into it."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]

    def remove() -> None:
        for path in missing:  # the innermost first; one that holds something stays
            with suppress(OSError):
                path.rmdir()

    with cleaning(remove):
        yield


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
def _hidden(folder: Path) -> Iterator[Path]:
    made: list[Path] = []

    def remove() -> None:
        for path in made:
            shutil.rmtree(path, ignore_errors=True)

    with cleaning(remove):
        with waiting():
            made.append(hidden_folder(folder))
        yield made[0]


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the results, gone at the end whatever happens."""
    with _hidden(folder) as staged:
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


def without_staging(text: str) -> str:
    """A message with the names that files were to get, in place of those of `staging`."""
    return re.sub(rf"{re.escape(_PREFIX)}\w+{re.escape(os.sep)}", "", text)


def publish(staged: Path, finals: Sequence[Path], *, overwrite: bool) -> None:
    """Gives finished files their names, in order: all of them or none.

    Of two processes that publish the same names at once, without ``overwrite`` the second one is
    refused, and with it all files are those of one of them.

    Args:
        staged: the folder of `staging`, where they have the same names.
        finals: in one folder.

    Raises:
        OutputError: one exists and may not be replaced.
    """
    (folder,) = {final.parent for final in finals}
    with in_turn(folder / f"{_PREFIX}publishing.lock"), waiting():
        if overwrite:
            for final in finals:
                os.replace(staged / final.name, final)
            return
        given: list[Path] = []
        try:
            for final in finals:
                _name(staged / final.name, final)
                given.append(final)
        except OSError as error:
            for final in given:
                final.unlink(missing_ok=True)
            if not isinstance(error, FileExistsError):
                raise
            raise OutputError(
                f"{finals[len(given)]} exists already, another process has written it: give "
                f"--overwrite to replace it"
            ) from error


def publish_folder(staged: Path, final: Path) -> None:
    """Gives a finished folder its name, in place of a folder that has it.

    Args:
        staged: inside the folder of `staging`, to which a folder that was there moves.
    """
    with waiting():
        if os.path.lexists(final):
            os.replace(final, staged.with_name(f"{staged.name}.before"))
        os.replace(staged, final)


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


def _name(staged: Path, final: Path) -> None:
    """Gives a file its name, which nothing may have yet, in one step."""
    try:
        os.link(staged, final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # FAT and some network file systems have no links: an empty file takes the name first.
        os.close(os.open(final, os.O_CREAT | os.O_EXCL))
        os.replace(staged, final)


def write_file(path: Path, write: Callable[[Path], object], *, overwrite: bool) -> None:
    """Writes a file of the user's, which is complete when it appears; makes its folder.

    Args:
        write: told where.

    Raises:
        OutputError: it cannot be written, or exists and may not be replaced.
    """
    with named_failures(path), _empty_ones_removed(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _hidden(path.parent) as staged:
            write(staged / path.name)
            publish(staged, [path], overwrite=overwrite)


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file of edgekit's own, which is whole at every moment, after a power cut as well.

    Args:
        write: is given the open file.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with named_failures(path), cleaning(lambda: temporary.unlink(missing_ok=True)):
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextmanager
def named_failures(path: Path) -> Iterator[None]:
    """Turns failures to write into an error that names the path.

    Raises:
        OutputError: disk full, no permission, no such place.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save hides the reason behind a RuntimeError of its own.
        reason = error if isinstance(error, OSError) else error.__context__
        if not isinstance(reason, OSError):
            raise
        raise OutputError(
            f"cannot write {path}: {reason.strerror or reason}; make space there, or name another "
            f"place"
        ) from error
