"""Arguments of the wrong type, refused in one sentence before anything is done."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from edgekit.core.text import in_short
from edgekit.errors import UsageError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _whole(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _side(value: object) -> bool:
    """Whether it is of `edgekit.core.Side`."""
    if isinstance(value, list | tuple):
        return len(value) == 2 and all(map(_whole, value))
    return _whole(value)


_KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "int": ("a whole number", _whole),
    "Side": ("a whole number, or height and width", _side),
    "float": ("a number", _number),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "str": ("a name", lambda value: isinstance(value, str)),
    "StrPath": ("a name or a path", lambda value: isinstance(value, str | os.PathLike)),
}
"""By annotation: what is expected, and whether a value is that."""


def typed(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A function that refuses arguments of other types than numbers, names and paths where it
    takes those; what stands for a network, and the like, is looked at further in.

    Raises:
        UsageError: names the argument, its value and what was expected.
    """
    signature = inspect.signature(function)
    annotations = {name: str(one.annotation) for name, one in signature.parameters.items()}

    @functools.wraps(function)
    def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if "multiprocessing.spawn" in sys.modules:
            from edgekit.search.processes import leave_script

            leave_script()
        _check(signature.bind(*args, **kwargs).arguments, annotations)
        return function(*args, **kwargs)

    return checked


def check_keywords(values: Mapping[str, object], kind: type) -> None:
    """The same for keyword arguments of a `TypedDict`.

    Raises:
        UsageError: as that of `typed`.
    """
    _check(values, {name: one.__forward_arg__ for name, one in kind.__annotations__.items()})


def _check(values: Mapping[str, object], annotations: Mapping[str, str]) -> None:
    for name, value in values.items():
        kind, _, rest = annotations[name].partition(" | ")
        if kind not in _KINDS or rest not in ("", "None"):
            continue
        expected, fits = _KINDS[kind]
        if not (fits(value) or (rest and value is None)):
            raise UsageError(f"{name}={in_short(value)}: expected {expected}")
