"""What notebooks and scripts hand over: networks and names in whatever form they have them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgekit import registry, tables
from edgekit.core import Side
from edgekit.core.preprocessing import pair
from edgekit.core.text import in_short
from edgekit.errors import UnavailableError, UnknownNameError, UsageError
from edgekit.models import find_spec, pretrained
from edgekit.models.callables import called
from edgekit.models.model import Model
from edgekit.models.outside import from_module
from edgekit.models.source import FILE_SUFFIXES, open_model
from edgekit.registry import names_of

Network = str | os.PathLike[str] | nn.Module | Model | Callable[[], nn.Module]
"""MODEL as people write it, a path, a finished training (which has one), an open model, a module,
or a function without arguments that gives one."""

Size = int | Sequence[int] | str
"""Side of a square image in pixels, or height and width, also as ``96x160``."""


def size_of(value: object) -> tuple[int, int]:
    """Height and width of images, of whatever stands for a `Size`.

    Raises:
        UsageError: something else.
    """
    sides: Sequence[object] = ()
    if isinstance(value, int) and not isinstance(value, bool):
        sides = (value, value)
    elif isinstance(value, str):
        parts = value.lower().split("x")
        sides = [int(w) if w.isascii() and w.isdigit() else w for w in parts] * (3 - len(parts))
    elif isinstance(value, list | tuple):
        sides = value
    if len(sides) == 2 and all(type(side) is int for side in sides):
        height, width = sides
        assert isinstance(height, int)
        assert isinstance(width, int)
        return height, width
    raise UsageError(
        f"size={in_short(value)}: expected pixels of a square, or height and width, such as (96, "
        f"160)"
    )


def is_network(value: object) -> bool:
    """Whether something stands for a network that has no name: a module, or what makes one."""
    return isinstance(value, nn.Module | Model) or callable(value)


def model_of(
    network: object,
    *,
    weights: Path | str | None = None,
    resolution: Side | None = None,
    size: object = None,
    classes: int | None = None,
    example: Any = None,
    outputs: Sequence[str] | str = (),
    task: str | None = None,
    name: str | None = None,
) -> Model:
    """An open model of anything that stands for a network.

    Args:
        network: see `Network`.
        weights: checkpoint or state dict, for a zoo name, callable or module; for a zoo name also
            `edgekit.tables.PRETRAINED`.
        resolution: input side in pixels, instead of the network's own.
        size: the same in other forms, see `Size`.
        classes: see `edgekit.models.source.open_model`.
        example: inputs of one inference, where an image is none: tensors or arrays, as of
            `edgekit.models.arguments.arguments`, or text for
            `edgekit.models.examples.open_example`.
        outputs: names of those to keep; all if empty.
        task: what they are for; see `edgekit.models.source.open_model`.
        name: of files, for a module; that of its class if ``None``.

    Raises:
        UsageError: it stands for none, or options do not go with it.
    """
    kept = names_of(outputs, "outputs") if outputs else []
    if isinstance(example, os.PathLike):
        example = os.fspath(example)
    resolution, example = _sized(resolution, size, example)
    named = not is_network(network)
    if name is not None and (named or isinstance(network, Model)):
        raise UsageError("name goes with modules: all else has one")
    given = {
        "weights": weights, "resolution": resolution, "example": example,
        "outputs": kept or None, "task": task,
    }  # fmt: skip
    if isinstance(network, Model):
        _refuse(given, "an open model, which has them already: give them to open_model()")
        return network
    if not named:
        module, own = _module(network)
        return from_module(
            module,
            name or own,
            weights=None if weights is None else Path(weights),
            example=example,
            resolution=resolution,
            outputs=kept,
            task=task,
        )
    if weights == tables.PRETRAINED and isinstance(network, str):
        weights = fetched(network, resolution)
    if not isinstance(network, str | os.PathLike):
        several = isinstance(network, Sequence) and len(network) > 0
        cure = "give one of those that it holds, such as the first, [0]; " if several else ""
        raise UsageError(
            f"model={in_short(network)}: {cure}expected a name, a path, a torch.nn.Module, a "
            f"function that gives "
            f"one, or what train() or open_model() gives"
        )
    return open_model(
        os.fspath(network),
        weights=None if weights is None else Path(weights),
        resolution=resolution,
        classes=classes,
        example=example,
        outputs=kept,
        task=task,
    )


def fetched(
    source: str,
    resolution: Side | None = None,
    *,
    may_download: bool = True,
    report: pretrained.Report | None = None,
) -> Path:
    """The published weights of a zoo network, from the cache or the network.

    Args:
        source: its name.
        resolution: that the network is to have, pixels; a wrong one fails before the download.
        may_download: false where several processes would do it at once.
        report: see `edgekit.models.pretrained.fetch`.

    Raises:
        UsageError: no zoo network, none that has published weights, or none of that resolution.
        UnavailableError: it is not in the cache, and must not be downloaded.
        EdgekitError: see `edgekit.models.pretrained.fetch`.
    """
    looks_otherwise = ":" in source or os.sep in source or Path(source).suffix in FILE_SUFFIXES
    try:
        if looks_otherwise:
            raise UnknownNameError("model", source, (), "")
        name = registry.canonical_name(source)
    except UnknownNameError as error:
        if not looks_otherwise and not Path(source).exists():
            raise
        raise UsageError(
            f"--pretrained goes with a zoo name, and '{source}' is none: leave it out, or see "
            f"'edgekit list models'"
        ) from error
    file = pretrained.published(name).file
    find_spec(source, resolution=None if resolution is None else min(pair(resolution)))
    if not may_download and not (pretrained.cache_folder() / file).exists():
        raise UnavailableError(
            f"the weights of {name} are not there yet, and several processes would download them "
            f"at once: fetch them with 'edgekit describe {name} --pretrained' first"
        )
    return pretrained.fetch(name, report or (lambda done, total: None))


def _sized(resolution: Side | None, size: object, example: Any) -> tuple[Side | None, Any]:
    """``size`` in place of ``resolution``."""
    if size is None:
        return resolution, example
    if resolution is not None or example is not None:
        other = "example" if resolution is None else "resolution"
        raise UsageError(f"size and {other} both say how large inputs are: give one of them")
    height, width = size_of(size)
    return (height if height == width else (height, width)), None


def _module(network: object) -> tuple[nn.Module, str]:
    """A module and a name for its files."""
    if isinstance(network, nn.Module):
        return network, type(network).__name__.lower()
    given = str(getattr(network, "__name__", type(network).__name__)).strip("<>")
    made = called(network, given, "a torch.nn.Module")
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"model={given}: it gives a {type(made).__name__}: expected a function without "
            f"arguments that returns a torch.nn.Module"
        )
    return made, (type(network).__name__ if given == "lambda" else given).lower()


def _refuse(given: dict[str, Any], what: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} goes with names of networks, and this is {what}")
