"""A device that several computers measure on: one at a time.

A claim is a file with a lock, which ends with the agent that holds it, however that ends; and an
agent ends when the one that asks is gone, or asks nothing for long.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core import printable
from edgekit.core.reading import parse_json, read_text
from edgekit.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_GATE_S = 10.0
_MOST_BYTES = 4096


class Claim:
    """Keeps others from measuring on this device, as long as it is not closed.

    Args:
        folder: of all claims.
        token: of the one that measures; several agents of it may measure.
        owner: who that is, for people.

    Raises:
        UnavailableError: somebody else measures; says who, and since when. Or it cannot be noted
            there that somebody does.
    """

    def __init__(self, folder: Path, token: str, owner: str) -> None:
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(8)}.claim"
        self._file = -1
        text = json.dumps({"token": token, "owner": owner[:200], "since_s": time.time()}).encode()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _gate(folder / "gate"):
                _refuse_others(folder, token)
                self._file = os.open(str(self._path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.write(self._file, text) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.close()
            raise UnavailableError(
                f"it cannot be noted on the device that it measures: {folder}: {error.strerror}; "
                f"make room there, or let it be written to"
            ) from error

    def close(self) -> None:
        """Lets others measure."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._file)
            self._file = -1


def _refuse_others(folder: Path, token: str) -> None:
    """Raises what `Claim` does where somebody else measures."""
    for path, file in _held(folder):
        about = _about(path)
        os.close(file)
        if about.get("token") != token:
            begun = about.get("since_s")
            begun_s = begun if isinstance(begun, (int, float)) else time.time()
            since_s = max(0.0, time.time() - begun_s)
            raise UnavailableError(
                f"{printable(str(about.get('owner', 'somebody')))} measures there since "
                f"{since_s / 60:.0f} minutes: wait until that is done"
            )


def _held(folder: Path) -> Iterator[tuple[Path, int]]:
    """Claims that somebody holds, open; those that nobody does are deleted."""
    for path in sorted(folder.glob("*.claim")):
        try:
            file = os.open(str(path), os.O_RDWR)
        except OSError:  # it has just ended
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield path, file
        else:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(file)


def _about(path: Path) -> dict[str, object]:
    with contextlib.suppress(OSError, ValueError):
        found = parse_json(read_text(path, _MOST_BYTES))
        if isinstance(found, dict):
            return found
    return {}


@contextlib.contextmanager
def _gate(path: Path) -> Iterator[None]:
    """Lets one agent look and claim at a time.

    Raises:
        UnavailableError: another one does not come to its end.
    """
    file = os.open(str(path), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        end_s = time.monotonic() + _GATE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > end_s:
                    raise UnavailableError(
                        f"another agent holds {path} and does not let go: restart the device"
                    ) from error
                time.sleep(0.02)
        yield
    finally:
        os.close(file)
