"""Products and sums with constants, folded into the layer in front of them or behind them.

Such as ``(image - mean) / std`` at the beginning of a network, a learned scale of a residual
branch, or the ``/ 6`` of a h-swish written by hand. A constant is a number, or a tensor with one
value per channel. ONNX Runtime and OpenVINO fold some of them while they load a file of float32;
in integers each is an operator with a rounding of its own: see docs/measurements/int8-forms.md.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.core import Scheme, Target
from edgekit.core.reasons import PASSING
from edgekit.lowering.layers import (
    FOLDABLE,
    is_layer,
    is_norm,
    is_same,
    module_calls,
    run_copy,
    traced,
    with_affine,
)

_KINDS: dict[Any, str] = {
    operator.mul: "mul", torch.mul: "mul", torch.multiply: "mul", "mul": "mul",
    operator.truediv: "div", torch.div: "div", torch.true_divide: "div", "div": "div",
    operator.add: "add", torch.add: "add", "add": "add",
    operator.sub: "sub", torch.sub: "sub", torch.subtract: "sub", "sub": "sub",
    operator.neg: "neg", torch.neg: "neg", "neg": "neg",
}  # fmt: skip
# These write into their input, which others may see under another name: not so behind a layer.
_IN_PLACE: dict[Any, str] = {
    operator.imul: "mul", "mul_": "mul", operator.itruediv: "div", "div_": "div",
    operator.iadd: "add", "add_": "add", operator.isub: "sub", "sub_": "sub", "neg_": "neg",
}  # fmt: skip
# What a constant may go through before it is used.
_OF_CONSTANTS = {*_KINDS, operator.getitem, torch.reshape, torch.unsqueeze, "reshape", "view",
                 "unsqueeze", "squeeze", "exp", "sqrt", torch.exp, torch.sqrt}  # fmt: skip


class FoldScalars:
    """Folds where nothing else sees what is between the constant and the layer."""

    name = "fold-scalars"

    def applies(self, model: nn.Module, target: Target, scheme: Scheme) -> bool:
        """Wherever there is a layer that could take a constant."""
        return any(is_layer(module) for module in model.modules())

    def rewrite(self, model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
        """The program of the network without what was folded; paths of its layers stay.

        A network that cannot be traced stays as it is.
        """
        try:
            found, graph = traced(model)
        except PASSING:
            raise
        except BaseException:  # the network's own code runs on proxies here and may raise anything
            return model
        constants = _constants(found, graph)
        if not any(_affine(node, constants) for node in graph.nodes):
            return model
        with torch.no_grad():
            program = fx.GraphModule(found, graph, type(model).__name__)
            try:
                expected = run_copy(model, example)
                propagated = ShapeProp(program).propagate(*example)
            except PASSING:
                raise
            except BaseException:  # see above
                return model
            # What code asks of a proxy may send it another way than a tensor would.
            if not is_same(expected, propagated) or not _fold(program, constants):
                return model
            program.recompile()
            return program if is_same(expected, program(*example)) else model


def _kind(node: fx.Node) -> str | None:
    """Which arithmetic a node does; ``None`` for any other."""
    if node.op not in ("call_function", "call_method") or node.kwargs:
        return None
    return _KINDS.get(node.target) or _IN_PLACE.get(node.target)


@dataclass(frozen=True, slots=True)
class _Affine:
    """``x * scale + shift``, where the other two are constants."""

    x: fx.Node
    scale: Tensor
    shift: Tensor


def _fold(program: fx.GraphModule, constants: Mapping[fx.Node, Tensor]) -> int:
    """Folds until nothing is left to fold; gives how often it did."""
    count = 0
    changed = True
    while changed:
        changed = False
        calls = module_calls(program.graph)
        times = Counter(calls.values())
        layers = {
            node: program.get_submodule(path) for node, path in calls.items() if times[path] == 1
        }
        for node in list(program.graph.nodes):
            affine = _affine(node, constants)
            if affine is not None and (
                _into_the_layer_before(node, affine, layers)
                or _into_the_layer_behind(node, affine, layers)
            ):
                node.replace_all_uses_with(affine.x)
                program.graph.erase_node(node)
                count += 1
                changed = True
    if count:
        program.graph.eliminate_dead_code()
    return count


def _constants(model: nn.Module, graph: fx.Graph) -> dict[fx.Node, Tensor]:
    """What does not depend on the image."""
    values: dict[fx.Node, Tensor] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            value: Any = model
            for part in str(node.target).split("."):
                value = getattr(value, part)
            if isinstance(value, Tensor):
                values[node] = value.detach()
        elif node.op in ("call_function", "call_method") and node.target in _OF_CONSTANTS:
            inputs = node.all_input_nodes
            if inputs and all(one in values for one in inputs):
                args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
                if node.op == "call_function":
                    values[node] = node.target(*args, **kwargs)
                else:
                    values[node] = getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return values


def _affine(node: fx.Node, constants: Mapping[fx.Node, Tensor]) -> _Affine | None:
    """A node as a product and a sum; ``None`` where it is none."""
    kind = _kind(node)
    if kind is None or node in constants:
        return None
    operands = [constants.get(arg, arg) if isinstance(arg, fx.Node) else arg for arg in node.args]
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    if kind == "neg":
        return _Affine(operands[0], -one, zero) if isinstance(operands[0], fx.Node) else None
    if len(operands) != 2:
        return None
    left, right = operands
    first = isinstance(left, fx.Node)
    x, other = (left, right) if first else (right, left)
    if not isinstance(x, fx.Node) or not isinstance(other, int | float | Tensor):
        return None
    c = torch.as_tensor(other, dtype=torch.float64)
    made = {
        "mul": (c, zero),
        "add": (one, c),
        "sub": (one, -c) if first else (-one, c),
        "div": (1 / c, zero) if first else None,
    }[kind]
    return None if made is None else _Affine(x, *made)


def _into_the_layer_before(
    node: fx.Node, affine: _Affine, layers: Mapping[fx.Node, nn.Module]
) -> bool:
    """Scales the rows of the weight, and the bias; whether it did."""
    layer = layers.get(affine.x)
    if layer is None or not (is_layer(layer) or is_norm(layer)):
        return False
    if len(affine.x.users) > 1 or _form(node) != _form(affine.x):
        return False
    if isinstance(layer, _BatchNorm):
        layer = with_affine(layer)
        width = layer.num_features
    else:
        assert isinstance(layer, FOLDABLE)
        width = len(layer.weight)
    found = _by_channel(node, affine, _channel_axis(layer, node), width)
    if found is None:
        return False
    scale, shift = found
    weight = layer.weight.double() * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    bias = shift if layer.bias is None else layer.bias.double() * scale + shift
    return _set(layer, weight, bias)


def _into_the_layer_behind(
    node: fx.Node, affine: _Affine, layers: Mapping[fx.Node, nn.Module]
) -> bool:
    """Scales the columns of the weight, and adds to the bias; whether it did."""
    (reader,) = node.users if len(node.users) == 1 else (None,)
    layer = None if reader is None else layers.get(reader)
    if reader is None or layer is None or reader.args != (node,) or not is_layer(layer):
        return False
    if node.target in _IN_PLACE or _form(node) != _form(affine.x):
        return False
    assert isinstance(layer, FOLDABLE)
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    width = layer.weight.shape[1] * groups
    scales = _by_channel(node, affine, _channel_axis(layer, node), width)
    if scales is None or (scales[1].any() and _pads_zeros(layer)):
        return False
    # Each group of rows has columns of its own.
    scale, shift = (
        values.reshape(groups, -1).repeat_interleave(len(layer.weight) // groups, 0)
        for values in scales
    )
    weight, tail = layer.weight.double(), [1] * (layer.weight.ndim - 2)
    added = (weight * shift.reshape(*shift.shape, *tail)).flatten(1).sum(1)
    bias = added if layer.bias is None else layer.bias.double() + added
    return _set(layer, weight * scale.reshape(*scale.shape, *tail), bias)


def _pads_zeros(layer: nn.Module) -> bool:
    """Whether a layer sees zeros at the edges, to which nothing would have been added."""
    if isinstance(layer, nn.Linear):
        return False
    if getattr(layer, "pads_by_size", False):
        return True
    padding: Any = layer.padding
    pads = padding != "valid" if isinstance(padding, str) else any(padding)
    return pads and layer.padding_mode == "zeros"


def _channel_axis(layer: nn.Module, node: fx.Node) -> int:
    """Where the channels lie in what a layer takes and makes."""
    rank = len(node.meta["tensor_meta"].shape)
    if isinstance(layer, nn.Linear):
        return rank - 1
    if isinstance(layer, _BatchNorm):
        return 1
    assert isinstance(layer, FOLDABLE)
    return rank - (layer.weight.ndim - 1)


def _form(node: fx.Node) -> tuple[Any, ...] | None:
    """Shape and type; a constant may change both."""
    meta = node.meta.get("tensor_meta")
    return None if meta is None else (meta.shape, meta.dtype)


def _by_channel(
    node: fx.Node, affine: _Affine, axis: int, width: int
) -> tuple[Tensor, Tensor] | None:
    """Scale and shift of each channel; ``None`` where pixels differ, or for infinite ones."""
    rank = len(node.meta["tensor_meta"].shape)
    by_channel = []
    for values in (affine.scale, affine.shift):
        shape = [1] * (rank - values.ndim) + list(values.shape)
        others = [size for i, size in enumerate(shape) if i != axis]
        if len(shape) > rank or any(size != 1 for size in others):
            return None
        if shape[axis] not in (1, width) or not values.isfinite().all():
            return None
        by_channel.append(values.reshape(-1).expand(width))
    return by_channel[0], by_channel[1]


def _set(layer: Any, weight: Tensor, bias: Tensor) -> bool:
    """New values of a layer, unless its type cannot hold them."""
    kind = layer.weight.dtype
    if not (weight.to(kind).isfinite().all() and bias.to(kind).isfinite().all()):
        return False
    layer.weight = nn.Parameter(weight.to(kind))
    if layer.bias is not None or bias.any():
        layer.bias = nn.Parameter(bias.to(kind))
    return True


LOWERING = FoldScalars()
