"""MODEL as people write it.

A zoo name, one with a head as ``mobilenetv3-small+ssdlite``, a run folder, a checkpoint, an
exported program (``.pt2``), ``timm:NAME``, ``torchvision:NAME``, or ``package.module:callable``;
the latter three also with the file of their weights behind ``=``.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edgekit import registry
from edgekit.core import Side
from edgekit.errors import CheckpointError, UnknownNameError, UsageError
from edgekit.models import build, find_spec, pretrained, with_resolution
from edgekit.models.asked import asked_for
from edgekit.models.checkpoints import checkpoint_model
from edgekit.models.composed_model import composed_model, with_head
from edgekit.models.fitting import fill
from edgekit.models.libraries import LIBRARIES
from edgekit.models.model import Model
from edgekit.models.outside import callable_model, library_model, own_model, program_model
from edgekit.models.program import SUFFIX
from edgekit.models.tensor_files import sha256
from edgekit.models.weights import (
    FILE_NAME,
    build_with,
    checkpoint_file,
    is_checkpoint,
    load_checkpoint,
    load_state,
)

_CODE_WITH_FILE = re.compile(r"[\w.]+:[\w.-]+=.+", re.DOTALL)

FILE_SUFFIXES = (".pt", ".pth", SUFFIX, ".safetensors")


def open_model(
    source: str,
    *,
    weights: Path | None = None,
    resolution: Side | None = None,
    classes: int | None = None,
    example: Any = None,
    outputs: Sequence[str] = (),
    task: str | None = None,
) -> Model:
    """Finds, builds and fills a network.

    Args:
        source: MODEL as people write it.
        weights: checkpoint or state dict for a zoo name or callable.
        resolution: input side in pixels, instead of the network's own, or height and width.
        classes: outputs of a zoo network, instead of the published number, or classes of one with
            a head; by default those of ``weights`` where they say so.
        example: inputs of one inference, where an image is none: text for
            `edgekit.models.examples.open_example`, or tensors, as of
            `edgekit.models.arguments.arguments`.
        outputs: names of those to keep, of a network that gives anything but scores.
        task: name of what outputs are for; ``classify`` if ``None`` where the network gives scores
            of an image, else ``tensors``. One that needs a head gets one on a zoo network.

    Raises:
        UnknownNameError: neither a network nor a file; or no such task.
        CheckpointError: weights that cannot be used.
        ModelError: a callable that gives no usable network.
        UsageError: options that exclude each other, or sizes out of range.
    """
    asked = asked_for(source, resolution, example, outputs, task)
    code, _, file = source.partition("=")
    if _CODE_WITH_FILE.fullmatch(source) and not is_path(source):
        if weights is not None:
            raise UsageError(f"'{source}' names its weights: leave out --weights")
        found = open_model(
            code, weights=Path(file), resolution=resolution, classes=classes, example=example,
            outputs=outputs, task=task,
        )  # fmt: skip
        return dataclasses.replace(found, source=source)
    if is_path(source):
        if weights is not None:
            raise UsageError(
                f"'{source}' has its own weights: give --weights with a network's name only"
            )
        if Path(source).suffix == SUFFIX:
            return program_model(source, asked)
        return asked.of(_open_checkpoint(source, asked.size or asked.side))
    if source.partition(":")[0] in LIBRARIES:
        return library_model(source, weights, classes, asked)
    if ":" in source:
        return callable_model(source, weights, asked)
    whole = with_head(source, task)
    if registry.is_composed(whole):
        return composed_model(whole, weights, classes, asked)
    return asked.of(_open_zoo(source, weights, asked.size or asked.side, classes))


def is_path(source: str) -> bool:
    """Whether MODEL means a run folder or checkpoint rather than a name.

    Raises:
        UsageError: it could mean either.
    """
    if not source:  # Path("") would mean the working folder
        return False
    if _CODE_WITH_FILE.fullmatch(source) and not os.path.exists(source):  # noqa: PTH110 - see below
        return False
    path = Path(source)
    looks_like_path = os.sep in source or source in (".", "..") or path.suffix in FILE_SUFFIXES
    if looks_like_path:
        return True
    # Not of Path: its test raises where the text is too long for a name.
    if not os.path.exists(source) or (  # noqa: PTH110
        path.is_dir() and not (path / FILE_NAME).exists()
    ):
        return False
    if not registry.is_network(source):
        return True
    raise UsageError(f"'{source}' is a zoo network and a path here: write ./{source} for the path")


def _open_zoo(source: str, weights: Path | None, size: Side | None, classes: int | None) -> Model:
    try:
        registry.find_model(source)
    except UnknownNameError as error:
        if source and os.path.isdir(source):  # noqa: PTH112 - see `is_path`
            checkpoint_file(Path(source))  # says what a run folder would have
        raise error
    if weights is None:
        spec = with_resolution(find_spec(source, classes=classes), size)
        # The same fresh weights every time, so that what was exported can be verified later.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = build(spec).eval()
        return Model(source, spec.name, module, spec.resolution, spec.classes, spec)
    if is_checkpoint(weights):
        return _open_named_checkpoint(source, weights, size, classes)
    spec = with_resolution(find_spec(source), size)
    spec, module = fill(spec, load_state(weights), str(weights), classes)
    digest = sha256(checkpoint_file(weights))
    published = pretrained.known(digest)
    preprocessing = None if published is None else published.preprocessing
    return Model(
        source,
        spec.name,
        module.eval(),
        spec.resolution,
        spec.classes,
        spec,
        trained=True,
        preprocessing=None if preprocessing is None else preprocessing.at(spec.resolution),
        parent_sha256=digest,
    )


def _open_named_checkpoint(
    source: str, weights: Path, size: Side | None, classes: int | None
) -> Model:
    """A checkpoint beside the name of its network: all that it knows is kept.

    Raises:
        CheckpointError: it is of another network; says of which.
    """
    own = load_checkpoint(weights)
    columns = len(own.labels) if own.spec is None else own.spec.classes
    spec = with_resolution(find_spec(source, classes=classes or columns), size)
    name = own.model if own.spec is None else own.spec.name
    try:
        build_with(spec, own.state, str(weights))
    except CheckpointError as error:
        if own.spec is None or name != spec.name:
            raise CheckpointError(f"{error}; it is a checkpoint of {name}") from error
        if own.spec.classes == spec.classes:
            raise CheckpointError(
                f"{error}; it is of another {name} than this version of edgekit builds: give "
                f"{weights} itself as the network"
            ) from error
        raise
    if own.spec is not None and own.spec.padding != spec.padding:
        raise CheckpointError(
            f"{weights} does not fit {spec.name}: it is a checkpoint of {name}, which has the same "
            f"tensors and another padding; give that name"
        )
    opened = _open_checkpoint(str(weights), size)
    return dataclasses.replace(opened, source=source)


def _open_checkpoint(source: str, size: Side | None) -> Model:
    path = checkpoint_file(Path(source))
    checkpoint = load_checkpoint(path)
    opened = own_model if checkpoint.spec is None else checkpoint_model
    return opened(source, path, checkpoint, size)
