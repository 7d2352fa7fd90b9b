"""Messages between two processes: a JSON document, and arrays as their bytes behind it.

Nothing is unpickled: the process at the other end runs a file that may be hostile.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit import errors
from edgekit.core.reading import parse_json
from edgekit.errors import EdgekitError, UnknownNameError, UsageError, name_of

if TYPE_CHECKING:
    from edgekit.core import Array

_HEAD = struct.Struct("<Q")
_MOST_BYTES = 1 << 33
_KINDS = "biuf"


class Closed(Exception):  # noqa: N818 - the end of a conversation is no error by itself
    """The other end has gone, or speaks another language."""


def send(to: socket.socket, document: Mapping[str, Any], arrays: Sequence[Array] = ()) -> None:
    """Sends a message."""
    kept = [np.asarray(array, order="C") for array in arrays]
    for array in kept:
        if array.dtype.kind not in _KINDS:
            raise ValueError(f"it gives {array.dtype.name}: expected numbers")
    about = [[array.dtype.str, list(np.shape(array))] for array in arrays]
    head = json.dumps({**document, "arrays": about}).encode()
    to.sendall(_HEAD.pack(len(head)) + head)
    for array in kept:
        if array.size:
            to.sendall(array.reshape(-1).view(np.uint8).data)


def receive(source: socket.socket) -> tuple[dict[str, Any], list[Array]]:
    """Waits for a message.

    Raises:
        Closed: there is none any more.
        TimeoutError: none has come in time.
    """
    (size,) = _HEAD.unpack(_exactly(source, _HEAD.size))
    try:
        document = parse_json(bytes(_exactly(source, size)))
        about = [(np.dtype(kind), tuple(shape)) for kind, shape in document.pop("arrays")]
        if any(kind.kind not in _KINDS for kind, _ in about):
            raise ValueError
        arrays = [_array(source, kind, shape) for kind, shape in about]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise Closed from error
    return document, arrays


def _array(source: socket.socket, kind: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    count = 1
    for size in shape:
        count *= size
    content = _exactly(source, count * kind.itemsize)
    return np.frombuffer(content, kind).reshape(shape)


def _exactly(source: socket.socket, size: int) -> bytearray:
    if not 0 <= size <= _MOST_BYTES:
        raise Closed
    content = bytearray(size)
    left = memoryview(content)
    while left:
        count = source.recv_into(left)
        if count == 0:
            raise Closed
        left = left[count:]
    return content


def error_document(error: Exception) -> dict[str, str]:
    """An error as an answer; see `named_error`."""
    return {"error": name_of(error), "message": str(error)}


def named_error(name: str, message: str) -> EdgekitError:
    """The error that an answer stands for."""
    kind = getattr(errors, name, EdgekitError)
    if kind is UnknownNameError:  # its message is composed already
        kind = UsageError
    found: EdgekitError = kind(message)
    return found
