"""Files that somebody else wrote: a regular file of a bounded size, and JSON of a bounded depth.

Every part that reads such a file opens it here. Pipes and devices never end, or wait for ever; a
file of 40 GB takes no disk where it is sparse, and all memory when it is read.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import zlib
from io import BufferedReader
from pathlib import Path
from typing import Any

LARGEST_NOTE = 8 << 20
"""Most bytes of a contract, a journal's facts or another text that edgekit writes, in practice a
hundred kilobytes; JSON of this size takes seconds to check."""

LARGEST_RESULTS = 64 << 20
"""Most bytes of a file of results, which holds every sample of every measurement: six million. In
memory, text may take four times as much."""

LARGEST_FILE = 4 << 30
"""Most bytes of a file of weights; protobuf and flatbuffers hold 2 GiB."""

LARGEST_OBJECTS = 512 << 20
"""Most bytes of memory that the objects of a JSON document may take, which may be thirty for each
byte of its text. A file of results of `LARGEST_RESULTS` keeps it."""

DEEPEST = 100
"""Most levels of JSON; a contract has six."""


class UnfitFile(OSError):  # noqa: N818 - named as its kin in the standard library are
    """A path that is no regular file, or one of too many bytes."""

    def __init__(self, path: str | Path, reason: str, number: int = errno.EINVAL) -> None:
        super().__init__(number, reason, str(path))


def check_file(path: str | Path, most_bytes: int = LARGEST_FILE) -> int:
    """Looks at a file, without opening it.

    Returns:
        Its bytes.

    Raises:
        UnfitFile: it is a folder, pipe or device, or too large.
        OSError: it is missing, or nobody may look at it.
    """
    return _check(path, os.stat(path), most_bytes)  # noqa: PTH116 - takes words, too


def _check(path: str | Path, status: os.stat_result, most_bytes: int) -> int:
    if stat.S_ISDIR(status.st_mode):
        raise UnfitFile(path, "is a folder: expected a file", errno.EISDIR)
    if not stat.S_ISREG(status.st_mode):
        kind = "a pipe" if stat.S_ISFIFO(status.st_mode) else "a device or socket"
        raise UnfitFile(path, f"is {kind}: expected a regular file")
    if status.st_size > most_bytes:
        raise UnfitFile(
            path,
            f"has {status.st_size:,} bytes: expected at most {most_bytes:,}",
            errno.EFBIG,
        )
    return status.st_size


_BLOCK = 1 << 20


def open_file(path: str | Path, most_bytes: int = LARGEST_FILE) -> BufferedReader:
    """Opens a regular file for reading; see `check_file` for what is raised."""
    # Else opening a pipe waits for its other end.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check(path, os.fstat(number), most_bytes)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_bytes(path: str | Path, most_bytes: int = LARGEST_FILE) -> bytes:
    """The bytes of a file; see `check_file` for what is raised."""
    with open_file(path, most_bytes) as file:
        # Not up to the bound at once: Python takes the memory before it reads.
        content = file.read(os.fstat(file.fileno()).st_size)
        while more := file.read(_BLOCK):  # it grows, or is one of /proc, whose size is 0
            content += more
            if len(content) > most_bytes:
                raise UnfitFile(path, f"has over {most_bytes:,} bytes", errno.EFBIG)
    return content


def read_text(path: str | Path, most_bytes: int = LARGEST_NOTE) -> str:
    """The text of a file in UTF-8.

    Raises:
        UnicodeDecodeError: it is none.
        OSError: see `check_file`.
    """
    return read_bytes(path, most_bytes).decode("utf-8")


def inflate(content: bytes, most_bytes: int = LARGEST_NOTE) -> bytes:
    """What zlib has compressed, of a bounded size: a thousand bytes may stand for a million.

    Raises:
        ValueError: it is damaged, or has more bytes than that.
    """
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(content, most_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"it cannot be inflated ({error})") from error
    if len(found) > most_bytes:
        raise ValueError(f"it inflates to over {most_bytes:,} bytes")
    if not inflater.eof:
        raise ValueError("it cannot be inflated (its end is missing)")
    return found


def parse_json(
    text: str | bytes,
    *,
    deepest: int = DEEPEST,
    most_bytes: int = LARGEST_OBJECTS,
    any_numbers: bool = False,
) -> Any:
    """Plain data of a JSON document.

    Args:
        most_bytes: of memory that its objects may take.
        any_numbers: takes NaN and infinities, which other tools write, too.

    Raises:
        ValueError: it is none, is nested too deeply, would take too much memory, or has numbers
            that no JSON has.
    """
    if object_bytes(text) > most_bytes:
        raise ValueError(
            f"it has too many parts: they would take over {most_bytes >> 20} MiB of memory"
        )
    try:
        data = json.loads(text, parse_constant=None if any_numbers else _refuse_constant)
    except RecursionError:
        raise ValueError(f"it is nested more than {deepest} levels deep") from None
    _check_depth(data, deepest)
    return data


# At most so much memory for each of these (CPython 3.11 to 3.13, 64 bits): a value in a list, a
# list, an object, a key with its place in an object.
_OBJECT_BYTES = {",": 64, "[": 96, "{": 240, ":": 120}


def object_bytes(text: str | bytes) -> int:
    """Bytes of memory that the objects of a JSON document take at most, seen from its text."""
    if isinstance(text, bytes):
        counts = {sign: text.count(sign.encode()) for sign in _OBJECT_BYTES}
    else:
        counts = {sign: text.count(sign) for sign in _OBJECT_BYTES}
    return len(text) + sum(_OBJECT_BYTES[sign] * count for sign, count in counts.items())


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _check_depth(data: Any, deepest: int) -> None:
    level = [data]
    for _ in range(deepest):
        level = [
            inner
            for value in level
            if isinstance(value, (dict, list))
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {deepest} levels deep")
