"""Shuffles of channels that no runtime need compute: the weights behind them are reordered.

Concatenating, shuffling and splitting only say where channels lie. A convolution of all channels
takes them in any order, and one of each channel by itself gives them in that order. What is left
of the shuffles of ShuffleNetV2 are slices and concatenations: docs/measurements/int8-forms.md.
"""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.core import Scheme, Target
from edgekit.core.reasons import PASSING
from edgekit.lowering.layers import (
    Tracer,
    is_layer,
    is_same,
    module_calls,
    run_copy,
    traced,
)
from edgekit.models.blocks import ChannelShuffle

# What moves channels, or says where they are, and computes nothing.
_MOVING: set[Any] = {
    torch.cat, torch.concat, torch.chunk, torch.split, torch.reshape, torch.transpose,
    torch.permute, torch.flatten, torch.narrow, operator.getitem, getattr,
    "reshape", "view", "transpose", "permute", "flatten", "contiguous", "chunk", "split", "narrow",
    "size", "swapaxes",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OrderChannels:
    """Reorders the weights of convolutions behind a shuffle, so that it is not needed.

    Only for targets that ask for it: a converter may do so while it writes.

    Attributes:
        grouped: whether to do so in front of grouped convolutions, too, where as many slices as
            the square of the groups take the shuffle's place.
    """

    name: str
    grouped: bool = False

    def applies(self, model: nn.Module, target: Target, scheme: Scheme) -> bool:
        """Wherever the target gains from it."""
        return self.name in target.lowerings

    def rewrite(self, model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
        """The program of the network without its shuffles; paths of its layers stay.

        A network that cannot be traced, or has no shuffles, stays as it is.
        """
        try:  # the network's own code runs on proxies and numbers here, and may raise anything
            found, graph = traced(model, _Tracer())
            if not any(_joins(node) for node in graph.nodes):
                return model
            program = fx.GraphModule(found, graph, type(model).__name__)
            with torch.no_grad():
                expected = run_copy(model, example)
                places = _Places(program)
                given = places.run(*example)
                if not is_same(expected, given) or not _reorder(program, places, self.grouped):
                    return model
                program.recompile()
                return program if is_same(expected, program(*example)) else model
        except PASSING:
            raise
        except BaseException:  # it stays as it is, which is right, if slower
            return model


class _Tracer(Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # It asks how its input lies in memory.
        return isinstance(m, ChannelShuffle) or super().is_leaf_module(m, module_qualified_name)


def _joins(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target in (torch.cat, torch.concat)


Owner = tuple[fx.Node, int]
"""What computes a channel, and its place there."""


class _Unknown:
    """In place of the numbers of channels, where there are none."""


class _Places(fx.Interpreter):
    """Runs a network, and follows its channels through what only moves them.

    Attributes:
        images: of nodes that give (N, C, H, W), the number of each channel.
        owners: by number of a channel.
    """

    def __init__(self, program: fx.GraphModule) -> None:
        super().__init__(program)
        self.images: dict[fx.Node, list[int]] = {}
        self.owners: list[Owner] = []
        self._marks: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Computes a node, and the same with numbers of channels in place of values."""
        value = super().run_node(n)
        marks = self._moved(n, value)
        if marks is _Unknown and isinstance(value, Tensor) and value.ndim == 4:
            count, first = value.shape[1], len(self.owners)
            self.owners += [(n, i) for i in range(count)]
            numbers = torch.arange(first, first + count, dtype=torch.float64)
            marks = numbers.reshape(1, -1, 1, 1).expand(value.shape)
        self._marks[n] = marks
        if isinstance(marks, Tensor) and marks.ndim == 4:
            self.images[n] = [int(i) for i in marks[0, :, 0, 0]]
        return value

    def of(self, node: Any) -> list[Owner]:
        """Owners of the channels of a node; none where it gives no image."""
        return [self.owners[i] for i in self.images.get(node, ())]

    def _moved(self, node: fx.Node, value: Any) -> Any:
        """Marks of what a node gives; `_Unknown` where it does more than move channels."""
        if not _has_tensors(value) and node.op != "call_module":
            return value  # a size, or a number
        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        given = [self._marks[one] for one in node.all_input_nodes]
        moves = node.target in _MOVING or type(module) in (ChannelShuffle, nn.Identity)
        if not moves or any(one is _Unknown for one in given):
            return _Unknown
        args = fx.node.map_arg(node.args, lambda n: self._marks[n])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: self._marks[n])
        if module is not None:
            return _whole(module(*args, **kwargs), value)
        if node.op == "call_method":
            return _whole(getattr(args[0], str(node.target))(*args[1:], **kwargs), value)
        assert callable(node.target)
        return _whole(node.target(*args, **kwargs), value)


def _has_tensors(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(isinstance(one, Tensor) for one in value)
    return isinstance(value, Tensor)


def _whole(marks: Any, value: Any) -> Any:
    """Marks, where every plane of them has one number still; `_Unknown` else."""
    if isinstance(marks, Tensor):
        if marks.ndim < 4 or marks.shape != value.shape:
            return _Unknown
        same = (marks == marks[:1, ..., :1, :1]).all()
        return marks if bool(same) else _Unknown
    parts = [_whole(one, other) for one, other in zip(marks, value, strict=True)]
    return _Unknown if any(part is _Unknown for part in parts) else tuple(parts)


Run = tuple[fx.Node, int, int]
"""Neighbouring channels of what a node gives: the first one, and their number."""


def _reorder(program: fx.GraphModule, places: _Places, grouped: bool) -> bool:
    """Makes convolutions read channels as they lie; whether there were any to change."""
    calls = module_calls(program.graph)
    times = Counter(calls.values())
    layers = {
        node: layer
        for node, path in calls.items()
        if times[path] == 1
        and len(node.args) == 1
        and isinstance(layer := program.get_submodule(path), nn.Conv2d)
        and is_layer(layer)
    }
    # Those that can take their channels in another order; of each channel by itself, none else can.
    taking = {
        node
        for node, layer in layers.items()
        if layer.groups == 1
        or (grouped and layer.groups <= MOST_GROUPS and layer.groups < layer.in_channels)
    }
    wanted: dict[fx.Node, list[Run]] = {}
    for node, layer in layers.items():
        owners = places.of(node.args[0])
        if not owners or _lie(owners) or len(set(owners)) != len(owners):
            continue
        if node in taking:
            order = _take(layer, owners)
        elif layer.groups == layer.in_channels == layer.out_channels and taking.issuperset(
            _readers(program, node)
        ):
            order = _hand_on(layer, owners)
            for new, old in enumerate(order):
                places.owners[places.images[node][old]] = (node, new)
        else:
            continue
        wanted[node] = _runs([owners[i] for i in order])
    if wanted:
        _read(program.graph, wanted, places)
        program.graph.eliminate_dead_code()
        program.delete_all_unused_submodules()
    return bool(wanted)


def _take(layer: nn.Conv2d, owners: Sequence[Owner]) -> list[int]:
    """Reorders what a convolution takes, within its groups; gives the order."""
    order, size = [], layer.in_channels // layer.groups
    weights = []
    for group, weight in enumerate(layer.weight.data.chunk(layer.groups)):
        own = _as_they_lie(owners[group * size : (group + 1) * size])
        weights.append(weight[:, own])
        order += [group * size + i for i in own]
    layer.weight.data = torch.cat(weights).contiguous()
    return order


def _hand_on(layer: nn.Conv2d, owners: Sequence[Owner]) -> list[int]:
    """Reorders what a convolution of each channel by itself takes and gives."""
    order = _as_they_lie(owners)
    layer.weight.data = layer.weight.data[order].contiguous()
    if layer.bias is not None:
        layer.bias.data = layer.bias.data[order].contiguous()
    return order


def _readers(program: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """What reads a node; what was folded away leaves nodes that do nothing."""
    for user in node.users:
        if user.op == "call_module" and isinstance(
            program.get_submodule(str(user.target)), nn.Identity
        ):
            yield from _readers(program, user)
        else:
            yield user


def _as_they_lie(owners: Sequence[Owner]) -> list[int]:
    """An order of channels in which those of the same node follow one another."""
    turn: dict[fx.Node, int] = {}
    for node, _ in owners:
        turn.setdefault(node, len(turn))
    return sorted(range(len(owners)), key=lambda i: (turn[owners[i][0]], owners[i][1]))


def _lie(owners: Sequence[Owner]) -> bool:
    """Whether channels lie in order already, those of each node side by side."""
    return len(_runs(owners)) == len({node for node, _ in owners})


def _runs(owners: Sequence[Owner]) -> list[Run]:
    runs: list[Run] = []
    for node, place in owners:
        if runs and runs[-1][0] is node and runs[-1][1] + runs[-1][2] == place:
            runs[-1] = (node, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((node, place, 1))
    return runs


def _read(graph: fx.Graph, wanted: Mapping[fx.Node, Sequence[Run]], places: _Places) -> None:
    """Makes nodes read channels side by side; what is read in parts is split once."""
    ends: dict[fx.Node, set[int]] = {}
    for runs in wanted.values():
        for node, first, count in runs:
            ends.setdefault(node, {0, len(places.images[node])}).update((first, first + count))
    parts: dict[tuple[fx.Node, int], fx.Node] = {}
    for node, found in ends.items():
        cuts = sorted(found)
        sizes = [b - a for a, b in itertools.pairwise(cuts)]
        if len(sizes) == 1:
            parts[node, 0] = node
            continue
        with graph.inserting_after(node):
            split = graph.call_function(torch.split, (node, sizes, 1))
        for i in reversed(range(len(sizes))):
            with graph.inserting_after(split):
                parts[node, cuts[i]] = graph.call_function(operator.getitem, (split, i))
    joined: dict[tuple[fx.Node, ...], fx.Node] = {}
    for node, runs in wanted.items():
        pieces = tuple(
            parts[source, place]
            for source, first, count in runs
            for place in sorted(ends[source])
            if first <= place < first + count
        )
        if len(pieces) > 1 and pieces not in joined:
            with graph.inserting_before(node):
                joined[pieces] = graph.call_function(torch.cat, (list(pieces), 1))
        node.args = (joined.get(pieces, pieces[0]),)


MOST_GROUPS = 3
"""As many slices as their square take the place of a shuffle: 9 are faster (ShuffleNetV1 with three
groups 1.14 times), 64 are slower (with eight groups 0.68 times)."""

CHANNELS = OrderChannels("order-channels")
"""Not in front of grouped convolutions: a form of those may take the shuffles in."""

GROUPS = OrderChannels("order-groups", grouped=True)
