"""Measurements on one device that know of each other."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from pathlib import Path


class Presence:
    """Lets the measurements that run on a machine at the same time know of each other.

    Each holds a lock on a file of its own, which ends with its process, however it ends. The files
    lie in a folder that nobody else can write to: whoever could would make measurements see each
    other that are not there, or delete files through links.

    Attributes:
        why_not: why it can neither tell nor be told; ``None`` where it can.
        met: whether others were seen so far.
    """

    def __init__(self, folder: Path) -> None:
        self.met = False
        self.why_not: str | None = None
        self._name = f"{os.getpid()}-{secrets.token_hex(8)}.lock"
        self._folder: int | None = None
        self._file: int | None = None
        try:
            self._folder = _own_folder(folder)
            self._file = self._announce(self._folder)
        except OSError as error:  # measuring goes on all the same
            self.close()
            self.why_not = f"{folder}: {error.strerror}"

    def others(self) -> int:
        """How many other measurements are running; remembers that there were some."""
        running = 0
        with contextlib.suppress(OSError):  # the folder was deleted meanwhile
            for name in os.listdir(self._folder) if self._folder is not None else ():
                if name.endswith(".lock") and name != self._name:
                    running += self._runs(name)
        self.met |= running > 0
        return running

    def close(self) -> None:
        """Ends the presence."""
        if self._folder is not None and self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
        for descriptor in (self._file, self._folder):
            if descriptor is not None:
                os.close(descriptor)
        self._folder = self._file = None

    def _announce(self, folder: int) -> int:
        """Makes the file, which bears its name only once it is locked: nobody takes it for left."""
        hidden = f".{self._name}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.open(hidden, flags, 0o600, dir_fd=folder)
        try:
            _lock(file)
            os.rename(hidden, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(hidden, dir_fd=folder)
            raise
        return file

    def _runs(self, name: str) -> bool:
        """Whether the measurement of a file is running; deletes the file of one that was killed."""
        try:
            file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)
        except OSError:  # it has just ended
            return False
        try:
            _lock(file)
            there = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            if os.path.samestat(there, os.fstat(file)):
                os.unlink(name, dir_fd=self._folder)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(file)
        return False


def _own_folder(folder: Path) -> int:
    """Opens a folder of this user's, which is made if it is not there.

    Raises:
        OSError: it cannot be made, is a link, belongs to somebody else or others may write to it;
            or the system has no such locks, as Windows.
    """
    if not hasattr(os, "O_NOFOLLOW") or not hasattr(os, "geteuid"):
        raise OSError(errno.ENOSYS, "this system has no locks that end with their process")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        os.close(descriptor)
        raise OSError(errno.EPERM, "others may write to this folder")
    return descriptor


def _lock(file: int) -> None:
    """Locks an open file without waiting.

    Raises:
        BlockingIOError: somebody else holds the lock.
        OSError: there are no locks here.
    """
    import fcntl  # not on Windows, where `_own_folder` has refused already

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def shared_folder() -> Path:
    """Where all measurements of this user look for one another."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    return Path(tempfile.gettempdir(), f"edgekit-measuring-{user}")
