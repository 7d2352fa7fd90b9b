"""Files on a device that were sent there, found again by what is in them.

An artifact is a folder with the names that its files have; the folder is called by the digest of
all of them. What was sent in part is kept, so that a transfer that was cut goes on. The store takes
so much of the disk and no more: what was not used for longest goes first, but for what an agent
uses, which holds a lock that ends with it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.names import problem_on_device, shown
from edgekit.core.reading import open_file
from edgekit.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_BYTES = 2 << 30
_PART = ".part"
_LOCK = ".lock"
# What file systems tell apart: two seconds at worst.
_STEP_NS = 2 * 10**9
_HEX = frozenset("0123456789abcdef")


def store_folder() -> Path:
    """Where files are kept: below the user's cache folder, else among temporary files.

    Raises:
        UnavailableError: neither can be written to, or the last one belongs to somebody else.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    tries = [cache] if cache.is_absolute() else []
    home = os.path.expanduser("~")  # noqa: PTH111 - which says so where there is no home
    if home != "~":
        tries.append(Path(home, ".cache"))
    shared = Path(tempfile.gettempdir(), f"edgekit-{os.geteuid()}")
    tries.append(shared)
    why = ""
    for folder in tries:
        found = folder / "edgekit" / "files"
        try:
            if folder == shared:  # where anybody may have made it
                _make_own(folder)
            found.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(found, os.W_OK | os.X_OK):
                return found
            why = f"{found} cannot be written to"
        except OSError as error:
            why = f"{found}: {error.strerror}"
    raise UnavailableError(f"there is no folder for files on the device: {why}")


