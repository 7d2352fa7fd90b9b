"""What a network is called with: anything made of tensors, taken apart and put together again."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgekit.core.reading import parse_json


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a network is called with.

    Attributes:
        args: by position; anything made of tensors.
        kwargs: by name.
        names: of those by position, where the network's code does not tell them.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    names: tuple[str, ...] = ()


def arguments(example: object) -> Arguments:
    """An example as people give it: a tensor, several in a tuple or list, or a mapping by names."""
    if isinstance(example, Arguments):
        return example
    if isinstance(example, Mapping):
        return Arguments((), {str(name): value for name, value in example.items()})
    if isinstance(example, tuple | list):
        return Arguments(tuple(example))
    return Arguments((example,))


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What something is made of, with the way to it; what is ``None`` is left out."""
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from leaves(one, (*path, str(key)))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for name, one in zip(value._fields, value, strict=True):
            yield from leaves(one, (*path, name))
    elif isinstance(value, tuple | list):
        for i, one in enumerate(value):
            yield from leaves(one, (*path, str(i)))
    else:
        yield path, value


def mapped(given: Arguments, change: Callable[[Tensor], Tensor]) -> Arguments:
    """The same with each tensor changed."""

    def changed(value: Any) -> Any:
        return rebuilt(value, iter([change(one) for _, one in leaves(value)]))

    return Arguments(
        tuple(map(changed, given.args)),
        {name: changed(one) for name, one in given.kwargs.items()},
        given.names,
    )


def refilled(own: Arguments, example: object) -> Arguments:
    """What a network is called with, with the tensors of an example in their places.

    Args:
        own: as the network has to be called.
        example: the same tensors in any form: by the names of ``own``, or in its order. Where they
            are of another number, it stays as it is.
    """
    given = arguments(example)
    keywords = dict(given.kwargs)
    if keywords and not given.args and set(keywords) == set(own.names):
        given = Arguments(tuple(keywords[name] for name in own.names))
    tensors = [one for _, one in leaves((*given.args, given.kwargs))]
    if len(tensors) != sum(1 for _ in leaves((*own.args, own.kwargs))):
        return arguments(example)
    parts = iter(tensors)
    args = tuple(rebuilt(one, parts) for one in own.args)
    kwargs = {name: rebuilt(one, parts) for name, one in own.kwargs.items()}
    return Arguments(args, kwargs, own.names)


def rebuilt(value: Any, tensors: Iterator[Any]) -> Any:
    """The same with other tensors, in the order of `leaves`."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: rebuilt(one, tensors) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        copied = copy.copy(value)
        for name in fields:
            object.__setattr__(copied, name, rebuilt(getattr(value, name), tensors))
        return copied
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(rebuilt(one, tensors) for one in value))
    if isinstance(value, tuple | list):
        return type(value)(rebuilt(one, tensors) for one in value)
    return next(tensors)


_KINDS: Mapping[str, type] = {"tuple": tuple, "list": list}


def written(given: Arguments) -> str | None:
    """What a network is called with, without its tensors, as JSON text; `read` gives it back.

    Tensors are 0; a tuple, list or mapping begins with the name of its kind.

    Returns:
        ``None`` where it has objects of other classes in it, which would be the user's code.
    """

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, Tensor):
            return value if value is None else 0
        if type(value) in (tuple, list):
            return [type(value).__name__, *map(plain, value)]
        if type(value) is dict and all(isinstance(key, str) for key in value):
            return ["dict", *([key, plain(one)] for key, one in value.items())]
        raise TypeError

    try:
        parts = (plain(tuple(given.args)), plain(dict(given.kwargs)), list(given.names))
    except TypeError:
        return None
    return json.dumps(parts, separators=(",", ":"))


def read(text: str) -> Arguments:
    """What `written` gives, with empty tensors.

    Raises:
        ValueError: it is something else.
    """

    def value(plain: Any) -> Any:
        if plain is None:
            return None
        if plain == 0 and type(plain) is int:
            return torch.zeros(0)
        kind, *parts = plain
        if kind == "dict":
            return {str(key): value(one) for key, one in parts}
        return _KINDS[kind](map(value, parts))

    try:
        args, kwargs, names = parse_json(text)
        arguments = Arguments(value(args), value(kwargs), tuple(map(str, names)))
        if not isinstance(arguments.args, tuple) or not isinstance(arguments.kwargs, dict):
            raise TypeError
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError("its arguments are not what edgekit writes") from error
    return arguments
