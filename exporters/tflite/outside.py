"""Weights that lie in other files than a TensorFlow Lite file: groups of external buffers.

The newest schema has them, and LiteRT's interpreter does not read them. Their names are looked up
here in the file's own tables: whoever measures a file must know what belongs to it without
importing a runtime, whose memory and time would count.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from edgekit.core.names import shown
from edgekit.core.reading import open_file
from edgekit.errors import InputError
from exporters.tflite.flatbuffer import FILE_IDENTIFIER

# Fields of the tables `Model` and `ExternalBufferGroup` in LiteRT's schema, counted from 0.
_GROUPS, _BUFFERS, _NAME = 8, 9, 0
_MOST_NAMES = 3
_LONGEST_NAME = 200


def check_inside(path: Path) -> None:
    """Refuses a file whose weights lie in others.

    What is no file of the format passes: the runtime says what is wrong with it.

    Raises:
        InputError: names those.
    """
    try:
        with open_file(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            names = _names(data) if data[4:8] == FILE_IDENTIFIER else None
    except (OSError, ValueError, struct.error):
        return
    if names is not None:
        files = f" ({', '.join(map(shown, names))})" if names else ""
        raise InputError(
            f"{path} keeps weights in other files{files}, which LiteRT's interpreter does not "
            f"read: have its converter write them into the file itself"
        )


def _names(data: mmap.mmap) -> list[str] | None:
    """Names of the first groups; ``None`` where the file has all its weights itself."""
    root = _number(data, 0)
    groups, buffers = (_field(data, root, field) for field in (_GROUPS, _BUFFERS))
    if not any(place is not None and _number(data, place) for place in (groups, buffers)):
        return None
    if groups is None:
        return []
    found = []
    for i in range(min(_number(data, groups), _MOST_NAMES)):
        at = groups + 4 + 4 * i
        name = _field(data, at + _number(data, at), _NAME)
        if name is not None:
            length = min(_number(data, name), _LONGEST_NAME)
            found.append(data[name + 4 : name + 4 + length].decode(errors="replace"))
    return found


def _number(data: mmap.mmap, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _field(data: mmap.mmap, table: int, field: int) -> int | None:
    """Where a vector or text of a table begins; ``None`` where the table has none."""
    (back,) = struct.unpack_from("<i", data, table)
    entries = table - back
    if entries < 0:
        raise ValueError
    (size,) = struct.unpack_from("<H", data, entries)
    place = 4 + 2 * field
    if place + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, entries + place)
    return table + offset + _number(data, table + offset) if offset else None
