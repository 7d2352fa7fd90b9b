"""A device that several computers use, perhaps as several of its users: one at a time measures.

A claim is a file with a lock, which ends with the agent that holds it, however that ends; and an
agent ends when the one that asks is gone, or asks nothing for long. The files lie where all users
of the device can make some and nobody can take away those of others. What stands in one is for
people, and is not believed beyond that: whoever has a login there can keep others from measuring.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.agent.store import store_folder
from edgekit.core import printable
from edgekit.core.reading import parse_json
from edgekit.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER_VARIABLE = "EDGEKIT_CLAIMS"
"""Names another folder, the same for all users of the device."""

# For whom a folder is chosen must not matter: TMPDIR is often one's own.
_SHARED = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 - files of unguessable names, O_EXCL
_PREFIX, _SUFFIX = "edgekit-", ".claim"
_MOST_BYTES = 4096

# Two that come at the same moment see each other and both step back.
_TRIES, _PAUSE_S = 4, 0.1


def claims_folder() -> Path:
    """Where claims are noted: where everybody may make files, and delete none but their own.

    Without such a folder, claims of other users of the device are not seen.

    Raises:
        UnavailableError: there is no folder at all.
    """
    named = Path(os.environ.get(FOLDER_VARIABLE, ""))
    if named.is_absolute():
        return named
    for folder in _SHARED:
        with contextlib.suppress(OSError):
            mode = folder.stat().st_mode
            if stat.S_ISDIR(mode) and mode & stat.S_ISVTX and mode & 0o003 == 0o003:
                return folder
    return store_folder().parent / "claims"


class Claim:
    """Keeps others from measuring on this device, as long as it is not closed.

    Args:
        folder: of all claims.
        token: of the one that measures; several agents of it may.
        owner: who that is, for people.
        alone: whether it measures. What only runs files goes together with others that do, and
            with none that measures.

    Raises:
        UnavailableError: somebody else measures, or runs files where this one would measure; says
            who, and since when. Or the claim cannot be noted there.
    """

    def __init__(self, folder: Path, token: str, owner: str, *, alone: bool = True) -> None:
        self.alone = alone
        self._path: Path | None = None
        self._file = -1
        # Times of this clock are the same for all processes, and it does not jump.
        since = {"since_s": time.monotonic(), "alone": alone}
        text = json.dumps({"token": token, "owner": owner[:200], **since}).encode()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for _ in range(_TRIES):
                self._announce(folder, text)
                other = next(_others(folder, token, alone), None)
                if other is None:
                    return
                self.close()
                time.sleep(_PAUSE_S * secrets.randbelow(1000) / 1000)
        except OSError as error:
            self.close()
            raise UnavailableError(
                f"it cannot be noted on the device that it is in use: {folder}: {error.strerror}; "
                f"make room there, or let it be written to"
            ) from error
        raise UnavailableError(f"{other}: wait until that is done")

    @property
    def lock(self) -> int:
        """Descriptor of its lock, which ends only with all copies of that."""
        return self._file

    def _announce(self, folder: Path, text: bytes) -> None:
        """Makes the file, which bears its name only once it is locked: nobody takes it for left."""
        name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}{_SUFFIX}"
        hidden = folder / f".{name}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._file = os.open(str(hidden), flags, 0o600)
        self._path = hidden
        os.fchmod(self._file, 0o644)
        if os.write(self._file, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(folder / name)
        self._path = folder / name

    def close(self) -> None:
        """Lets others measure."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._path = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _others(folder: Path, token: str, alone: bool) -> Iterator[str]:
    """Who else uses the device so that this claim does not go together with it, in words."""
    for about in _held(folder):
        measures = about.get("alone") is not False
        if about.get("token") != token and (alone or measures):
            begun, now_s = about.get("since_s"), time.monotonic()
            begun_s = begun if isinstance(begun, (int, float)) and 0 <= begun <= now_s else now_s
            minutes = round((now_s - begun_s) / 60)
            yield (
                f"{printable(str(about.get('owner', 'somebody'))[:200])} "
                f"{'measures' if measures else 'runs files'} there since "
                f"{minutes} minute{'' if minutes == 1 else 's'}"
            )


def _held(folder: Path) -> Iterator[dict[str, object]]:
    """What stands in claims that somebody holds; those that nobody does are deleted.

    A claim is looked at through the lock that many can have, so that those who look do not take
    each other for its owner.
    """
    for path in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
        try:
            file = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # it has just ended, or is no claim
            continue
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                continue
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            yield _about(file)
        else:
            with contextlib.suppress(OSError):  # somebody else's
                path.unlink()
        finally:
            os.close(file)


def _about(file: int) -> dict[str, object]:
    with contextlib.suppress(OSError, ValueError):
        found = parse_json(os.read(file, _MOST_BYTES).decode("utf-8"))
        if isinstance(found, dict):
            return found
    return {}
