"""Networks that code from outside the zoo makes: a library's, a callable, a module, a program."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit import registry
from edgekit.core import CLASSIFY, Side
from edgekit.core.names import shown
from edgekit.errors import CheckpointError
from edgekit.models.adapted import needed_code
from edgekit.models.arguments import refilled
from edgekit.models.asked import Asked, asked_for, check_resolution
from edgekit.models.callables import GIVEN, is_fresh, open_callable
from edgekit.models.checkpoints import adapted_model, size_of, with_training
from edgekit.models.composed import canonical
from edgekit.models.composed_model import opened_checkpoint
from edgekit.models.copying import own_copy
from edgekit.models.libraries import LIBRARIES, open_library
from edgekit.models.model import Model
from edgekit.models.program import open_program
from edgekit.models.tensor_files import sha256
from edgekit.models.weights import (
    Checkpoint,
    checkpoint_file,
    is_checkpoint,
    load_checkpoint,
    load_into,
    load_state,
)

_SIDE = 224  # pixels, of networks that nobody says a size of


def library_model(source: str, weights: Path | None, classes: int | None, asked: Asked) -> Model:
    """A network of a library, such as ``timm:NAME``.

    Args:
        weights: checkpoint or state dict.
        classes: instead of the library's number, or of that of ``weights``.
    """
    adapted = adapted_model(source, weights, asked.size or asked.side)
    if adapted is not None:
        return asked.of(adapted)
    asked = asked.at(size_of(weights))
    state = None if weights is None else load_state(weights)
    if classes is None and weights is not None and is_checkpoint(weights):
        classes = len(load_checkpoint(weights).labels)
    # The same fresh weights every time, as for zoo networks.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = open_library(source, classes)
    if state is not None:
        load_into(made.module, state, str(weights))
    side = made.resolution if asked.side is None else asked.side
    check_resolution(source, side)
    module = made.module.eval()
    preprocessing = made.preprocessing
    model = Model(
        source,
        source.partition(":")[2],
        module,
        side,
        0,
        trained=state is not None,
        preprocessing=None
        if preprocessing is None or asked.example is not None
        else preprocessing.at(side),
        parent_sha256=None if weights is None else sha256(checkpoint_file(weights)),
        code=source,
    )
    model = asked.judged(model)
    if model.signature is not None and model.call is not None:
        model = dataclasses.replace(
            model, call=dataclasses.replace(model.call, classes=classes or 0)
        )
    return with_training(model, weights)


def callable_model(source: str, weights: Path | None, asked: Asked) -> Model:
    """What ``package.module:callable`` gives.

    Args:
        weights: checkpoint or state dict; as it is made if ``None``.
    """
    own = asked.at(size_of(weights))
    side = _SIDE if own.side is None else own.side
    check_resolution(source, side)
    # The same fresh weights every time, as for zoo networks.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = open_callable(source).eval()
    adapted = adapted_model(source, weights, asked.size or asked.side, module)
    if adapted is not None:
        return asked.of(adapted)
    name = source.rpartition(":")[2]
    return _filled(Model(source, name, module, side, 0, code=source), weights, own)


def from_module(
    module: nn.Module,
    name: str,
    *,
    weights: Path | None = None,
    example: Any = None,
    resolution: Side | None = None,
    outputs: Sequence[str] = (),
    task: str | None = None,
) -> Model:
    """A network that is there already.

    Args:
        module: it stays as it is, in whatever mode: a copy in eval mode is used.
        name: for files.
        weights: checkpoint or state dict in place of those that it has; what a checkpoint says of
            images and classes counts, too.
        example: inputs of one inference; see `edgekit.models.arguments.arguments`.
        resolution: side of the image that it takes where there is no example, or height and width.
        outputs: see `edgekit.models.source.open_model`.
        task: as well.

    Raises:
        ModelError: it gives nothing that can be used.
    """
    own = asked_for(name, resolution, example, outputs, task)
    asked = own.at(size_of(weights))
    side = _SIDE if asked.side is None else asked.side
    check_resolution(name, side)
    given = own_copy(module).eval()
    # Whoever reads the name in a file must not take it for a network of edgekit's own.
    source = f"{GIVEN}{name}" if registry.is_network(name) else name
    adapted = adapted_model(source, weights, own.size or own.side, given)
    if adapted is not None:
        return own.of(adapted)
    model = Model(source, name, own_copy(given), side, 0, given=given)
    return _filled(model, weights, asked)


def program_model(source: str, asked: Asked) -> Model:
    """An exported program, of its path."""
    path = Path(source)
    module, side, example = open_program(
        path, asked.size or asked.side, classify=asked.task == CLASSIFY
    )
    if example is not None:
        given = example if asked.example is None else refilled(example, asked.example)
        asked = dataclasses.replace(asked, example=given)
    model = Model(source, path.stem, module, side, 0, trained=True, parent_sha256=sha256(path))
    return asked.judged(model)


def own_model(source: str, path: Path, checkpoint: Checkpoint, size: Side | None) -> Model:
    """A checkpoint of a network that is not of the zoo.

    A library's is built again by its name, and one of a backbone and a head. A
    callable's is not: a checkpoint may come from anywhere, and what it names would be run.
    """
    named = checkpoint.model
    if registry.is_composed(named):
        try:
            return opened_checkpoint(source, canonical(named), path, checkpoint, Asked().at(size))
        except CheckpointError as error:
            if not registry.stands_alone(named):
                raise
            # Older files say no more of modules that were given than the names of their classes.
            raise CheckpointError(
                f"{error}; if a module of that name was trained in Python, give that module with "
                f"weights='{path}'"
            ) from error
    if ":" not in named:
        raise CheckpointError(
            f"{path} is damaged or from another version, as it has no spec, or '{shown(named)}' "
            f"was trained as a module in Python: give that module, or what makes it as "
            f"package.module:callable={path}"
        )
    if named.partition(":")[0] not in LIBRARIES:
        raise CheckpointError(f"{path} is {needed_code(named, str(path))}")
    opened = library_model(named, path, len(checkpoint.labels), Asked().at(size))
    return dataclasses.replace(opened, source=source)


def _filled(model: Model, weights: Path | None, asked: Asked) -> Model:
    """A network of the user's own code with the weights that were given, and what it gives.

    Args:
        model: in which the number of classes is missing.
    """
    if weights is not None:
        load_into(model.module, load_state(weights), str(weights))
        digest = sha256(checkpoint_file(weights))
        model = dataclasses.replace(model, trained=True, parent_sha256=digest)
    model = asked.judged(model)
    if weights is None:
        model = dataclasses.replace(model, trained=not is_fresh(model.on_rows, model.row))
    return with_training(model, weights)
