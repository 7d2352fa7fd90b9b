"""Weights that are computed from other weights, as a spectral norm does, computed once.

In eval mode they depend on parameters alone. In a file they would be computed anew for every image,
and a convolution whose weights are no constants has no kernel of integers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from edgekit.core import Scheme, Target


class BakeWeights:
    """Takes away parametrizations, and the hooks of older spectral and weight norms."""

    name = "bake-weights"

    def applies(self, model: nn.Module, target: Target, scheme: Scheme) -> bool:
        """Wherever a module computes its weights."""
        return any(parametrize.is_parametrized(m) or list(_norms(m)) for m in model.modules())

    def rewrite(self, model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
        """A copy whose weights are what the modules compute now; module paths stay."""
        model = copy.deepcopy(model)
        with torch.no_grad():
            for module in list(model.modules()):
                for norm in list(_norms(module)):
                    remove = (
                        remove_weight_norm if isinstance(norm, WeightNorm) else remove_spectral_norm
                    )
                    remove(module, norm.name)
                if parametrize.is_parametrized(module):
                    assert isinstance(module.parametrizations, nn.ModuleDict)
                    _give_own_class(module)
                    for name in list(module.parametrizations):
                        parametrize.remove_parametrizations(module, name)
        return model


def _give_own_class(module: nn.Module) -> None:
    """A class like that of a module, for it alone.

    A parametrization is a property of the class, which copies share: taking it away from one would
    take it away from all.
    """
    kind = type(module)
    module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))


def _norms(module: nn.Module) -> Iterator[WeightNorm | SpectralNorm]:
    """Hooks that compute a weight before every call."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm | SpectralNorm):
            yield hook


LOWERING = BakeWeights()
