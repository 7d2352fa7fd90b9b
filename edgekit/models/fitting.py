"""State dicts of any origin into zoo networks: by name and shape, never by guess."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec
from edgekit.errors import CheckpointError, UsageError
from edgekit.models import build, family_of, find_spec
from edgekit.models.foreign import Layout, detect, scores_of, translated
from edgekit.models.weights import build_with, load_into

# Multipliers that networks are published with; what a file that does not fit is compared with.
WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 1.3, 1.4, 1.5, 2.0)


def fill(
    spec: ModelSpec, state: Mapping[str, Tensor], origin: str, classes: int | None = None
) -> tuple[ModelSpec, nn.Module]:
    """Builds a zoo network around a state dict with edgekit's, torchvision's or timm's names.

    Args:
        origin: where the tensors come from, for messages.
        classes: outputs; those of the state dict by default.

    Returns:
        The spec with the number of classes, and the batch-norm epsilon that goes with the
        weights; and the network.

    Raises:
        CheckpointError: names the first tensor that does not fit, and the network of the same
            family that the tensors are of, where there is one.
    """
    layouts = family_of(spec).layouts
    if classes is None:
        classes = scores_of(state, spec, layouts)
    spec = dataclasses.replace(spec, classes=classes)
    try:
        layout = detect(state, spec, layouts, origin)
        if layout is None:
            return spec, build_with(spec, state, origin)
        return _fill_from(layout, spec, state, origin)
    except CheckpointError as error:
        fitting = next(_fitting(spec, state, layouts), None)
        if fitting is None:
            raise
        raise CheckpointError(f"{error}; the tensors are those of {fitting}") from error


def _fill_from(
    layout: Layout, spec: ModelSpec, state: Mapping[str, Tensor], origin: str
) -> tuple[ModelSpec, nn.Module]:
    spec = dataclasses.replace(spec, norm_eps=layout.norm_eps(spec))
    with torch.device("meta"):
        model = build(spec)
    names = dict(layout.names(spec))
    aliases = {
        ours: f"{names[layer]}.{kind}"
        for ours in model.state_dict()
        for layer, _, kind in [ours.rpartition(".")]
    }
    load_into(model, translated(state, spec, layout), origin, aliases)
    return spec, model


def _fitting(
    spec: ModelSpec, state: Mapping[str, Tensor], layouts: tuple[Layout, ...]
) -> Iterator[str]:
    """Names of other networks of the family that have exactly these tensors."""
    family = family_of(spec)
    own = spec.name.partition("@")[0]
    bare = own.removeprefix("tf-")
    named = [(own, width) for width in WIDTHS] + [(v, 1.0) for v in family.variants if v != bare]
    for name, width in named:
        try:
            other = find_spec(f"{name}@{width:g}", classes=spec.classes)
            found = detect(state, other, layouts, "")
        except (CheckpointError, UsageError):
            continue
        with torch.device("meta"):
            shapes = {key: value.shape for key, value in build(other).state_dict().items()}
        tensors = state if found is None else translated(state, other, found)
        if shapes == {key: value.shape for key, value in tensors.items()}:
            yield other.name


def init_from(model: nn.Module, spec: ModelSpec, state: Mapping[str, Tensor], origin: str) -> bool:
    """Starts a network from a state dict that may be of other classes.

    Args:
        model: of ``spec``, with fresh weights; it is changed.

    Returns:
        Whether the layer of the class scores was taken over as well. It keeps its fresh weights
        where the state dict has another number of classes.

    Raises:
        CheckpointError: anything else does not fit.
    """
    _, source = fill(spec, state, origin)
    values = source.state_dict()
    own = model.state_dict()
    same = all(own[key].shape == value.shape for key, value in values.items())
    if not same:
        values = {
            key: value if own[key].shape == value.shape else own[key]
            for key, value in values.items()
        }
    model.load_state_dict(values)
    return same
