"""What an ONNX file says of itself and of files beside it, found without building its graph.

The file's protobuf is walked over here: whoever measures a file must know its size and digest
without importing the package `onnx`, whose memory and time would count, and a graph takes eighty
times the memory of a file that was made for it.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgekit.core.names import inside, shown
from edgekit.core.reading import LARGEST_NOTE, open_file
from edgekit.errors import InputError

MOST_FIELDS = 1_000_000
"""Fields to look at, which takes seconds; ONNX files of the largest networks have a tenth."""

DEEPEST = 100
"""Messages inside one another; readers of protobuf refuse more."""

_LOCATION = b"location"
"""The key that all names of external data stand behind."""

# What a message of onnx.proto holds on the way to tensors: the number of a field and its message.
_INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
}  # fmt: skip
# Fields that stand once: where the file has several, they are the parts of one message.
_ONCE = {("model", 7), ("attribute", 5), ("attribute", 6), ("attribute", 22), ("sparse", 1)}
_ONCE |= {("sparse", 2), ("training", 1), ("training", 2)}
_GRAPH, _METADATA, _NODE = 7, 14, 1  # two of the model, one of the graph
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1
_KEY, _VALUE = 1, 2
_LOW_BITS = (1 << 32) - 1
"""What readers of protobuf keep of a tag or an enumeration that is written with more bits."""
_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)

Span = tuple[int, int]


def external_files(path: Path) -> tuple[Path, ...]:
    """Files that hold weights of an ONNX file, in the order in which it names them.

    What is no ONNX file names none; the runtime says what is wrong with it.

    Raises:
        InputError: a name leads out of the file's folder, or cannot be that of a file; or the file
            of that name ends before the weights do.
    """
    try:
        status = path.stat()
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        names = _names(path, identity)
    except OSError:
        return ()
    places = []
    for name, end in names:
        places.append(_place(path, name))
        with contextlib.suppress(OSError):  # whoever opens it says that it is missing, or no file
            size = places[-1].stat().st_size
            if size < end and places[-1].is_file():
                raise InputError(
                    f"{places[-1]} has {size:,} bytes, and {path} has weights up to byte {end:,} "
                    f"of it: it is cut short; copy it again"
                )
    return tuple(places)


def metadata(path: Path, key: str) -> str | None:
    """What stands behind a key in the metadata of an ONNX file.

    Raises:
        InputError: it is no ONNX file, has too many parts, or holds no network or too long a text.
    """
    with _mapped(path) as data:
        walk = _Walk(path, data)
        try:
            found, has_nodes = walk.metadata(key)
        except ValueError as error:
            raise InputError(f"{path} is no ONNX file, or is damaged") from error
    if not has_nodes:  # no bytes at all are a valid message, too
        raise InputError(f"{path} is no ONNX file, or is damaged: it holds no network")
    return found


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """The bytes of a file, of which memory has what is looked at."""
    with open_file(path) as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # it is empty
            yield b""
            return
        with data:
            yield data


def _place(path: Path, name: str) -> Path:
    """The file of a name, which need not be there.

    A link may lead to the folder of the file that ``path`` itself is a link to: caches of
    downloaded files are built so.
    """
    try:
        place = inside(path.parent, name)
    except ValueError as error:
        raise InputError(
            f"{path} wants weights from a file that no network may name: {error}"
        ) from error
    allowed = (path.parent.resolve(), path.resolve().parent)
    if not any(place.resolve().is_relative_to(folder) for folder in allowed):
        raise InputError(
            f"{path} needs '{shown(name)}' beside it, which is a link to another folder: put the "
            f"file itself there"
        )
    return place


@functools.lru_cache(maxsize=64)
def _names(path: Path, identity: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """Names of external data and where it ends; ``identity`` is of one state of the file."""
    with _mapped(path) as data:
        walk = _Walk(path, data)
        with contextlib.suppress(ValueError):  # it is damaged: no runtime takes it either
            if data.find(_LOCATION) < 0:
                walk.graph()  # whoever opens the file builds them
            else:
                walk.model()
        return tuple(walk.names.items())


class _Field(NamedTuple):
    """A field: its number, and its value or where that lies."""

    number: int
    kind: int
    value: int
    span: Span


class _Walk:
    """Goes over the messages of a model, whatever its nesting.

    Attributes:
        names: of external data, each once, in order, and the last byte that a tensor has there.
    """

    def __init__(self, path: Path, data: mmap.mmap | bytes) -> None:
        self._path, self._data, self._left = path, data, MOST_FIELDS
        self.names: dict[str, int] = {}

    def model(self) -> None:
        """Collects the names of the whole file.

        Raises:
            ValueError: it is no protobuf.
        """
        waiting = [("model", [(0, len(self._data))], 0)]
        while waiting:
            kind, spans, depth = waiting.pop()
            if depth > DEEPEST:
                raise ValueError("no protobuf")
            if kind == "tensor":
                self._tensor(spans)
                continue
            found: list[tuple[str, list[Span], int]] = []
            once: dict[int, list[Span]] = {}
            for field in self._fields(spans):
                inner = _INNER[kind].get(field.number)
                if inner is None or field.kind != _BYTES:
                    continue
                if inner == "node" and self._data.find(_LOCATION, *field.span) < 0:
                    continue  # as nearly all of them
                parts = once.get(field.number)
                if parts is not None:
                    parts.append(field.span)
                    continue
                parts = [field.span]
                found.append((inner, parts, depth + 1))
                if (kind, field.number) in _ONCE:
                    once[field.number] = parts
            waiting += reversed(found)

    def graph(self) -> bool:
        """Whether the model's graph has nodes; goes over all of them, without what is inside.

        Raises:
            ValueError: it is no protobuf.
            InputError: they are too many.
        """
        fields = self._fields([(0, len(self._data))])
        spans = [f.span for f in fields if (f.number, f.kind) == (_GRAPH, _BYTES)]
        numbers = {field.number for field in self._fields(spans)}
        return _NODE in numbers

    def metadata(self, key: str) -> tuple[str | None, bool]:
        """What stands behind a key of the model, and whether its graph has nodes.

        Raises:
            ValueError: it is no protobuf.
            InputError: it has too many parts, or the text is too long.
        """
        has_nodes = self.graph()
        for field in self._fields([(0, len(self._data))]):
            if (field.number, field.kind) != (_METADATA, _BYTES):
                continue
            words = {f.number: f.span for f in self._fields([field.span]) if f.kind == _BYTES}
            begin, end = words.get(_KEY, (0, 0))
            if end - begin != len(key) or self._data[begin:end] != key.encode():
                continue
            begin, end = words.get(_VALUE, (0, 0))
            if end - begin > LARGEST_NOTE:
                raise InputError(
                    f"{self._path} has a contract of {end - begin:,} bytes inside: expected at "
                    f"most {LARGEST_NOTE:,}"
                )
            return self._data[begin:end].decode("utf-8"), has_nodes
        return None, has_nodes

    def _tensor(self, spans: Sequence[Span]) -> None:
        entries: list[Span] = []
        external = False
        for field in self._fields(spans):
            if field.number == _DATA_LOCATION and field.kind == _VARINT:
                external = field.value & _LOW_BITS == _EXTERNAL
            elif field.number == _EXTERNAL_DATA and field.kind == _BYTES:
                entries.append(field.span)
        if not external:
            return
        about: dict[str, str] = {}
        for entry in entries:
            words = {f.number: f.span for f in self._fields([entry]) if f.kind == _BYTES}
            about[self._text(words.get(_KEY))] = self._text(words.get(_VALUE))
        name = about.get(_LOCATION.decode())
        if name is not None:
            numbers = [about.get(key, "0") for key in ("offset", "length")]
            end = sum(int(text) for text in numbers if text.isdecimal() and len(text) < 20)
            self.names[name] = max(end, self.names.get(name, 0))

    def _text(self, span: Span | None) -> str:
        return "" if span is None else self._data[slice(*span)].decode("utf-8", "backslashreplace")

    def _fields(self, spans: Sequence[Span]) -> Iterator[_Field]:
        """Fields of a message; groups, which ONNX has none of, are passed over."""
        depth = 0
        for at, end in spans:
            while at < end:
                self._left -= 1
                if self._left < 0:
                    raise InputError(
                        f"{self._path} has over {MOST_FIELDS:,} parts: expected a network"
                    )
                tag, at = self._varint(at, end)
                tag &= _LOW_BITS
                number, kind, begin, value = tag >> 3, tag & 7, at, 0
                if kind == _VARINT:
                    value, at = self._varint(at, end)
                elif kind == _BYTES:
                    length, begin = self._varint(at, end)
                    at = begin + length
                elif kind in (_GROUP, _GROUP_END):
                    depth += 1 if kind == _GROUP else -1
                elif kind in (_FIXED64, _FIXED32):
                    at += 8 if kind == _FIXED64 else 4
                if number == 0 or kind > _FIXED32 or at > end:
                    raise ValueError("no protobuf")
                if depth == 0:
                    yield _Field(number, kind, value, (begin, at))

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A number, and where it ends."""
        value = shift = 0
        while at < end and shift < 64:
            byte = self._data[at]
            value |= (byte & 0x7F) << shift
            at += 1
            if byte < 0x80:
                return value, at
            shift += 7
        raise ValueError("no protobuf")
