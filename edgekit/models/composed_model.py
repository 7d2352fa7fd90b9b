"""Composed networks with what is known about them; see `edgekit.models.composed`."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from edgekit import registry
from edgekit.core import TENSORS, Call, Draw, Interface, Preprocessing, Side, TensorSpec
from edgekit.core.interface import IMAGE
from edgekit.core.preprocessing import pair
from edgekit.errors import CheckpointError, PassedOverWarning, UsageError
from edgekit.models import find_spec
from edgekit.models.asked import Asked
from edgekit.models.checkpoints import adapted_model, size_of
from edgekit.models.composed import canonical, compose, head_of, resolution_of
from edgekit.models.heads.layouts import translated
from edgekit.models.model import Model
from edgekit.models.tensor_files import sha256
from edgekit.models.weights import (
    Checkpoint,
    checkpoint_file,
    is_checkpoint,
    load_checkpoint,
    load_into,
    load_state,
)

NOISE = Draw(0.0, 1.0)
"""Of images: normalized ones have about this mean and spread."""


def with_head(source: str, task: str | None) -> str:
    """The name of the network that a name and a task mean together.

    On a network of the zoo a task that needs a head means its default one.
    """
    if task is None or registry.is_composed(source) or ":" in source:
        return source
    head = registry.default_head(registry.task_name(task))
    return source if head is None else f"{source}+{head}"


def composed_model(source: str, weights: Path | None, classes: int | None, asked: Asked) -> Model:
    """A composed network of its name.

    Args:
        weights: checkpoint or state dict of the same network.
        classes: instead of the head's number, or of that of ``weights``.

    Raises:
        UnknownNameError: there is no such backbone or head.
        UsageError: what was asked for does not go with it.
    """
    name = canonical(source)
    adapted = adapted_model(name, weights, asked.size or asked.side)
    if adapted is not None:
        return asked.of(adapted)
    if weights is None:
        return _as_asked(_made(source, name, classes, asked.size or asked.side), asked)
    if is_checkpoint(weights):
        checkpoint = load_checkpoint(weights)
        opened = opened_checkpoint(source, name, checkpoint_file(weights), checkpoint, asked)
        return _as_asked(opened, asked)
    backbone, head = registry.find_composed(name)
    state: Mapping[str, torch.Tensor] = load_state(weights)
    own: int | None = None
    left: tuple[str, ...] = ()
    if not registry.stands_alone(backbone):
        state, own, left = translated(head, find_spec(backbone), state, str(weights))
    if left:
        warnings.warn(
            f"{weights}: {len(left)} tensors of a second head for the training were left out, such "
            f"as '{left[0]}': no scores need them",
            PassedOverWarning,
            stacklevel=2,
        )
    model = _made(source, name, own if classes is None else classes, asked.size or asked.side)
    load_into(model.module, state, str(weights))
    digest = sha256(checkpoint_file(weights))
    return _as_asked(dataclasses.replace(model, trained=True, parent_sha256=digest), asked)


def opened_checkpoint(
    source: str, name: str, path: Path, checkpoint: Checkpoint, asked: Asked
) -> Model:
    """A composed network of its checkpoint.

    Args:
        source: names it in messages.
        name: of the network; canonical.

    Raises:
        CheckpointError: it is of another network.
    """
    named = checkpoint.model
    if not registry.is_composed(named) or canonical(named) != name:
        raise CheckpointError(f"{path} does not fit {name}: it is a checkpoint of {named}")
    own = asked.at(size_of(path))
    side = own.size or own.side
    model = _made(source, name, len(checkpoint.labels) or None, side)
    if checkpoint.task != model.task:
        raise CheckpointError(
            f"{path} is damaged or from another version: it says that {name} is of the task "
            f"{checkpoint.task}"
        )
    load_into(model.module, checkpoint.state, str(path))
    preprocessing = checkpoint.preprocessing
    return dataclasses.replace(
        model,
        trained=True,
        labels=checkpoint.labels or None,
        preprocessing=_at(preprocessing, model),
        data=checkpoint.data,
        parent_sha256=sha256(path),
        parameters={**model.parameters, **checkpoint.parameters},
    )


def _at(preprocessing: Preprocessing | None, model: Model) -> Preprocessing | None:
    height, width = model.interface.inputs[0].shape[2:]
    return None if preprocessing is None else preprocessing.at((height, width))


def _made(source: str, name: str, classes: int | None, size: Side | None) -> Model:
    """The network with fresh weights, the same ones every time."""
    head = head_of(name)
    classes = head.classes if classes is None else classes
    if size is None:
        size = resolution_of(name)
    height, width = pair(size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = compose(name, classes, size)
    image = TensorSpec(IMAGE, (1, 3, height, width), "float32", "NCHW")
    with torch.no_grad():
        found = module(torch.zeros(image.shape))
    parts = found if isinstance(found, tuple) else (found,)
    outputs = tuple(
        TensorSpec(output, tuple(part.shape), "float32", "")
        for output, part in zip(head.outputs, parts, strict=True)
    )
    drawn = dataclasses.replace(image, draw=NOISE)
    generator = torch.Generator().manual_seed(0)
    return Model(
        source,
        name,
        module,
        max(height, width),
        0,
        code=name,
        notes=(),
        task=head.task,
        parameters=head.parameters(module),
        signature=Interface((image,), outputs),
        example=(torch.randn(image.shape, generator=generator),),
        draws=(NOISE,),
        call=Call((drawn,), outputs, classes=classes),
    )


def _as_asked(model: Model, asked: Asked) -> Model:
    """The same for the task that was asked for.

    Raises:
        UsageError: another one, or an example or outputs.
    """
    if asked.example is not None or asked.outputs:
        option = "--outputs" if asked.outputs else "--example"
        raise UsageError(
            f"'{model.source}' takes an image and gives {', '.join(head_of(model.name).outputs)}: "
            f"leave {option} out; --resolution is the size of the image"
        )
    if asked.task == TENSORS:
        return dataclasses.replace(model, task=TENSORS, labels=None, parameters={})
    if asked.task not in (None, model.task):
        raise UsageError(
            f"'{model.source}' is of the task {model.task}, not {asked.task}: see 'edgekit list "
            f"heads' for what has that"
        )
    return model
