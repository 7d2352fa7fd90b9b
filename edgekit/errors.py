"""The errors that users meet, as one tree.

::

    EdgekitError                  exit 1   a fault of edgekit itself, when raised as such
    ├── UsageError                exit 2   the command line or call is wrong
    │   └── UnknownNameError      exit 2   a name that is in no table; suggests the nearest
    ├── InputError                exit 3   something that was given cannot be used
    │   ├── DataError             exit 3   images, folders, labels
    │   ├── CheckpointError       exit 3   weights: missing, damaged, hostile, of another network
    │   ├── ContractError         exit 3   an artifact and its contract do not belong together
    │   ├── ModelError            exit 3   the network cannot be built, run or traced
    │   └── OutputError           exit 3   a result cannot be written
    ├── GateError                 exit 4   a check failed: parity, accuracy, budget, speed
    └── UnavailableError          exit 5   a device, runtime or optional package is not there
        └── MeterError            exit 5   an energy meter that fails or shows what cannot be

Every message names the thing, says what was expected, and what to do next. The command line
renders it once; library callers catch the class they care about.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.meant import advice as how_else
from edgekit.meant import name_meant

if TYPE_CHECKING:
    from typing import Self

_FEW = 8  # names that a message has room for


class EdgekitError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        results: what was finished all the same, where a call makes several things.
        parts: the lines of the message, where it has several.
    """

    exit_code: ClassVar[int] = 1
    results: Sequence[Any] = ()
    parts: Sequence[str] = ()

    @classmethod
    def of_parts(cls, parts: Sequence[str], results: Sequence[Any] = ()) -> Self:
        """An error of this class that says all of ``parts``, one a line."""
        error = cls.__new__(cls)
        Exception.__init__(error, "\n".join(parts))
        error.parts, error.results = tuple(parts), tuple(results)
        return error


class UsageError(EdgekitError):
    """The command line or call is wrong."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is in no table.

    Args:
        kind: what was asked for, in the singular ("model", "target").
        name: the name as it was given.
        known: the names that would have worked.
        hint: how to see them all.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str) -> None:
        choices = sorted(known)
        own, advice = name_meant(kind, name), how_else(kind, name)
        near = difflib.get_close_matches(name.lower(), choices, n=3, cutoff=0.5)
        if own in choices:
            near = [own]
        elif advice:
            near = []
        if near:
            said = f"did you mean {' or '.join(near)}? {hint}"
        elif advice:
            said = f"{advice}; {hint}"
        elif hint.startswith("see ") and 0 < len(choices) <= _FEW:
            said = f"expected {', '.join(choices)}; {hint}"
        else:
            said = hint
        super().__init__(f"unknown {kind} '{name}': {said}")
        self.kind = kind
        self.name = name
        self.suggestions = tuple(near)


class InputError(EdgekitError):
    """Something that was given cannot be used."""

    exit_code = 3


class DataError(InputError):
    """Images, folders or labels that cannot be used."""


class CheckpointError(InputError):
    """Weights that are missing, damaged, hostile, or of another network."""


class ContractError(InputError):
    """An artifact and its contract do not belong together."""


class ModelError(InputError):
    """A network that cannot be built, run or traced."""


class OutputError(InputError):
    """A result that cannot be written."""


class GateError(EdgekitError):
    """A check that failed: parity, accuracy, budget or speed."""

    exit_code = 4


class UnavailableError(EdgekitError):
    """A device, runtime or optional package that is not there."""

    exit_code = 5


class MeterError(UnavailableError):
    """An energy meter that cannot be read any more, or shows what cannot be."""


class PassedOverWarning(UserWarning):
    """Something of the user's that is not used, beside what was asked for."""


def name_of(error: BaseException) -> str:
    """The name of an error's class in this tree: its own, or of the one that it derives from.

    Processes tell one another errors by name, and know no classes but these.
    """
    own = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == __name__)
    return next(own, type(error).__name__)
