"""Rewrites of a network before export: exact up to float rounding, chosen per target and scheme."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import Scheme, Target
from edgekit.errors import ModelError


def lower(
    model: nn.Module, example: tuple[Tensor, ...], target: Target, scheme: Scheme
) -> tuple[nn.Module, tuple[str, ...]]:
    """Applies every registered rewrite that suits the target.

    Args:
        model: in eval mode; it stays as it is.
        example: an input, (1, 3, H, W).

    Returns:
        The rewritten network and the names of the rewrites that changed it, in order.

    Raises:
        ModelError: the scheme stores weights in float16, and one is beyond it.
    """
    applied = []
    for lowering in registry.lowerings():
        if lowering.applies(model, target, scheme):
            rewritten = lowering.rewrite(model, example)
            if rewritten is not model:
                applied.append(lowering.name)
            model = rewritten
    if scheme.weights == "float16":
        refuse_beyond_float16(model)
    return model, tuple(applied)


def refuse_beyond_float16(model: nn.Module) -> None:
    """Names a weight that float16 has no number for.

    Raises:
        ModelError: there is one; runtimes would compute with infinity, or with another number.
    """
    largest = torch.finfo(torch.float16).max
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        reach = float(tensor.abs().max())
        if math.isfinite(reach) and reach > largest:
            raise ModelError(
                f"weight '{name}' reaches {reach:.3g}, beyond float16's {largest:.0f}: export with "
                f"--precision fp32"
            )
