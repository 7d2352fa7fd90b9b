"""What notebooks and scripts hand over: networks and names in whatever form they have them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgekit.errors import UsageError
from edgekit.models.source import Model, from_module, open_model
from edgekit.training.loop import TrainingResult

Network = str | Path | nn.Module | Model | TrainingResult
"""MODEL as people write it, a path, a finished training, an open model, or a module."""


def names_of(value: object, what: str) -> list[str]:
    """Names as a list; one alone, or several with commas, are taken, too.

    Args:
        what: the argument's name, for the message.

    Raises:
        UsageError: something else.
    """
    if isinstance(value, str):
        found = [word.strip() for word in value.split(",") if word.strip()]
        if found:
            return found
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        found = list(value)
        if found and all(isinstance(one, str) for one in found):
            return found
    raise UsageError(f"{what}={value!r}: expected a name, or several of them in a list")


def model_of(
    network: object,
    *,
    weights: Path | str | None = None,
    resolution: int | None = None,
    example: Any = None,
    outputs: Sequence[str] | str = (),
    task: str | None = None,
    name: str | None = None,
) -> Model:
    """An open model of anything that stands for a network.

    Args:
        network: see `Network`.
        weights: checkpoint or state dict, for a zoo name or callable.
        resolution: input side in pixels, instead of the network's own.
        example: inputs of one inference, where an image is none: tensors or arrays, as of
            `edgekit.models.interface.arguments`, or words of
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
    if name is not None and not isinstance(network, nn.Module):
        raise UsageError("name goes with modules: all else has one")
    given = {
        "weights": weights, "resolution": resolution, "example": example,
        "outputs": kept or None, "task": task,
    }  # fmt: skip
    if isinstance(network, Model):
        _refuse(given, "an open model, which has them already: give them to open_model()")
        return network
    if isinstance(network, nn.Module):
        _refuse({"weights": weights}, "a module, which has weights: load them into it")
        return from_module(
            network,
            name or type(network).__name__.lower(),
            example=example,
            resolution=resolution,
            outputs=kept,
            task=task,
        )
    if isinstance(network, TrainingResult):
        network = network.run
    if not isinstance(network, str | os.PathLike):
        raise UsageError(
            f"model={network!r}: expected a name, a path, a torch.nn.Module, or what train() or "
            f"open_model() gives"
        )
    return open_model(
        str(network),
        weights=None if weights is None else Path(weights),
        resolution=resolution,
        example=example,
        outputs=kept,
        task=task,
    )


def _refuse(given: dict[str, Any], what: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} goes with names of networks, and this is {what}")
