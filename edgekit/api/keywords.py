"""Keyword arguments that several functions share, turned into the records of the library.

They are called as the options of the command line are, with ``_`` for ``-``.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from edgekit.api.checking import check_keywords
from edgekit.core import FormError, from_json, to_json
from edgekit.core.text import in_short
from edgekit.errors import UnknownNameError, UsageError
from edgekit.registry import names_of
from edgekit.stated import NO_RESIZE, NOTHING, Stated

if TYPE_CHECKING:
    from edgekit.core import Side
    from edgekit.models.taking import Size

Record = TypeVar("Record")

StrPath = str | os.PathLike[str]
"""Text, or a path."""

Numbers = float | Sequence[float]


class Said(TypedDict, total=False):
    """What somebody says of a network's images and classes; see `edgekit.Stated`.

    Attributes:
        labels: class names by output, or a file of them.
        mean: of all channels, or of each; so is ``std``.
    """

    labels: Sequence[str] | os.PathLike[str]
    mean: Numbers
    std: Numbers
    scale: float
    resize: int | Sequence[int] | str
    fit: str
    pad: int
    interpolation: str
    channel_order: str


class IntegerKeywords(TypedDict, total=False):
    """How files of integers are made; see `edgekit.quantize.integers.Integers`.

    Attributes:
        calibration: SRC of the images that ranges come from.
        io: ``float`` or ``int8``: of inputs and outputs.
        float_layers: paths of modules to keep in float.
        isa: processor that they are for.
        max_drop: points of the headline figure that may be lost.
        tune: measure which of several equal forms is fastest here.
        qat_epochs: of quantization-aware training, the last way of ``max_drop``.
    """

    calibration: StrPath
    calibration_images: int
    ranges: str
    io: str
    float_layers: str | Sequence[str]
    isa: str
    max_drop: float
    tune: bool
    qat_epochs: int


class NetworkKeywords(TypedDict, total=False):
    """How a network is opened.

    Attributes:
        weights: checkpoint or state dict, for a network that is named, or a module.
        resolution: side of its image in pixels, or height and width.
        size: of its image, where it is no square: (height, width).
        example: inputs of one inference, of a network that takes anything else than one image.
        outputs: names of those to keep.
        task: what they are for.
    """

    weights: StrPath | None
    resolution: Side | None
    size: Size | None
    example: Any
    outputs: str | Sequence[str]
    task: str | None


class ExportKeywords(NetworkKeywords, Said, IntegerKeywords, total=False):
    """All of an export."""


_OF_INTEGERS = {
    "calibration": "data",
    "calibration_images": "images",
    "io": "interface",
    "isa": "processor",
    "qat_epochs": "epochs",
}
"""Arguments that are called otherwise than the field of `Integers` that they fill."""


def text_of(value: object, what: str) -> str | None:
    """Text, or a path as text; ``None`` stays.

    Args:
        what: the argument's name, for the message.

    Raises:
        UsageError: something else.
    """
    if value is None or isinstance(value, str | os.PathLike):
        return None if value is None else os.fspath(value)
    raise UsageError(f"{what}={in_short(value)}: expected a name or a path")


def record_of(
    kind: type[Record],
    values: Mapping[str, object],
    base: Record,
    ignored: Sequence[str] = (),
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> Record:
    """A record with values in place of its own.

    Args:
        values: by the name of the argument, which is that of the field.
        ignored: fields that are no arguments.
        renamed: fields of arguments that are called otherwise.

    Raises:
        UnknownNameError: there is no such argument.
        UsageError: a value of another type.
    """
    assert dataclasses.is_dataclass(kind)
    known = [field.name for field in dataclasses.fields(kind) if field.name not in ignored]
    arguments = {field: name for name, field in renamed.items()}
    refuse_unknown(values, [arguments.get(field, field) for field in known])
    fields = {name: value for name, value in to_json(base).items() if name in known}
    for name, value in values.items():
        field = renamed.get(name, name)
        try:
            checked = from_json(kind, {**fields, field: to_json(_plain(value))})
        except FormError as error:
            raise UsageError(
                f"{name}={in_short(value)}: expected {error.wanted(_KINDS)}"
            ) from error
        fields[field] = to_json(getattr(checked, field))
    made: Record = from_json(kind, fields)
    return made


_KINDS = {
    "bool": "True or False",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "a list": "several, in a list",
}


def refuse_unknown(values: Mapping[str, object], known: Sequence[str]) -> None:
    """Refuses arguments that a function does not have.

    Raises:
        UnknownNameError: names the nearest ones.
    """
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"expected one of {', '.join(known)}" if not near else "see its documentation"
            raise UnknownNameError("argument", name, known, hint)


def split(values: Mapping[str, object], kind: type) -> tuple[dict[str, object], dict[str, object]]:
    """Arguments of a `TypedDict`, and the others."""
    own = {k: v for k, v in values.items() if k in kind.__annotations__}
    return own, {k: v for k, v in values.items() if k not in own}


def network_of(keywords: Mapping[str, object]) -> dict[str, Any]:
    """Arguments of `edgekit.models.taking.model_of`.

    Args:
        keywords: of `NetworkKeywords`.

    Raises:
        UnknownNameError: another one.
        UsageError: a value of another type.
    """
    refuse_unknown(keywords, [*NetworkKeywords.__annotations__])
    check_keywords(keywords, NetworkKeywords)
    return {**keywords, "weights": text_of(keywords.get("weights"), "weights")}


def stated_of(said: Mapping[str, object], base: Stated = NOTHING) -> Stated:
    """What was said of images and classes.

    Args:
        said: of `Said`.
        base: what else was said, which counts less.

    Raises:
        UsageError: a value that cannot be.
        DataError: a file of labels that cannot be used.
    """
    if not isinstance(base, Stated):
        raise UsageError(f"stated={in_short(base)}: expected an edgekit.Stated")
    fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    given = {name: value for name, value in {**fields, **said}.items() if value is not None}
    for name in ("mean", "std"):
        if name not in given:
            continue
        value = _plain(given[name])
        several = value if isinstance(value, list) else [value]
        if not all(isinstance(one, int | float) and type(one) is not bool for one in several):
            raise UsageError(
                f"{name}={in_short(given[name])}: expected a number, or one for each channel in "
                f"a list"
            )
        given[name] = several
    if "labels" in given:
        given["labels"] = _labels(given["labels"])
    if "resize" in given:
        given["resize"] = _side(given["resize"])
    return record_of(Stated, given, NOTHING)


def _labels(value: object) -> object:
    from edgekit.data.labels import read_labels

    if isinstance(value, str | os.PathLike):
        return read_labels(Path(value))
    if isinstance(value, Mapping):
        raise UsageError("labels: expected names by output in a list, or a file of them")
    return _plain(value)


def _side(value: object) -> object:
    if isinstance(value, str) and value != NO_RESIZE:
        raise UsageError(
            f"resize={in_short(value)}: expected pixels, height and width, or '{NO_RESIZE}'"
        )
    return value


def integers_of(keywords: Mapping[str, object]) -> Any:
    """How files of integers are made, as `edgekit.quantize.integers.Integers`.

    Args:
        keywords: of `IntegerKeywords`.

    Raises:
        UsageError: a value of another type.
    """
    from edgekit.quantize.integers import Integers

    given = {name: value for name, value in keywords.items() if value is not None}
    if "calibration" in given:
        given["calibration"] = text_of(given["calibration"], "calibration")
    if given.get("float_layers"):
        given["float_layers"] = names_of(given["float_layers"], "float_layers")
    return record_of(Integers, given, Integers(), renamed=_OF_INTEGERS, ignored=("device",))


def _plain(value: object) -> object:
    """A value without NumPy's or torch's own types."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
