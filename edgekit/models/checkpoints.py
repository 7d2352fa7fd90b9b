"""Networks as checkpoints describe them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import nn

from edgekit.core import CLASSIFY, Call, Side, scores_fit
from edgekit.core.names import shown
from edgekit.errors import CheckpointError, UsageError
from edgekit.models import with_resolution
from edgekit.models.adapted import give, is_adapted, may_run, needed_code
from edgekit.models.callables import GIVEN, try_forward
from edgekit.models.calls import draws_in, example_in, interface_of
from edgekit.models.interface import shaped
from edgekit.models.model import Model, image_of
from edgekit.models.tensor_files import sha256
from edgekit.models.weights import (
    Checkpoint,
    build_with,
    checkpoint_file,
    is_checkpoint,
    load_checkpoint,
)


def checkpoint_model(source: str, path: Path, checkpoint: Checkpoint, size: Side | None) -> Model:
    """A network of a checkpoint with a spec.

    Args:
        source: names it in messages.
        size: side in pixels, or height and width, instead of its own.

    Raises:
        CheckpointError: it does not fit its spec, or names code that must not be run.
        UsageError: its sizes cannot be chosen.
    """
    assert checkpoint.spec is not None
    if is_adapted(checkpoint.spec) and not may_run(checkpoint.spec.source):
        raise CheckpointError(f"{path} is {needed_code(checkpoint.spec.source, str(path))}")
    module = build_with(checkpoint.spec, checkpoint.state, str(path)).eval()
    if checkpoint.spec.call is not None:
        return _called(source, path, checkpoint, checkpoint.spec.call, module, size)
    spec = with_resolution(checkpoint.spec, size)
    assert checkpoint.preprocessing is not None
    own = checkpoint.preprocessing.size
    if size is None:
        size = own if max(own) == spec.resolution else spec.resolution
    model = Model(
        source,
        spec.name,
        module,
        spec.resolution,
        spec.classes,
        spec,
        trained=True,
        labels=checkpoint.labels,
        preprocessing=checkpoint.preprocessing.at(size),
        data=checkpoint.data,
        parent_sha256=sha256(path),
        code=spec.source if is_adapted(spec) else None,
        scores=_scores(checkpoint, spec.classes, path),
        image=image_of(size),
    )
    if is_adapted(spec):
        try_forward(module, torch.zeros(1, *model.shape), source)
    return model


def _called(
    source: str,
    path: Path,
    checkpoint: Checkpoint,
    call: Call,
    module: nn.Module,
    size: Side | None,
) -> Model:
    """A checkpoint of a network that takes or gives anything else than a square image and scores.

    Raises:
        UsageError: another size was asked for.
    """
    spec = checkpoint.spec
    assert spec is not None
    if size is not None:
        raise UsageError(f"--resolution: {path} says the sizes of its inputs; leave it out")
    model = Model(
        source,
        spec.name,
        module,
        spec.resolution,
        spec.classes,
        spec,
        trained=True,
        preprocessing=checkpoint.preprocessing,
        data=checkpoint.data,
        parent_sha256=sha256(path),
        code=spec.source,
        task=checkpoint.task,
        call=call,
        parameters=checkpoint.parameters,
    )
    if not call.outputs:
        _, channels, height, width = call.inputs[0].shape
        try_forward(module, torch.zeros(1, channels, height, width), source)
        return dataclasses.replace(
            model,
            labels=checkpoint.labels,
            scores=_scores(checkpoint, spec.classes, path),
            image=(channels, height, width),
        )
    example = example_in(call)
    found = shaped(module, example, source).interface
    if [one.shape for one in found.outputs] != [one.shape for one in call.outputs]:
        raise CheckpointError(
            f"{path} does not fit '{spec.source}': its code gives other outputs than when the "
            f"checkpoint was written"
        )
    return dataclasses.replace(
        model,
        labels=checkpoint.labels or None,
        signature=interface_of(call),
        example=example,
        draws=draws_in(call),
    )


def adapted_model(
    source: str, weights: Path | None, size: Side | None, module: nn.Module | None = None
) -> Model | None:
    """What a search has made of a network that was named; ``None`` for other weights.

    Args:
        module: the network itself, where it is the user's own.

    Raises:
        CheckpointError: it is of another network.
    """
    if weights is None or not is_checkpoint(weights):
        return None
    path = checkpoint_file(weights)
    checkpoint = load_checkpoint(path)
    spec = checkpoint.spec
    if spec is None or not is_adapted(spec):
        return None
    if module is not None and spec.source.startswith(GIVEN):
        give(module, spec.source)
    elif spec.source != source:
        raise CheckpointError(
            f"{weights} does not fit '{source}': it is a checkpoint of '{spec.source}', adapted"
        )
    return dataclasses.replace(
        checkpoint_model(str(weights), path, checkpoint, size), source=source
    )


def with_training(model: Model, weights: Path | None) -> Model:
    """What a checkpoint knows besides its tensors, for a network that was named."""
    if weights is None or not is_checkpoint(weights):
        return model
    checkpoint = load_checkpoint(weights)
    if model.task != checkpoint.task:
        return dataclasses.replace(model, data=checkpoint.data)
    if model.task != CLASSIFY:
        inputs = model.interface.inputs[0].shape
        prepared = checkpoint.preprocessing
        return dataclasses.replace(
            model,
            data=checkpoint.data,
            labels=checkpoint.labels or None,
            preprocessing=prepared and prepared.at((inputs[2], inputs[3])),
            parameters={**model.parameters, **checkpoint.parameters},
        )
    return dataclasses.replace(
        model,
        labels=checkpoint.labels,
        preprocessing=checkpoint.preprocessing and checkpoint.preprocessing.at(model.shape[1:]),
        data=checkpoint.data,
        scores=_scores(checkpoint, model.classes, weights),
    )


def size_of(weights: Path | None) -> Side | None:
    """Size of the images that a checkpoint is for; ``None`` where it does not say."""
    if weights is None or not is_checkpoint(weights):
        return None
    preprocessing = load_checkpoint(weights).preprocessing
    return None if preprocessing is None else preprocessing.crop


def _scores(checkpoint: Checkpoint, columns: int, path: Path) -> str | None:
    """What a checkpoint says of its outputs.

    Raises:
        CheckpointError: so many cannot be that.
    """
    if checkpoint.scores is not None and not scores_fit(checkpoint.scores, columns):
        raise CheckpointError(
            f"{path} is damaged or from another version: it says that its outputs, of which there "
            f"are {columns}, are '{shown(checkpoint.scores)}'"
        )
    return checkpoint.scores
