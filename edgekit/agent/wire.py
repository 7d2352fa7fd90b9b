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

MOST_LINE_BYTES = 1 << 28
MOST_ARRAY_BYTES = 1 << 33
_CHUNK = 1 << 20
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
    """

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink
        self._pending = b""

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

    def receive(self, limit_s: float | None = None) -> Message:
        """Waits for a message.

        Raises:
            Closed: there is none any more.
            TimeoutError: none has come in time.
        """
        end_s = None if limit_s is None else time.monotonic() + limit_s
        try:
            document = parse_json(self.line(end_s))
            sizes = [_size(kind, shape) for kind, shape in document.get(ARRAYS, ())]
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
            self._wait(time.monotonic() + limit_s)

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
        while b"\n" not in self._pending:
            if len(self._pending) > most:
                raise Garbled
            self._wait(end_s)
            received = self._read(_CHUNK)
            if received == b"":
                raise Closed
            self._pending += received or b""
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _read(self, most: int) -> bytes | None:
        """Some bytes; none at the end, ``None`` where there are none yet."""
        try:
            return os.read(self.source, most)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Closed from error

    def _exactly(self, size: int, end_s: float | None) -> bytearray:
        content = bytearray(size)
        known = min(size, len(self._pending))
        content[:known], self._pending = self._pending[:known], self._pending[known:]
        left = memoryview(content)[known:]
        while len(left):
            self._wait(end_s)
            try:
                count = os.readv(self.source, [left])
            except BlockingIOError:
                continue
            except OSError as error:
                raise Closed from error
            if count == 0:
                raise Closed
            left = left[count:]
        return content

    def _wait(
        self, end_s: float | None, descriptor: int | None = None, events: int = select.POLLIN
    ) -> None:
        if end_s is None and descriptor is None:
            return
        left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
        if not poll({self.source if descriptor is None else descriptor: events}, left_s):
            raise TimeoutError


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


def _size(kind: str, shape: list[int]) -> int:
    """Bytes of an array.

    Raises:
        ValueError: there is no such array, or it is too large.
    """
    if len(kind) < 3 or kind[0] not in "<>|" or kind[1] not in _KINDS:
        raise ValueError
    size = int(kind[2:])
    for length in shape:
        if type(length) is not int or length < 0:
            raise ValueError
        size *= length
    if not 0 <= size <= MOST_ARRAY_BYTES:
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
