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
from edgekit.signals import waiting

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
    descriptor = _opened(path, alone)
    try:
        yield
    finally:
        with waiting():
            with suppress(OSError):  # its folder may be gone
                path.unlink()
            os.close(descriptor)


def _opened(path: Path, alone: str | None) -> int:
    """Opens a lock file and locks it; where the file system knows no locks, there is none.

    Args:
        alone: what is refused beside another process; ``None`` for what waits.
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
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if alone else 0))
        except BlockingIOError as error:
            os.close(descriptor)
            raise UsageError(
                f"another {alone} is at work in {path.parent}: wait for it, or give another "
                f"folder with -o"
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                return descriptor
            os.close(descriptor)
            raise
        except BaseException:
            os.close(descriptor)
            raise
        # Whoever held the lock may have removed what was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)
