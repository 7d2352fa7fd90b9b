"""Batch norm folded into the convolution or linear layer before it.

In eval mode a batch norm is one multiplication and one addition per channel, which the weights of
the layer before it can take over. Exporters do this for some patterns and forget others
(litert-torch leaves a multiplication behind a depthwise convolution), so it is done here, once,
for all targets.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from edgekit.core import Scheme, Target
from edgekit.core.reasons import PASSING
from edgekit.lowering.layers import (
    follows_its_weight,
    is_layer,
    is_norm,
    module_calls,
    traced,
    with_affine,
)
from edgekit.models.copying import own_copy


class FoldBatchNorm:
    """Folds where the output of a layer goes into one batch norm and nowhere else."""

    name = "fold-batchnorm"

    def applies(self, model: nn.Module, target: Target, scheme: Scheme) -> bool:
        """Wherever there is a batch norm: no runtime is faster with it."""
        return any(is_norm(module) for module in model.modules())

    def rewrite(self, model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
        """A copy with folded weights; module paths stay, folded batch norms become identities."""
        pairs = foldable_pairs(model, example)
        if not pairs:
            return model
        model = own_copy(model)
        for layer_path, norm_path in pairs:
            layer = model.get_submodule(layer_path)
            norm = with_affine(model.get_submodule(norm_path))
            fuse: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
            model.set_submodule(layer_path, fuse(layer, norm))
            model.set_submodule(norm_path, nn.Identity())
        return model


def foldable_pairs(model: nn.Module, example: tuple[Tensor, ...]) -> list[tuple[str, str]]:
    """Paths of each layer and the batch norm that alone consumes it, in order of computation.

    A layer that is called several times, as the branches of a siamese network do, counts where the
    same norm follows each time. One whose weight is read elsewhere, and one whose output anything
    else sees (a second layer, an addition, the caller), stay as they are.
    """
    calls = _calls(model, example)
    channels_last = _linear_over_tokens(model, example)
    count = Counter(calls.values())
    modules = dict(model.named_modules())
    together: Counter[tuple[str, str]] = Counter()
    for node, norm_path in calls.items():
        if not is_norm(modules[norm_path]):
            continue
        source = node.args[0]
        if not isinstance(source, fx.Node) or source not in calls:
            continue
        layer_path = calls[source]
        layer = modules[layer_path]
        whole = is_layer(layer) or follows_its_weight(layer)
        if whole and layer_path not in channels_last and len(source.users) == 1:
            together[layer_path, norm_path] += 1
    return [
        (layer, norm)
        for (layer, norm), times in together.items()
        if times == count[layer] == count[norm]
    ]


def _linear_over_tokens(model: nn.Module, example: tuple[Tensor, ...]) -> set[str]:
    """Linear layers whose output has more than two axes.

    A batch norm works on the second axis; their features lie in the last.
    """
    found: set[str] = set()
    model = own_copy(model)
    linear = {path: m for path, m in model.named_modules() if isinstance(m, nn.Linear)}
    for path, layer in linear.items():
        layer.register_forward_hook(
            lambda _, __, output, path=path: found.add(path) if output.ndim > 2 else None
        )
    with torch.no_grad():
        model(*example)
    return found


def _calls(model: nn.Module, example: tuple[Tensor, ...]) -> dict[fx.Node, str]:
    """Graph nodes that are calls of a module, with the module's path.

    Where the symbolic trace fails, torch.export, which knows the shape of the input, gives the
    same answer in seconds.
    """
    try:
        _, graph = traced(model)
    except PASSING:
        raise
    except BaseException:  # the network's own code runs on proxies here and may raise anything
        return _exported_calls(model, example)
    return module_calls(graph)


def _exported_calls(model: nn.Module, example: tuple[Tensor, ...]) -> dict[fx.Node, str]:
    program = torch.export.export(own_copy(model), example)
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
