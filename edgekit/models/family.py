"""What a family of networks provides to the rest of edgekit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from edgekit.core import ModelSpec, Row
from edgekit.errors import ModelError

if TYPE_CHECKING:
    from edgekit.models.foreign import Layout


@dataclass(frozen=True, slots=True)
class Family:
    """A family: its published variants and the code that builds any network of it.

    Attributes:
        variants: canonical name -> function from width multiplier to spec.
        build: module of a spec; takes (N, 3, H, W), gives (N, classes).
        stride: pixels of the input per pixel of the last feature map: the smallest resolution.
        layouts: `edgekit.models.foreign.Layout` of each library whose weights are understood.
    """

    variants: Mapping[str, Callable[[float], ModelSpec]]
    build: Callable[[ModelSpec], nn.Module]
    stride: Callable[[ModelSpec], int]
    layouts: tuple[Layout, ...] = ()


TypedRow = TypeVar("TypedRow")


def plain_rows(rows: Iterable[Any]) -> tuple[Row, ...]:
    """Typed rows as the plain mappings that a spec holds."""
    return tuple(dataclasses.asdict(row) for row in rows)


def typed_rows(spec: ModelSpec, kind: type[TypedRow]) -> list[TypedRow]:
    """The rows of a spec as the family's own row type.

    Raises:
        ModelError: a row has other columns than the family's.
    """
    try:
        return [kind(**row) for row in spec.rows]
    except TypeError as error:
        raise ModelError(
            f"the rows of '{spec.name}' are not rows of family '{spec.family}': {error}"
        ) from error


def round_channels(channels: float, divisor: int = 8, least: float = 0.9) -> int:
    """Rounds to a multiple of ``divisor`` and keeps at least the share ``least``.

    The rule of the MobileNet reference code, used by every family since V2.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < least * channels else rounded


def scaled_name(name: str, width: float) -> str:
    """Canonical name with its multiplier: ``mobilenetv2@0.75``; none for 1."""
    return name if width == 1.0 else f"{name}@{width:g}"
