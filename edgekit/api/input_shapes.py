"""``--input-shape``: shapes of inputs whose sizes files leave open."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.core.text import in_short
from edgekit.errors import UsageError

LARGEST_INPUT = 2**28
"""Most numbers of an input: 1 GiB in float32."""

Shapes = dict[str, tuple[int, ...]]
"""By the name of the input; an empty one where none is said."""


def stated_shapes(value: object) -> list[str]:
    """Shapes as `shapes_of` takes them, of sizes, a mapping of names to sizes, or such texts.

    Raises:
        UsageError: something else.
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [f"{name}={_joined(sizes)}" for name, sizes in value.items()]
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return list(value)
    return [_joined(value)]


def _joined(sizes: object) -> str:
    if not isinstance(sizes, list | tuple) or not all(type(one) is int for one in sizes):
        raise UsageError(
            f"input_shape={in_short(sizes)}: expected sizes, such as (1, 3, 224, 224), or a "
            f"dictionary of "
            f"them by the name of the input"
        )
    return ",".join(map(str, sizes))


def shapes_of(
    texts: Sequence[str], source: str, files: Sequence[str]
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Shapes that are for the inputs of a file, by name; an empty one where none is said.

    One for this file counts more than one for all: files may have an input of one name, and differ
    in the order of its sizes.

    Args:
        texts: as they were typed, ``[FILE:][NAME=]N,N,...``.
        source: the file.
        files: all that were named.

    Raises:
        UsageError: one is no list of sizes, or an input has two.
    """
    shapes: dict[str, Shapes] = {}
    for text in texts:
        file, rest = _split(text, files)
        name, shape = _parsed(text, rest)
        known = shapes.setdefault(file, {})
        if name in known or (known and "" in (name, *known)):
            what = f"'{name}' twice" if name in known else "an input without its name beside others"
            raise UsageError(f"--input-shape {text} gives {what}: expected one shape for each")
        known[name] = shape
    own = shapes.get(source) or shapes.get(Path(source).name) or {}
    general = shapes.get("", {})
    if own and "" in {**general, **own}:
        return tuple(own.items())
    return tuple({**general, **own}.items())


def _split(text: str, files: Sequence[str]) -> tuple[str, str]:
    """The file that a text begins with, '' where there is none, and the rest."""
    names = {*files, *(Path(file).name for file in files)}
    file = max((name for name in names if text.startswith(f"{name}:")), key=len, default=None)
    return ("", text) if file is None else (file, text[len(file) + 1 :])


def _parsed(text: str, rest: str) -> tuple[str, tuple[int, ...]]:
    name, told, sizes = rest.rpartition("=")
    sides = [word.strip() for word in sizes.split(",")]
    if bool(told) != bool(name) or not all(re.fullmatch("[0-9]{1,10}", w) for w in sides):
        raise UsageError(
            f"--input-shape {text}: expected whole numbers between commas, as in 1,3,224,224, "
            f"behind the name of an input and '=' where a file has several, and behind FILE: "
            f"where it is for one of several files"
        )
    shape = tuple(map(int, sides))
    if not all(shape):
        raise UsageError(f"--input-shape {text}: expected sizes from 1 on")
    if math.prod(shape) > LARGEST_INPUT:
        raise UsageError(
            f"--input-shape {text}: {math.prod(shape):,} numbers, expected at most "
            f"{LARGEST_INPUT:,}"
        )
    return name, shape
