"""Batch norms that no layer could take over, as depthwise convolutions of 1x1.

In front of a convolution, behind an addition or a concatenation, a batch norm has no layer before
it that it could be folded into. Runtimes compute it in float between conversions, or as a product
and a sum that are rounded one after the other; a depthwise convolution has integer kernels, and
rounds once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.core import Scheme, Target
from edgekit.core.reasons import PASSING
from edgekit.lowering.layers import is_norm, is_same, run_copy, with_affine
from edgekit.models.copying import own_copy

LEAST_CHANNELS = 8
"""Norms of fewer, such as one of the image, stay: so few fill no vector of integers."""


class NormsToConvolutions:
    """Replaces each in files of integers, for targets that ask for it."""

    name = "norms-to-convolutions"

    def applies(self, model: nn.Module, target: Target, scheme: Scheme) -> bool:
        """Wherever activations are integers and a norm is left."""
        integers = scheme.weights == "int8" and scheme.calibration is not None
        return self.name in target.lowerings and integers and any(map(_is_lone, model.modules()))

    def rewrite(self, model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
        """A copy; where other code reads the parameters of a norm, the network as it is."""
        rewritten = own_copy(model)
        for path, module in [*rewritten.named_modules()]:
            if path and _is_lone(module):
                rewritten.set_submodule(path, _convolution(module))
        try:
            expected, found = run_copy(model, example), run_copy(rewritten, example)
            return rewritten if is_same(expected, found) else model
        except PASSING:
            raise
        except BaseException:  # the network's own code may miss what a norm has
            return model


def _is_lone(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.BatchNorm2d)
        and is_norm(module)
        and module.num_features >= LEAST_CHANNELS
    )


@torch.no_grad()
def _convolution(module: nn.Module) -> nn.Conv2d:
    norm = with_affine(module)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    channels = len(scale)
    found = nn.Conv2d(channels, channels, 1, groups=channels).to(norm.weight.dtype).eval()
    found.weight.copy_(scale.reshape(-1, 1, 1, 1))
    found.bias.copy_(shift)  # type: ignore[union-attr]
    return found


LOWERING = NormsToConvolutions()
