"""Options by which somebody says how images are prepared for a network of their own."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from edgekit.core.preprocessing import CHANNEL_ORDERS, FITS, INTERPOLATIONS

Command = TypeVar("Command", bound=Callable[..., Any])


def _numbers(context: click.Context, option: click.Parameter, text: str | None) -> Any:
    """Numbers with commas between them, each maybe a fraction; of ``--scale`` only one."""
    if text is None:
        return None
    most = 1 if option.name == "scale" else 4
    try:
        numbers = tuple(_number(word) for word in text.split(","))
    except (ValueError, ZeroDivisionError):
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)) or len(numbers) > most:
        several = f"1 to {most} finite numbers, with commas"
        expected = "a finite number, such as 1/255" if most == 1 else several
        raise click.BadParameter(f"{text}: expected {expected}", context, option)
    return numbers[0] if most == 1 else numbers


def _number(word: str) -> float:
    upper, stroke, lower = word.partition("/")
    return float(upper) / float(lower) if stroke else float(word)


def _resize(context: click.Context, option: click.Parameter, text: str | None) -> Any:
    """``256``, ``HEIGHTxWIDTH`` or ``none``."""
    if text is None or text.lower() == "none":
        return None if text is None else "none"
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise click.BadParameter(f"{text}: expected pixels, HEIGHTxWIDTH or none", context, option)
    sides = tuple(int(part[:9]) for part in parts)  # what is longer is too large anyway
    return sides[0] if len(sides) == 1 else sides


_OPTIONS = (
    click.option("--mean", callback=_numbers, metavar="X[,X]",
                 help="Of the network's images, per channel: value = (v x scale - mean) / std."),
    click.option("--std", callback=_numbers, metavar="X[,X]", help="See --mean."),
    click.option("--scale", callback=_numbers, metavar="X", help="Of 8-bit values, such as 1/255."),
    click.option("--resize", callback=_resize, metavar="PX|HxW|none",
                 help="Shorter side before the middle is cut out, or least height and width."),
    click.option("--fit", type=click.Choice(FITS), help="How images come to the network's size."),
    click.option("--pad", type=int, metavar="0-255", help="Value around a letterboxed image."),
    click.option("--interpolation", type=click.Choice(INTERPOLATIONS)),
    click.option("--channel-order", type=click.Choice(CHANNEL_ORDERS), help="L is grey."),
    click.option("--labels", type=click.Path(path_type=Path), metavar="FILE",
                 help="Class names by output: one on each line, or a JSON list."),
)  # fmt: skip


def stated_options(command: Command) -> Command:
    """The options; the command gets them as ``stated``, an `edgekit.stated.Stated`."""

    @functools.wraps(command)
    def with_stated(*arguments: Any, **options: Any) -> Any:
        names = ("mean", "std", "scale", "resize", "fit", "pad", "interpolation", "channel_order")
        said = {name: options.pop(name) for name in names}
        labels = options.pop("labels")
        return command(*arguments, stated=_stated(said, labels), **options)

    wrapped: Any = with_stated
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return cast(Command, wrapped)


def _stated(said: dict[str, Any], labels: Path | None) -> Any:
    from edgekit.data.labels import read_labels
    from edgekit.stated import Stated

    return Stated(**said, labels=None if labels is None else read_labels(labels))
