"""Batch norm folded into the convolution or linear layer before it.

In eval mode a batch norm is one multiplication and one addition per channel, which the weights of
the layer before it can take over. Exporters do this for some patterns and forget others
(litert-torch leaves a multiplication behind a depthwise convolution), so it is done here, once,
for all targets.

Only layers that compute what PyTorch's own do are touched. A subclass may do anything: timm's
BatchNormAct2d has the activation inside, its weight-standardized convolutions change the weight.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from edgekit.core import Scheme
from edgekit.models.widths import Conv2d

FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# What is known to scale with the weight and to shift with the bias: PyTorch's own, and edgekit's
# convolution, which pads its input first.
_LAYER_FORWARDS = {*(kind.forward for kind in FOLDABLE), Conv2d.forward}


class FoldBatchNorm:
    """Folds where the output of a layer goes into one batch norm and nowhere else."""

    name = "fold-batchnorm"

    def applies(self, model: nn.Module, target: str, scheme: Scheme) -> bool:
        """Wherever there is a batch norm: no runtime is faster with it."""
        return any(_is_norm(module) for module in model.modules())

    def rewrite(self, model: nn.Module, example: Tensor) -> nn.Module:
        """A copy with folded weights; module paths stay, folded batch norms become identities."""
        pairs = foldable_pairs(model, example)
        model = copy.deepcopy(model)
        for layer_path, norm_path in pairs:
            layer, norm = model.get_submodule(layer_path), _with_affine(model, norm_path)
            fuse: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
            model.set_submodule(layer_path, fuse(layer, norm))
            model.set_submodule(norm_path, nn.Identity())
        return model


def _is_norm(module: nn.Module) -> bool:
    """Whether a layer is a batch norm with statistics of its own, and nothing else."""
    return (
        isinstance(module, _BatchNorm)
        and type(module).forward is _BatchNorm.forward
        and module.running_mean is not None
        and not module.training
        and _is_unchanged(module)
    )


def _is_layer(module: nn.Module) -> bool:
    """Whether a layer computes what its weight and bias say."""
    kind: Any = type(module)
    if not isinstance(module, FOLDABLE) or kind.forward not in _LAYER_FORWARDS:
        return False
    computed = getattr(kind, "_conv_forward", None)
    own = (getattr(known, "_conv_forward", None) for known in FOLDABLE)
    return any(computed is function for function in own) and _is_unchanged(module)


def _is_unchanged(module: nn.Module) -> bool:
    """Whether nothing but its class says what a layer does: no hook, no other weight."""
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return (
        not any(hooks) and "forward" not in vars(module) and not parametrize.is_parametrized(module)
    )


def _with_affine(model: nn.Module, path: str) -> nn.Module:
    """A batch norm of ``model``, with scale 1 and shift 0 where it had none: fusing needs both."""
    norm = model.get_submodule(path)
    assert isinstance(norm, _BatchNorm)
    if not norm.affine:
        assert norm.running_var is not None
        norm.weight = nn.Parameter(torch.ones_like(norm.running_var))
        norm.bias = nn.Parameter(torch.zeros_like(norm.running_var))
    return norm


def foldable_pairs(model: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Paths of each layer and the batch norm that alone consumes it, in order of computation.

    A module that is called twice, one whose weight is read elsewhere, and an output that anything
    else sees (a second layer, an addition, the caller), stay as they are.
    """
    calls = _calls(model, example)
    channels_last = _linear_over_tokens(model, example)
    count = Counter(calls.values())
    modules = dict(model.named_modules())
    pairs = []
    for node, norm_path in calls.items():
        if not _is_norm(modules[norm_path]):
            continue
        source = node.args[0]
        if not isinstance(source, fx.Node) or source not in calls:
            continue
        layer_path = calls[source]
        if not _is_layer(modules[layer_path]) or layer_path in channels_last:
            continue
        if len(source.users) == count[layer_path] == count[norm_path] == 1:
            pairs.append((layer_path, norm_path))
    return pairs


def _linear_over_tokens(model: nn.Module, example: Tensor) -> set[str]:
    """Linear layers whose output has more than two axes.

    A batch norm works on the second axis; their features lie in the last.
    """
    found: set[str] = set()
    linear = {path: m for path, m in model.named_modules() if isinstance(m, nn.Linear)}
    hooks = [
        layer.register_forward_hook(
            lambda _, __, output, path=path: found.add(path) if output.ndim > 2 else None
        )
        for path, layer in linear.items()
    ]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


class _Tracer(fx.Tracer):
    """Follows a forward pass symbolically, down to the layers that matter here."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        layers = (*FOLDABLE, _BatchNorm)
        return isinstance(m, layers) or super().is_leaf_module(m, module_qualified_name)


def _calls(model: nn.Module, example: Tensor) -> dict[fx.Node, str]:
    """Graph nodes that are calls of a module, with the module's path.

    The symbolic trace takes a tenth of a second. It fails where a network branches on the shape
    of its input; then torch.export, which knows the shape, gives the same answer in seconds.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception:  # the network's own code runs on proxies here and may raise anything
        return _exported_calls(model, example)
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    called = {node: str(node.target) for node in graph.nodes if node.op == "call_module"}
    return {node: path for node, path in called.items() if path not in read}


def _exported_calls(model: nn.Module, example: Tensor) -> dict[fx.Node, str]:
    program = torch.export.export(model, (example,))
    signature = program.graph_signature
    owners = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    tensor_argument = {
        torch.ops.aten.conv1d.default: 1,
        torch.ops.aten.conv2d.default: 1,
        torch.ops.aten.conv2d.padding: 1,
        torch.ops.aten.conv3d.default: 1,
        torch.ops.aten.linear.default: 1,
        torch.ops.aten.batch_norm.default: 3,
    }
    calls = {}
    for node in program.graph.nodes:
        position = tensor_argument.get(node.target)
        tensor = None if position is None else node.args[position]
        if isinstance(tensor, fx.Node) and tensor.name in owners and len(tensor.users) == 1:
            calls[node] = owners[tensor.name].rpartition(".")[0]
    return calls


LOWERING = FoldBatchNorm()
