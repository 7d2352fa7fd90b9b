"""Layers whose weights can take over what is computed next to them, and where they are called.

Only layers that compute what PyTorch's own do count. A subclass may do anything: timm's
BatchNormAct2d has the activation inside, its weight-standardized convolutions change the weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from edgekit.core.reasons import PASSING
from edgekit.models.copying import own_copy
from edgekit.models.widths import Conv2d

FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# What is known to scale with the weight and to shift with the bias: PyTorch's own, and edgekit's
# convolution, which pads its input first.
_LAYER_FORWARDS = {*(kind.forward for kind in FOLDABLE), Conv2d.forward}


def is_norm(module: nn.Module) -> bool:
    """Whether a layer is a batch norm with statistics of its own, and nothing else."""
    return (
        isinstance(module, _BatchNorm)
        and type(module).forward is _BatchNorm.forward
        and module.running_mean is not None
        and not module.training
        and is_unchanged(module)
    )


def is_layer(module: nn.Module) -> bool:
    """Whether a layer computes what its weight and bias say."""
    kind: Any = type(module)
    if not isinstance(module, FOLDABLE) or kind.forward not in _LAYER_FORWARDS:
        return False
    computed = getattr(kind, "_conv_forward", None)
    own = (getattr(known, "_conv_forward", None) for known in FOLDABLE)
    return any(computed is function for function in own) and is_unchanged(module)


@torch.no_grad()
def follows_its_weight(module: nn.Module) -> bool:
    """Whether a convolution of another class scales with its weight and shifts with its bias.

    Such are timm's that pad by the size of the image. It is tried, with factors of both signs.
    """
    if not isinstance(module, nn.Conv2d) or module.training or not is_unchanged(module):
        return False
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, module.in_channels, 16, 16, generator=generator)
    factor, summand = torch.randn(2, module.out_channels, generator=generator)
    bias = torch.zeros(module.out_channels) if module.bias is None else module.bias
    other = own_copy(module)
    try:
        other.weight = nn.Parameter(module.weight * factor.reshape(-1, 1, 1, 1))
        other.bias = nn.Parameter(bias * factor + summand)
        found = own_copy(module)(image) * factor.reshape(-1, 1, 1) + summand.reshape(-1, 1, 1)
        return torch.allclose(other(image), found, rtol=1e-4, atol=1e-4)
    except PASSING:
        raise
    except BaseException:  # the class of somebody else
        return False


def is_unchanged(module: nn.Module) -> bool:
    """Whether nothing but its class says what a layer does: no hook, no other weight."""
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return (
        not any(hooks) and "forward" not in vars(module) and not parametrize.is_parametrized(module)
    )


def with_affine(norm: nn.Module) -> _BatchNorm:
    """A batch norm, with scale 1 and shift 0 where it had none."""
    assert isinstance(norm, _BatchNorm)
    if not norm.affine:
        assert norm.running_var is not None
        norm.weight = nn.Parameter(torch.ones_like(norm.running_var))
        norm.bias = nn.Parameter(torch.zeros_like(norm.running_var))
        norm.affine = True
    return norm


class Tracer(fx.Tracer):
    """Follows a forward pass symbolically, down to the layers that matter here.

    It takes a tenth of a second, and fails where a network branches on the shape of its input.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        layers = (*FOLDABLE, _BatchNorm)
        return isinstance(m, layers) or super().is_leaf_module(m, module_qualified_name)


def traced(model: nn.Module, tracer: fx.Tracer | None = None) -> tuple[nn.Module, fx.Graph]:
    """A copy of a network and its graph; what its code keeps of the trace is in the copy."""
    found = own_copy(model)
    return found, (tracer or Tracer()).trace(found)


def run_copy(model: nn.Module, example: tuple[Tensor, ...]) -> Any:
    """What a network gives; what its code keeps of the run goes with the copy that ran."""
    with torch.no_grad():
        return own_copy(model)(*example)


def module_calls(graph: fx.Graph) -> dict[fx.Node, str]:
    """Nodes that call a module of which nothing else is read, with the module's path."""
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    called = {node: str(node.target) for node in graph.nodes if node.op == "call_module"}
    return {node: path for node, path in called.items() if path not in read}


def is_same(expected: Any, outputs: Any) -> bool:
    """Whether two outputs differ by rounding only; of several, in the same order, each."""
    if isinstance(expected, tuple | list) and isinstance(outputs, tuple | list):
        return len(expected) == len(outputs) and all(map(is_same, expected, outputs))
    if not isinstance(expected, Tensor) or not isinstance(outputs, Tensor):
        return False
    if expected.shape != outputs.shape or expected.dtype != outputs.dtype:
        return False
    if not expected.is_floating_point() or not expected.numel():
        return torch.equal(expected, outputs)
    bound = 1e-3 * float(expected.abs().max())
    return bool((expected - outputs).abs().max() <= bound)
