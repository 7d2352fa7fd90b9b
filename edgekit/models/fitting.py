"""State dicts of any origin into zoo networks: by name and shape, never by guess."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec
from edgekit.errors import CheckpointError, UsageError
from edgekit.models import build, family_of
from edgekit.models.foreign import COUNTER, SCORES, Layout, detect, scores_of, translated
from edgekit.models.size import without_values
from edgekit.models.weights import build_with, load_into
from edgekit.models.wrapping import prefix_hint

# What a file that does not fit is compared with: multipliers that networks are published with,
# then all others in steps of 0.05.
PUBLISHED_WIDTHS = (1.0, 0.25, 0.35, 0.5, 0.75, 1.25, 1.3, 1.4, 1.5, 2.0)
WIDTHS = (*PUBLISHED_WIDTHS, *sorted({i / 20 for i in range(1, 41)} - set(PUBLISHED_WIDTHS)))


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
    hint = prefix_hint(state)
    if hint is not None:
        raise CheckpointError(f"{origin} does not fit {spec.name}: {hint}")
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
        fitting = _fitting(spec, state, layouts)
        if fitting is None:
            raise
        raise CheckpointError(f"{error}; the tensors are those of {fitting}") from error


def _fill_from(
    layout: Layout, spec: ModelSpec, state: Mapping[str, Tensor], origin: str
) -> tuple[ModelSpec, nn.Module]:
    spec = dataclasses.replace(spec, norm_eps=layout.norm_eps(spec))
    with without_values():
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
) -> str | None:
    """Name of another network of the family that has exactly these tensors."""
    if _has_tensors(spec, state, layouts):
        return None
    prefix = "tf-" if spec.name.startswith("tf-") else ""
    own = spec.name.partition("@")[0].removeprefix(prefix)
    variants = family_of(spec).variants
    # The names of the layers do not change with the width.
    named = [name for name in variants if _has_layers(variants[name](1.0), state, layouts)]
    named.sort(key=lambda name: name != own)
    for name, width in product(named, WIDTHS):
        try:
            other = variants[name](width)
        except UsageError:  # too narrow for this network
            continue
        if _has_tensors(other, state, layouts):
            return prefix + other.name
    return None


def _has_layers(spec: ModelSpec, state: Mapping[str, Tensor], layouts: tuple[Layout, ...]) -> bool:
    """Whether the names of a state dict can be those of a network."""
    try:
        layout = detect(state, spec, layouts, "")
    except CheckpointError:
        return False
    blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    return layout is not None or len(blocks) == len(spec.rows)


def _has_tensors(spec: ModelSpec, state: Mapping[str, Tensor], layouts: tuple[Layout, ...]) -> bool:
    """Whether a network has exactly these tensors, by name and shape."""
    try:
        layout = detect(state, spec, layouts, "")
    except CheckpointError:
        return False
    spec = dataclasses.replace(spec, classes=scores_of(state, spec, layouts))
    tensors = state if layout is None else translated(state, spec, layout)
    # Most other widths differ here already, without a network being built. The last row says what
    # goes into the head or, without one, into the classifier.
    last = int(spec.rows[-1]["out"] or 0)
    ends = {"stem.conv": (spec.stem, 3), "stem.conv.conv": (spec.stem, 3)}
    ends |= {"head.conv": (spec.head[0], last)} if spec.head else {SCORES: (spec.classes, last)}
    for layer, channels in ends.items():
        weight = tensors.get(f"{layer}.weight")
        if weight is not None and weight.shape[:2] != channels:
            return False
    with without_values():
        built = build(spec).state_dict()
    return _shapes(built) == _shapes(tensors)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Shapes by name, without the counters of batches, which a file need not have."""
    return {key: v.shape for key, v in tensors.items() if not key.endswith(COUNTER)}


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
