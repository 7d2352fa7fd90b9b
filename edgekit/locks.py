"""One writer at a time: files that a process holds while it writes, gone when it is done.

The lock is the kernel's (flock), so that one whose process was killed holds nobody up.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.errors import OutputError, UsageError
from edgekit.signals import cleaning, waiting

RUN_LOCK = ".edgekit.lock"
"""In a folder that belongs to one training, search or demo at a time."""


@contextmanager
def one_writer(folder: Path, what: str) -> Iterator[None]:
    """A folder, written by this process alone.

    Args:
        what: is at work there, as "training".

    Raises:
        UsageError: another process is at work there.
        OutputError: the folder takes no files.
    """
    with _held(folder / RUN_LOCK, what):
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """A block that only one process at a time is in; the others wait.

    Args:
        path: of the lock file.

    Raises:
        OutputError: its folder takes no files.
    """
    with _held(path, None):
        yield


@contextmanager
def _held(path: Path, alone: str | None) -> Iterator[None]:
    held: list[int] = []

    def leave() -> None:
        if held:
            with suppress(OSError):  # its folder may be gone
                path.unlink()
            os.close(held.pop())

    with cleaning(leave):
        while not held:
            with waiting():
                held += _opened(path)
            if not held and alone:
                raise UsageError(
                    f"another {alone} is at work in {path.parent}: wait for it, or give another "
                    f"folder with -o"
                )
            if not held:
                _wait_for(path)
        yield


def _opened(path: Path) -> list[int]:
    """Opens a lock file and locks it; where the file system knows no locks, there is none.

    Returns:
        Nothing where another process holds it.
    """
    import fcntl  # POSIX only: commands that write nothing need none

    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputError(
                f"cannot write to {path.parent}: {error.strerror}; name another folder with -o"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return []
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return [descriptor]
            os.close(descriptor)
            raise
        # Whoever held the lock may have removed what was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return [descriptor]
        os.close(descriptor)


_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def _wait_for(path: Path) -> None:
    """Until the process that holds a lock lets it go."""
    import fcntl

    with suppress(FileNotFoundError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
