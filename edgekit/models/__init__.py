"""Networks: from a name to a spec, from a spec to a module."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from edgekit import registry, tables
from edgekit.core import ModelSpec, Side
from edgekit.core.preprocessing import pair
from edgekit.errors import UsageError
from edgekit.models.family import Family
from edgekit.models.size import check_size


def family_of(spec: ModelSpec) -> Family:
    """The family that builds a spec.

    Raises:
        UnknownNameError: the spec names a family that edgekit does not have.
    """
    loaded: Family = registry.family(spec.family)
    return loaded


def find_spec(
    wanted: str, *, classes: int | None = None, resolution: int | None = None
) -> ModelSpec:
    """The spec of a zoo network.

    Args:
        wanted: zoo name, as ``mobilenetv3``, ``MobileNetV3-Small`` or ``mobilenetv2@0.75``.
        classes: outputs; the published number by default.
        resolution: input side in pixels; the published one by default.

    Raises:
        UnknownNameError: no network has that name.
        UsageError: fewer than two classes, a resolution below the network's stride, or more
            parameters than any machine should hold.
    """
    family, name, width = registry.find_model(wanted)
    loaded: Family = registry.family(family)
    spec = loaded.variants[name](width)
    if registry.is_tensorflow(wanted):
        spec = dataclasses.replace(
            spec, name=registry.canonical_name(wanted), padding="same", norm_eps=1e-3
        )
    spec = dataclasses.replace(
        spec,
        classes=spec.classes if classes is None else classes,
        resolution=spec.resolution if resolution is None else resolution,
    )
    check(spec, loaded)
    check_size(spec, loaded.build)
    return spec


def with_resolution(spec: ModelSpec, size: Side | None) -> ModelSpec:
    """The same network at another input size; ``None`` keeps it.

    Args:
        size: side in pixels, or height and width, of which the spec keeps the longer one.

    Raises:
        UsageError: a side that the network cannot have.
    """
    if size is None:
        return spec
    for side in sorted(pair(size)):
        spec = dataclasses.replace(spec, resolution=side)
        check(spec, family_of(spec))
    return spec


def check(spec: ModelSpec, family: Family) -> None:
    """Refuses sizes that the network cannot have.

    Raises:
        UsageError: fewer than two classes, or a resolution out of range.
    """
    # One output of other people's networks tells two classes apart; others have no classes at all.
    least = 1 if spec.family in tables.OTHERS else 2
    if spec.call is not None and spec.call.outputs:
        least = 0
    if spec.classes < least:
        raise UsageError(f"{spec.name} with {spec.classes} classes: expected at least {least}")
    smallest = family.stride(spec)
    if not smallest <= spec.resolution <= MAX_RESOLUTION:
        raise UsageError(
            f"resolution {spec.resolution} for {spec.name}: expected {smallest} (the network's "
            f"stride) to {MAX_RESOLUTION} pixels"
        )


# An input of this side takes 200 MB as float32; nothing mobile comes near it.
MAX_RESOLUTION = 4096


def build(
    model: str | ModelSpec, *, classes: int | None = None, resolution: int | None = None
) -> nn.Module:
    """Builds a zoo network with fresh weights.

    Args:
        model: zoo name, or a spec, which then keeps its own classes and resolution.

    Returns:
        A module that takes images (N, 3, H, W) and gives class scores (N, classes).

    Raises:
        UnknownNameError: no network has that name.
        UsageError: a size that the network cannot have.
    """
    if isinstance(model, str):
        model = find_spec(model, classes=classes, resolution=resolution)
    family = family_of(model)
    if torch.get_default_device().type != "meta":  # there, nothing takes memory
        check_size(model, family.build)
    return family.build(model)
