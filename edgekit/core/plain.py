"""Records to plain JSON data and back, with every name and type checked."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

Record = TypeVar("Record")


class FormError(ValueError):
    """A value of another type than the field of a record has.

    Attributes:
        key: of the field, below the record: ``head[0]``.
        expected: types that it may be of, as in ``int`` or ``a list``.
        found: the value, or its type.
    """

    def __init__(self, where: str, expected: Sequence[str], found: str) -> None:
        super().__init__(f"{where}: expected {' or '.join(expected)}, found {found}")
        self.key, self.expected, self.found = where.partition(".")[2], expected, found

    def wanted(self, terms: Mapping[str, str]) -> str:
        """What was expected, with other terms for types."""
        return " or ".join(terms.get(one, one) for one in self.expected)


SPARSE: Mapping[str, bool] = {"sparse": True}
"""Metadata of fields that are left out of JSON data where they have their default: those that came
later, so that data and digests of records without them are as they were."""


APART: Mapping[str, bool] = {"apart": True}
"""Metadata of fields with a default that are no part of JSON data at all, such as an array."""


def named(key: str) -> Mapping[str, str]:
    """Metadata of fields that have another name in JSON data, which older data has."""
    return {"key": key}


def _key(f: dataclasses.Field[Any]) -> str:
    return str(f.metadata.get("key", f.name))


def to_json(record: Any) -> Any:
    """Turns a record into plain JSON data; tuples become lists, paths become strings."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        values = ((f, getattr(record, f.name)) for f in dataclasses.fields(record))
        return {
            _key(f): to_json(value)
            for f, value in values
            if not (f.metadata.get("apart") or (f.metadata.get("sparse") and value == f.default))
        }
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [to_json(value) for value in record]
    if isinstance(record, Path):
        return str(record)
    return record


def from_json(kind: type[Record], data: Any, *, more: bool = False) -> Record:
    """Builds a record from plain JSON data, checking every name and type.

    Args:
        more: leave keys aside that the record does not have, as documents of later versions do.

    Raises:
        ValueError: a key is missing or unknown; the message names it by its path.
        FormError: one holds a value of another type.
    """
    return typing.cast(Record, _decode(kind, data, kind.__name__, more))


def canonical_json(data: Any) -> str:
    """JSON text that is the same for the same data: sorted keys, no spaces."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _decode(kind: Any, data: Any, where: str, more: bool) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_record(kind, data, where, more)
    if origin in (Union, types.UnionType):
        return _decode_union(typing.get_args(kind), data, where, more)
    if origin is tuple:
        if not isinstance(data, list):
            raise FormError(where, ("a list",), type(data).__name__)
        (item, *others) = typing.get_args(kind)
        if others != [...] and len(data) != 1 + len(others):
            raise FormError(where, (f"{1 + len(others)} values",), f"{len(data)}")
        return tuple(_decode(item, value, f"{where}[{i}]", more) for i, value in enumerate(data))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, dict):
            raise FormError(where, ("an object",), type(data).__name__)
        item = typing.get_args(kind)[1]
        return {key: _decode(item, value, f"{where}.{key}", more) for key, value in data.items()}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise FormError(where, (kind.__name__,), repr(data))
    return data


def _decode_record(kind: Any, data: Any, where: str, more: bool) -> Any:
    if not isinstance(data, dict):
        raise FormError(where, ("an object",), type(data).__name__)
    hints = typing.get_type_hints(kind)
    fields = {_key(f): f for f in dataclasses.fields(kind) if not f.metadata.get("apart")}
    unknown = sorted(set(data) - set(fields))
    if unknown and not more:
        raise ValueError(f"{where}: unknown key '{unknown[0]}'")
    for key, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and key not in data:
            raise ValueError(f"{where}: key '{key}' is missing")
    values = {
        fields[key].name: _decode(hints[fields[key].name], value, f"{where}.{key}", more)
        for key, value in data.items()
        if key in fields
    }
    return kind(**values)


def _decode_union(kinds: Sequence[Any], data: Any, where: str, more: bool) -> Any:
    if data is None and type(None) in kinds:
        return None
    choices = [kind for kind in kinds if kind is not type(None)]
    lists = [kind for kind in choices if typing.get_origin(kind) is tuple]
    exact = [kind for kind in choices if type(data) is kind]
    if isinstance(data, list):
        exact = lists
    problems = []
    for kind in exact or choices:
        try:
            return _decode(kind, data, where, more)
        except ValueError as error:
            problems.append(error)
    if lists and not exact and len(choices) > len(lists):
        first = next(kind for kind in choices if kind not in lists)
        raise FormError(where, (first.__name__, "a list"), repr(data))
    raise problems[0] if problems else FormError(where, ("null",), repr(data))
