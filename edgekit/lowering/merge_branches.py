"""Parallel convolutions whose results are added, as RepVGG's, MobileOne's and RepGhost's, as one.

What is linear in an image can be added in the weights: smaller kernels stand in the middle of
larger ones, fewer groups hold more of them, and an image itself is a convolution with ones. Batch
norms belong to it in eval mode. Training wants the branches; a file does not.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.core import Scheme, Target
from edgekit.core.reasons import PASSING
from edgekit.lowering.layers import is_layer, is_norm, is_same, module_calls, run_copy, traced

_SUMS = {operator.add, torch.add, "add"}
_IN_PLACE = {operator.iadd, "add_"}
_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout2d)  # in eval mode


class MergeBranches:
    """Merges where nothing else sees the branches, and the result does not compute more."""

    name = "merge-branches"

    def applies(self, model: nn.Module, target: Target, scheme: Scheme) -> bool:
        """Wherever there is a convolution with something beside it."""
        return sum(isinstance(m, nn.Conv2d | nn.BatchNorm2d) for m in model.modules()) > 1

    def rewrite(self, model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
        """The program of the network with merged branches; the largest one keeps its path.

        A network that cannot be traced stays as it is.
        """
        try:
            found, graph = traced(model)
        except PASSING:
            raise
        except BaseException:  # the network's own code runs on proxies here and may raise anything
            return model
        if not _merge(found, graph):
            return model
        with torch.no_grad():
            try:
                program = fx.GraphModule(found, graph, type(model).__name__)
                program.graph.eliminate_dead_code()
                program.recompile()
                same = is_same(run_copy(model, example), program(*example))
            except PASSING:
                raise
            except BaseException:  # sizes that do not fit after all
                return model
        return program if same else model


@dataclass(frozen=True, slots=True)
class _Linear:
    """A convolution of an image, and whose.

    Attributes:
        weight: (out, in / groups, height, width), of float64.
        padding: of zeros, in front; behind it is what the size of the result asks for.
        convs: paths of the convolutions that it is made of.
        branches: how many are added.
        cost: multiplications for a pixel, of all of them.
    """

    source: fx.Node
    weight: Tensor
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    convs: tuple[str, ...]
    branches: int
    cost: int

    def scaled(self, factor: Tensor, summand: Tensor) -> _Linear:
        """With each channel of the result times a factor, plus a summand."""
        weight = self.weight * factor.reshape(-1, 1, 1, 1)
        return replace(self, weight=weight, bias=self.bias * factor + summand)

    def in_groups(self, groups: int) -> Tensor:
        """The weight for fewer groups, which the number of those here is a multiple of."""
        out, per = self.weight.shape[:2]
        times = self.groups // groups
        wide = self.weight.new_zeros(out, per * times, *self.weight.shape[2:])
        rows = torch.arange(out)
        place = rows // (out // self.groups) % times  # of its group within the larger one
        columns = place[:, None] * per + torch.arange(per)
        wide[rows[:, None], columns] = self.weight
        return wide


def _merge(model: nn.Module, graph: fx.Graph) -> int:
    """Merges all that can be; gives how many sums became a convolution."""
    calls = module_calls(graph)
    times = Counter(calls.values())
    modules = {node: model.get_submodule(path) for node, path in calls.items() if times[path] == 1}
    for node in list(graph.nodes):
        same = _same(node, modules.get(node))
        if same is not None:
            node.replace_all_uses_with(same)
            graph.erase_node(node)
    linear: dict[fx.Node, _Linear] = {}
    for node in graph.nodes:
        branch = _linear(node, modules, linear)
        if branch is not None:
            linear[node] = branch
    count, done = 0, set[fx.Node]()
    for node in reversed(list(graph.nodes)):
        branch = linear.get(node)
        if branch is None:
            continue
        (reader,) = node.users if len(node.users) == 1 else (None,)
        if reader in done and linear[reader].source is branch.source:
            done.add(node)
            continue
        if branch.branches < 2 or not branch.convs or branch.weight.numel() > branch.cost:
            continue
        done.add(node)
        kept: dict[str, Any] = {path: model.get_submodule(path) for path in branch.convs}
        path = max(kept, key=lambda path: kept[path].weight.numel())
        model.set_submodule(path, _module(branch, kept[path]))
        with graph.inserting_before(node):
            new = graph.call_module(path, (branch.source,))
        node.replace_all_uses_with(new)
        count += 1
    return count


def _same(node: fx.Node, module: nn.Module | None) -> fx.Node | None:
    """What a node only hands on: of an identity, or of a sum with 0, as ``sum()`` begins with."""
    if node.kwargs or len(node.all_input_nodes) != 1:
        return None
    (source,) = node.all_input_nodes
    if module is not None:
        return source if type(module) in _IDENTITIES and not module.training else None
    if node.op in ("call_function", "call_method") and node.target in _SUMS:
        return source if set(node.args) == {source, 0} else None
    return None


def _module(linear: _Linear, like: nn.Conv2d) -> nn.Conv2d:
    out, per, height, width = linear.weight.shape
    with torch.device("meta"):
        made = nn.Conv2d(per * linear.groups, out, (height, width), groups=linear.groups)
    made.stride, made.padding = linear.stride, linear.padding
    made._reversed_padding_repeated_twice = [p for p in reversed(linear.padding) for _ in range(2)]
    kind = like.weight.dtype
    made.weight = nn.Parameter(linear.weight.to(kind), requires_grad=False)
    made.bias = nn.Parameter(linear.bias.to(kind), requires_grad=False)
    return made.eval()


def _linear(
    node: fx.Node, modules: Mapping[fx.Node, nn.Module], linear: Mapping[fx.Node, _Linear]
) -> _Linear | None:
    """A node as a convolution of another one."""
    module = modules.get(node)
    inputs = node.all_input_nodes
    if module is not None and len(node.args) == 1 and not node.kwargs and len(inputs) == 1:
        path, source = str(node.target), inputs[0]
        before = linear.get(source) if len(source.users) == 1 else None
        if isinstance(module, nn.Conv2d) and is_layer(module):
            return _of_conv(module, source, path)
        if isinstance(module, nn.BatchNorm2d) and is_norm(module):
            return _of_norm(module, source, before)
        return None
    if node.op not in ("call_function", "call_method"):
        return None
    if node.target not in {*_SUMS, *_IN_PLACE} or node.kwargs or len(node.args) != 2:
        return None
    left, right = node.args
    if node.target in _IN_PLACE and not (isinstance(left, fx.Node) and len(left.users) == 1):
        return None  # others see what is written there
    for one, other in ((left, right), (right, left)):
        if isinstance(one, fx.Node) and isinstance(other, int | float):
            known = _alone(one, linear)
            return (
                known
                if known is None
                else known.scaled(torch.ones_like(known.bias), torch.full_like(known.bias, other))
            )
    if isinstance(left, fx.Node) and isinstance(right, fx.Node):
        return _sum(left, right, linear)
    return None


def _alone(node: fx.Node, linear: Mapping[fx.Node, _Linear]) -> _Linear | None:
    """A node as a convolution, where nothing else sees it."""
    return linear.get(node) if len(node.users) == 1 else None


def _of_conv(conv: nn.Conv2d, source: fx.Node, path: str) -> _Linear | None:
    kernel, padding = conv.kernel_size, conv.padding
    if getattr(conv, "pads_by_size", False) or conv.padding_mode != "zeros":
        return None
    if any(d != 1 and k != 1 for d, k in zip(conv.dilation, kernel, strict=True)):
        return None
    if isinstance(padding, str):
        if padding == "same" and any(k % 2 == 0 for k in kernel):
            return None
        padding = tuple(k // 2 if padding == "same" else 0 for k in kernel)
    weight = conv.weight.detach().double()
    bias = (
        torch.zeros_like(weight[:, 0, 0, 0]) if conv.bias is None else conv.bias.detach().double()
    )
    stride, size = (conv.stride[0], conv.stride[-1]), (padding[0], padding[-1])
    return _Linear(source, weight, bias, stride, size, conv.groups, (path,), 1, weight.numel())


def _of_norm(norm: _BatchNorm, source: fx.Node, before: _Linear | None) -> _Linear:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        factor = factor * norm.weight.detach().double()
    summand = -norm.running_mean.double() * factor
    if norm.affine:
        summand = summand + norm.bias.detach().double()
    if before is not None:
        return before.scaled(factor, summand)
    return _itself(source, len(factor)).scaled(factor, summand)


def _itself(source: fx.Node, channels: int) -> _Linear:
    one = torch.ones(channels, 1, 1, 1, dtype=torch.float64)
    zero = torch.zeros(channels, dtype=torch.float64)
    return _Linear(source, one, zero, (1, 1), (0, 0), channels, (), 1, 0)


def _sum(left: fx.Node, right: fx.Node, linear: Mapping[fx.Node, _Linear]) -> _Linear | None:
    a, b = _alone(left, linear), _alone(right, linear)
    # An image itself is one of the branches where the other one is a convolution of it.
    if a is None or (b is not None and a.source is not b.source and b.source is left):
        a = None if b is None else _itself(left, len(b.bias))
    elif b is None or (a.source is not b.source and a.source is right):
        b = _itself(right, len(a.bias))
    if a is None or b is None or a.source is not b.source or len(a.bias) != len(b.bias):
        return None
    if a.stride != b.stride:
        return None
    groups = math.gcd(a.groups, b.groups)
    wide = [x.in_groups(groups) for x in (a, b)]
    padding = (max(a.padding[0], b.padding[0]), max(a.padding[1], b.padding[1]))
    ahead = [[p - q for p, q in zip(padding, x.padding, strict=True)] for x in (a, b)]
    kernel = [
        max(k + f for k, f in sizes)
        for sizes in zip(
            *(zip(w.shape[2:], f, strict=True) for w, f in zip(wide, ahead, strict=True)),
            strict=True,
        )
    ]
    if wide[0].shape[1] != wide[1].shape[1]:
        return None
    weight = wide[0].new_zeros(*wide[0].shape[:2], *kernel)
    for one, (top, side) in zip(wide, ahead, strict=True):
        height, width = one.shape[2:]
        weight[:, :, top : top + height, side : side + width] += one
    cost = a.cost + b.cost
    bias, convs = a.bias + b.bias, (*a.convs, *b.convs)
    branches = a.branches + b.branches
    return _Linear(a.source, weight, bias, a.stride, padding, groups, convs, branches, cost)


LOWERING = MergeBranches()