def _make_own(folder: Path) -> None:
    """Makes a folder.

    Raises:
        OSError: it is there, and others may write to it.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
        raise OSError(errno.EPERM, "others may write to it")


class Store:
    """The files of a device.

    Args:
        folder: see `store_folder`.
        most_bytes: that it may take of the disk.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most = folder, most_bytes
        self._locks: dict[str, int] = {}
        self._whole: set[tuple[str, str]] = set()
        self._newest_ns = 0

    @property
    def locks(self) -> set[int]:
        """Descriptors of its locks, which end only with all copies of those."""
        return set(self._locks.values())

    def place(self, key: str, files: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Makes room for files, in a folder of their own, which stay until they are released.

        Args:
            key: SHA-256 of the list of files.
            files: of each, name, size in bytes, and SHA-256.

        Returns:
            ``paths``, and ``have``, how many bytes of each are there.

        Raises:
            UnavailableError: the disk is full, or cannot be written to.
            UsageError: a name that is none of a file.
        """
        _check_key(key)
        for name, size, digest in files:
            _check_key(digest)
            problem = problem_on_device(name)
            if problem is not None:
                raise UsageError(
                    f"'{shown(name)}' cannot be the name of a file on the device: {problem}; "
                    f"rename the file"
                )
            if size < 0:
                raise UsageError(f"'{shown(name)}' cannot have {size} bytes")
        folder = self._folder / key
        self._lock(key)
        paths = [folder / name for name, _, _ in files]
        needed = 0
        try:
            have = [
                self._have(key, path, size, digest) for path, (_, size, digest) in zip(paths, files)
            ]
            needed = sum(size for _, size, _ in files) - sum(have)
            if needed > 0:
                self._make_room(needed)
            self._note_use(folder)
        except OSError as error:
            raise self._no_room(error, needed) from error
        return {"paths": [str(path) for path in paths], "have": have}

    def put(
        self, key: str, name: str, size: int, digest: str, offset: int, content: bytes
    ) -> dict[str, Any]:
        """Adds to a file behind what is there of it; one that is whole is checked.

        Returns:
            ``have``, how many bytes are there: 0 where the whole was not what was announced.

        Raises:
            UnavailableError: the disk is full.
        """
        assert key in self._locks
        path = self._folder / key / name
        part = path.with_name(path.name + _PART)
        try:
            with open(part, "r+b" if part.exists() else "w+b") as file:
                file.seek(0, os.SEEK_END)
                if file.tell() != offset:
                    return {"have": file.tell()}
                file.write(content)
                if offset + len(content) < size:
                    return {"have": offset + len(content)}
                file.flush()
                os.fsync(file.fileno())  # else a device that loses its power keeps a name alone
            if _digest(part) != digest:
                part.unlink()
                return {"have": 0}
            os.replace(part, path)
        except OSError as error:
            raise self._no_room(error, size - offset) from error
        self._whole.add((key, name))
        return {"have": size}

    def release(self, key: str) -> None:
        """Lets files be deleted where there is need of room; a later `place` keeps them again."""
        number = self._locks.pop(key, None)
        if number is not None:
            os.close(number)
        self._whole = {each for each in self._whole if each[0] != key}

    def _note_use(self, folder: Path) -> None:
        """Makes a folder the one that was used last, however the device's clock has jumped."""
        if not self._newest_ns:
            self._newest_ns = int(1e9 * max(map(_used_s, self._folders()), default=0.0))
        self._newest_ns = max(time.time_ns(), self._newest_ns + _STEP_NS)
        os.utime(str(folder), ns=(self._newest_ns, self._newest_ns))

    def _have(self, key: str, path: Path, size: int, digest: str) -> int:
        """How many bytes of a file are there; all of them only where they are the right ones."""
        part = path.with_name(path.name + _PART)
        if path.is_file() and path.stat().st_size == size:
            if (key, path.name) in self._whole:
                return size
            if _digest(path) == digest:
                self._whole.add((key, path.name))
                return size
        if part.is_file() and part.stat().st_size < size:
            return part.stat().st_size
        if part.exists():
            part.unlink()
        if path.exists():
            path.unlink()
        return 0

    def _lock(self, key: str) -> None:
        """Keeps others from deleting a folder."""
        if key in self._locks:
            return
        folder = self._folder / key
        try:
            for _ in range(10):
                folder.mkdir(mode=0o700, exist_ok=True)
                try:
                    number = os.open(str(folder / _LOCK), os.O_RDWR | os.O_CREAT, 0o600)
                except FileNotFoundError:  # it was deleted between the two
                    continue
                fcntl.flock(number, fcntl.LOCK_SH)
                try:
                    if os.path.samestat((folder / _LOCK).stat(), os.fstat(number)):
                        self._locks[key] = number
                        return
                except FileNotFoundError:
                    pass
                os.close(number)
        except OSError as error:
            raise self._no_room(error, 0) from error
        raise UnavailableError(f"{folder} is deleted again and again: expected it to stay")

    def _make_room(self, needed: int) -> None:
        """Deletes what was not used for longest, until the store keeps its bound and fits.

        Raises:
            UnavailableError: the disk is full all the same.
        """
        sizes = {folder: _bytes(folder) for folder in self._folders()}
        total, free = sum(sizes.values()), shutil.disk_usage(str(self._folder)).free
        for folder in sorted(sizes, key=_used_s):
            if total + needed <= self._most and needed < free:
                return
            if folder.name not in self._locks and self._delete(folder):
                total, free = total - sizes[folder], free + sizes[folder]
        if needed >= free:
            raise self._no_room(OSError(errno.ENOSPC, ""), needed)

    def _delete(self, folder: Path) -> bool:
        """Deletes a folder that nobody uses; gives whether it has."""
        try:
            number = os.open(str(folder / _LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # an agent uses it
            return False
        else:
            shutil.rmtree(str(folder), ignore_errors=True)
            return True
        finally:
            os.close(number)

    def _folders(self) -> Iterator[Path]:
        for folder in self._folder.iterdir():
            if len(folder.name) == 64 and folder.is_dir():
                yield folder

    def _no_room(self, error: OSError, needed: int) -> UnavailableError:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return UnavailableError(
                f"files cannot be written on the device: {self._folder}: {error.strerror}"
            )
        free = shutil.disk_usage(str(self._folder)).free
        return UnavailableError(
            f"the disk of the device is full: {self._folder} has {free // 2**20:,} MiB left and "
            f"{-(-needed // 2**20):,} MiB are needed; make room there"
        )

    def close(self) -> None:
        """Lets others delete what this object has placed."""
        for number in self._locks.values():
            os.close(number)
        self._locks = {}
        self._whole = set()


def _check_key(key: str) -> None:
    if len(key) != 64 or not set(key) <= _HEX:
        raise UsageError("a digest of files has 64 hexadecimal digits")


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    with open_file(path) as stream:
        while True:
            block = stream.read(1 << 20)
            if not block:
                return total.hexdigest()
            total.update(block)


def _bytes(folder: Path) -> int:
    total = 0
    try:
        for each in folder.iterdir():
            try:
                total += each.stat().st_size
            except OSError:  # it has just been renamed or deleted
                continue
    except OSError:  # another agent has just deleted it
        pass
    return total


def _used_s(folder: Path) -> float:
    """When a folder was last used; long ago where another agent has just deleted it."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
