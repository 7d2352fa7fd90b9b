"""Rewrites of a network before export: exact up to float rounding, chosen per target and scheme."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit import registry
from edgekit.core import Scheme


def lower(
    model: nn.Module, example: Tensor, target: str, scheme: Scheme
) -> tuple[nn.Module, tuple[str, ...]]:
    """Applies every registered rewrite that suits the target.

    Args:
        model: in eval mode; it stays as it is.
        example: an input, (1, 3, H, W).

    Returns:
        The rewritten network and the names of the rewrites that changed it, in order.
    """
    applied = []
    for lowering in registry.lowerings():
        if lowering.applies(model, target, scheme):
            rewritten = lowering.rewrite(model, example)
            if rewritten is not model:
                applied.append(lowering.name)
            model = rewritten
    return model, tuple(applied)
