"""Batch norms that have an activation inside, as those of timm, taken apart.

A class of somebody else's that is a batch norm may do anything. Where it computes what a batch norm
of PyTorch's and the modules within it compute one after the other, it becomes those, and the
convolution before it can take over the batch norm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.core import Scheme, Target
from edgekit.core.reasons import PASSING
from edgekit.lowering.layers import is_norm, is_same, is_unchanged, run_copy, with_affine
from edgekit.models.copying import own_copy

KINDS: tuple[Any, ...] = (nn.BatchNorm2d, nn.BatchNorm1d, nn.BatchNorm3d)


class SplitNorms:
    """Replaces each by a sequence: ``norm``, and its own modules under their own names."""

    name = "split-norms"

    def applies(self, model: nn.Module, target: Target, scheme: Scheme) -> bool:
        """Wherever there is a batch norm of another class."""
        return any(map(_may_be_split, model.modules()))

    def rewrite(self, model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
        """A copy; where other code reads the parameters of a norm, the network as it is."""
        rewritten = own_copy(model)
        parts = {path: m for path, m in rewritten.named_modules() if path and _may_be_split(m)}
        split = {path: _split(module) for path, module in parts.items()}
        if not any(split.values()):
            return model
        for path, sequence in split.items():
            if sequence is not None:
                rewritten.set_submodule(path, sequence)
        try:
            return (
                rewritten
                if is_same(run_copy(model, example), run_copy(rewritten, example))
                else model
            )
        except PASSING:
            raise
        except BaseException:  # the network's own code may miss what a norm has
            return model


def _may_be_split(module: nn.Module) -> bool:
    return (
        isinstance(module, KINDS)
        and not is_norm(module)
        and module.running_mean is not None
        and not module.training
        and is_unchanged(module)
    )


@torch.no_grad()
def _split(module: nn.Module) -> nn.Sequential | None:
    """The sequence that a batch norm computes; ``None`` where it computes something else."""
    kind = next(kind for kind in KINDS if isinstance(module, kind))
    assert isinstance(module, _BatchNorm)
    norm = with_affine(kind(module.num_features, module.eps, affine=False)).eval()
    for name in ("running_mean", "running_var"):
        setattr(norm, name, getattr(module, name))
    if module.affine:
        norm.weight, norm.bias = module.weight, module.bias
    children = dict(module.named_children())
    if "norm" in children:
        return None
    sequence = nn.Sequential()
    for name, child in {"norm": norm, **children}.items():
        sequence.add_module(name, child)
    sides = {nn.BatchNorm1d: (64,), nn.BatchNorm2d: (8, 8), nn.BatchNorm3d: (4, 4, 4)}[kind]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, module.num_features, *sides, generator=generator)
    assert module.running_mean is not None
    assert module.running_var is not None
    shape = (-1, *[1] * len(sides))
    centre = module.running_mean.reshape(shape)
    spread = (module.running_var + module.eps).sqrt().reshape(shape)
    try:
        # Far from the mean, too: activations are straight in some places.
        same = all(
            torch.allclose(sequence(one), module(one.clone()), rtol=1e-4, atol=1e-5)
            for one in (centre + spread * factor * images for factor in (1, 30))
        )
    except PASSING:
        raise
    except BaseException:  # the class of somebody else
        return None
    return sequence.train(mode=False) if same else None


LOWERING = SplitNorms()
