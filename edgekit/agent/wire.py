"""Messages between an agent and the one that asks: a JSON document a line, and arrays behind it.

Nothing is unpickled, and no length is believed that is out of bounds: the process at the other end
runs a file that may be hostile, or is no agent at all.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from edgekit.core.reading import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit.core import Array

MOST_LINE_BYTES = 1 << 26
MOST_ARRAY_BYTES, MOST_ARRAYS = 1 << 31, 4096
"""Of the arrays of a message, together."""
_MOST_AXES = 32
_CHUNK = 1 << 20
# Taken before any byte of an array has come; more only as bytes come.
_FIRST_BYTES = 1 << 26
_KINDS = "biuf"

PROTOCOL = 1
"""Version of what is asked and answered."""

GREETING = "edgekit-agent"
"""Key of an agent's first message, whose value is its version; what comes before is a shell's."""

CRASHED, SILENT, MISSING = "Crashed", "Silent", "Missing"
"""What stands for an error in an answer where a slot has ended by itself, was ended as it did not
answer, or lacks a package."""

ARRAYS = "arrays"
"""Key of what a document says of the arrays behind it: type and shape of each."""

Message = Tuple[Dict[str, Any], List[bytearray]]
"""A document, and the bytes of the arrays that it tells of."""


class Closed(Exception):  # noqa: N818 - the end of a conversation is no error by itself
    """The other end has gone."""


class Garbled(Closed):
    """The other end speaks another language."""


class Wire:
    """One end of a conversation.

    Both ends take turns, so that nothing is left over when a message was read.

    Args:
        source: descriptor to read from.
        sink: descriptor to write to.
        watched: descriptor whose end ends this conversation, too, where it waits.
    """

    def __init__(self, source: int, sink: int, watched: int | None = None) -> None:
        self.source, self.sink = source, sink
        self._watched = {} if watched is None else {watched: 0}
        self._pending = bytearray()

    def send(
        self,
        document: Mapping[str, Any],
        contents: Sequence[Any] = (),
        limit_s: float | None = None,
    ) -> None:
        """Sends a message.

        Args:
            contents: bytes of the arrays that the document tells of.
            limit_s: longest time, where the descriptor does not block.

        Raises:
            Closed: nobody reads it.
            TimeoutError: nobody has read it in time.
        """
        end_s = None if limit_s is None else time.monotonic() + limit_s
        for content in (json.dumps(document).encode("ascii") + b"\n", *contents):
            self.write(content, end_s)

    def write(self, content: Any, end_s: float | None = None) -> None:
        """Writes bytes that are no message.

        Args:
            end_s: of the time for it, on the clock of `time.monotonic`, where the descriptor does
                not block.

        Raises:
            Closed: nobody reads them.
            TimeoutError: nobody has read them in time.
        """
        left = memoryview(content)
        while len(left):
            try:
                left = left[os.write(self.sink, left) :]
            except BlockingIOError:
                self._wait(end_s, self.sink, select.POLLOUT)
            except OSError as error:
                raise Closed from error

    def receive(self, limit_s: float | None = None, *, arrays: bool = True) -> Message:
        """Waits for a message.

        Args:
            limit_s: longest time until all of it is there.
            arrays: whether it may have some.

        Raises:
            Closed: there is none any more.
            Garbled: it is none, or larger than messages are.
            TimeoutError: none has come in time.
        """
        end_s = None if limit_s is None else time.monotonic() + limit_s
        try:
            document = parse_json(self.line(end_s))
            sizes = _sizes(document.get(ARRAYS, ()), MOST_ARRAYS if arrays else 0)
        except (ValueError, TypeError, AttributeError) as error:
            raise Garbled from error
        try:
            return document, [self._exactly(size, end_s) for size in sizes]
        except MemoryError as error:
            raise Garbled from error

    def await_some(self, limit_s: float) -> None:
        """Waits until a message has begun to come, or none can any more.

        Raises:
            TimeoutError: none has in time.
        """
        if not self._pending:
            self._wait(time.monotonic() + limit_s, self.source)

    def line(self, end_s: float | None = None, most: int = MOST_LINE_BYTES) -> bytes:
        """The next line, without its end.

        Args:
            end_s: of the wait, on the clock of `time.monotonic`.
            most: bytes of a line.

        Raises:
            Closed: there is none any more.
            Garbled: it is longer.
            TimeoutError: none has come in time.
        """
        searched = 0
        while True:
            end = self._pending.find(b"\n", searched)
            if end >= 0:
                found = bytes(self._pending[:end])
                del self._pending[: end + 1]
                return found
            if len(self._pending) > most:
                raise Garbled
            if searched:
                _check_time(end_s)
            searched = len(self._pending)
            if end_s is not None:
                self._wait(end_s, self.source)
            received = self._read(_CHUNK)
            if received == b"":
                raise Closed
            if received is None:
                self._wait(end_s, self.source)
            else:
                self._pending += received

    def _read(self, most: int) -> bytes | None:
        """Some bytes; none at the end, ``None`` where there are none yet."""
        try:
            return os.read(self.source, most)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Closed from error

    def _exactly(self, size: int, end_s: float | None) -> bytearray:
        content = bytearray(min(size, max(_FIRST_BYTES, len(self._pending))))
        have = min(len(content), len(self._pending))
        with memoryview(self._pending) as pending:
            content[:have] = pending[:have]
        del self._pending[:have]
        while True:
            with memoryview(content) as room:
                self._fill(room[have:], end_s)
            have = len(content)
            if have == size:
                return content
            content += bytes(min(size - have, have))

    def _fill(self, left: memoryview, end_s: float | None) -> None:
        while len(left):
            if end_s is not None:
                self._wait(end_s, self.source)
            try:
                count = os.readv(self.source, [left])
            except BlockingIOError:
                self._wait(end_s, self.source)
                continue
            except OSError as error:
                raise Closed from error
            if count == 0:
                raise Closed
            left = left[count:]
            if len(left):
                _check_time(end_s)

    def _wait(self, end_s: float | None, descriptor: int, events: int = select.POLLIN) -> None:
        left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
        ready = poll({**self._watched, descriptor: events}, left_s)
        if not ready:
            raise TimeoutError
        if descriptor not in ready:
            raise Closed


def poll(descriptors: Mapping[int, int], limit_s: float | None) -> dict[int, int]:
    """Waits for one of some descriptors.

    Args:
        descriptors: what to wait for, see `select.poll`; an end that was closed is told in any
            case.

    Returns:
        What came to pass; nothing where the time is up.
    """
    waiting = select.poll()
    for descriptor, events in descriptors.items():
        waiting.register(descriptor, events)
    return dict(waiting.poll(None if limit_s is None else 1000 * limit_s))


def _check_time(end_s: float | None) -> None:
    """For what comes without end.

    Raises:
        TimeoutError: the time is up.
    """
    if end_s is not None and time.monotonic() > end_s:
        raise TimeoutError


def _sizes(about: Any, most: int) -> list[int]:
    """Bytes of each of some arrays.

    Args:
        about: what a document says of them.
        most: arrays.

    Raises:
        ValueError: there are no such arrays, or they are too many or too large.
    """
    if len(about) > most:
        raise ValueError
    sizes = [_size(kind, shape) for kind, shape in about]
    if sum(sizes) > MOST_ARRAY_BYTES:
        raise ValueError
    return sizes


def _size(kind: str, shape: list[int]) -> int:
    """Bytes of an array.

    Raises:
        ValueError: there is no such array.
    """
    if len(kind) < 3 or kind[0] not in "<>|" or kind[1] not in _KINDS or len(shape) > _MOST_AXES:
        raise ValueError
    size = int(kind[2:])
    for length in shape:
        if type(length) is not int or length < 0:
            raise ValueError
        size *= length
    if size < 0:
        raise ValueError
    return size


def packed(arrays: Sequence[Array]) -> tuple[dict[str, Any], list[Any]]:
    """What a document says of arrays, and their bytes; see `Wire.send`.

    Raises:
        ValueError: one holds no numbers.
    """
    import numpy as np

    about, contents = [], []
    for array in arrays:
        kept = np.asarray(array, order="C")
        if kept.dtype.kind not in _KINDS:
            raise ValueError(f"it gives {kept.dtype.name}: expected numbers")
        about.append([kept.dtype.str, list(np.shape(array))])
        if kept.size:
            contents.append(kept.reshape(-1).view(np.uint8).data)
    return ({ARRAYS: about} if about else {}), contents


def unpacked(document: Mapping[str, Any], contents: Sequence[bytearray]) -> list[Array]:
    """The arrays of a message."""
    import numpy as np

    return [
        np.frombuffer(content, np.dtype(kind)).reshape(shape)
        for (kind, shape), content in zip(document.get(ARRAYS, ()), contents)
    ]
