"""Pickles of tensors and plain data, looked through before PyTorch follows them.

PyTorch's own reader runs no code of a pickle, and does all else that one says: a byte may make an
object of eighty, six bytes double an object that takes for ever to compare, and an argument of four
bytes may ask for gigabytes.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterable
from io import BytesIO
from typing import BinaryIO

LARGEST_PICKLE = 4 << 20
"""Most bytes of a pickle, without the numbers of its tensors; a tensor takes 150."""

MOST_STEPS = 500_000
"""Most operations of a pickle, which take seconds; a tensor takes forty."""

MOST_OBJECTS = 4_000_000
"""Most objects that the whole may seem to have, where those that stand in several places count in
each."""

# What makes as many bytes as its argument says.
_FILLING = ("builtins bytearray", "__builtin__ bytearray")

# Of the files that PyTorch wrote before archives: a magic number, a version, the machine, the
# data, the names of the storages; the numbers follow.
_LEGACY_PICKLES = 5


def check_legacy(file: BinaryIO) -> None:
    """Looks through the pickles at the beginning of a file that is no archive.

    Raises:
        ValueError: one is too long, or makes too much.
    """
    head = file.read(LARGEST_PICKLE + 1)
    stream = BytesIO(head[:LARGEST_PICKLE])
    for _ in range(_LEGACY_PICKLES):
        if not _check(stream) and len(head) > LARGEST_PICKLE:
            raise ValueError(f"its pickles are longer than {LARGEST_PICKLE:,} bytes")


def check_pickle(content: bytes) -> None:
    """Looks through one pickle.

    Raises:
        ValueError: it is too long, or makes too much.
    """
    if len(content) > LARGEST_PICKLE:
        raise ValueError(f"its pickle is longer than {LARGEST_PICKLE:,} bytes")
    _check(BytesIO(content))


def _check(stream: BytesIO) -> bool:
    """Follows a pickle to its end, without making anything; whether it has one."""
    counted = _Counted()
    steps = pickletools.genops(stream)
    for count in range(MOST_STEPS):
        try:
            operation, argument, _ = next(steps)
        except StopIteration:
            return True
        except (ValueError, LookupError):  # PyTorch does not get any further either
            return False
        if operation.name == "GLOBAL" and argument in _FILLING:
            raise ValueError(f"its pickle makes a {argument.split()[1]}")
        try:
            counted.follow(operation, argument)
        except (LookupError, TypeError):
            raise ValueError(f"its pickle takes what it has not made (operation {count})") from None
    raise ValueError(f"its pickle has over {MOST_STEPS:,} operations")


class _Counted:
    """The stack of a pickle, with numbers of objects in the place of objects.

    A number stands in a list of its own: a list grows wherever it is referred to. `None` is a mark.
    """

    def __init__(self) -> None:
        self._stack: list[list[int] | None] = []
        self._memo: dict[int, list[int]] = {}

    def follow(self, operation: pickletools.OpcodeInfo, argument: object) -> None:
        """Does what an operation does to the stack.

        Raises:
            LookupError: it takes more than there is.
            TypeError: it takes a mark for an object.
            ValueError: what it makes has too many objects.
        """
        name, before, after = operation.name, operation.stack_before, operation.stack_after
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(self._memo) if name == "MEMOIZE" else argument
            self._memo[place] = _object(self._stack[-1])  # type: ignore[index]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])  # type: ignore[index]
        elif name == "DUP":
            self._stack.append(_object(self._stack[-1]))
        elif name == "MARK":
            self._stack.append(None)
        elif not before:
            self._stack += [[1]] * len(after)
        else:
            taken = self._taken(before)
            if name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"):
                made = taken.pop(0)
                made[0] += _sum(taken)
            else:
                made = [1 + _sum(taken)]
            if made[0] > MOST_OBJECTS:
                raise ValueError(f"its pickle has over {MOST_OBJECTS:,} objects, one in another")
            self._stack += [made] * len(after)

    def _taken(self, before: Iterable[pickletools.StackObject]) -> list[list[int]]:
        """Takes objects from the stack, in order."""
        kinds, taken = list(before), []
        if pickletools.markobject in kinds:
            while (top := self._stack.pop()) is not None:
                taken.append(top)
            kinds = kinds[: kinds.index(pickletools.markobject)]
        taken += [_object(self._stack.pop()) for _ in kinds]
        return taken[::-1]


def _object(place: list[int] | None) -> list[int]:
    if place is None:
        raise TypeError
    return place


def _sum(taken: Iterable[list[int]]) -> int:
    return sum(count for (count,) in taken)
