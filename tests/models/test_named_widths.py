"""Named widths: tensors know them, they agree along the graph, and channels can be taken out."""

from __future__ import annotations

import copy
import dataclasses
import operator
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from zoo_networks import KINDS, NAMES, images, laid_out, small

from edgekit.models import build, find_spec
from edgekit.models.blocks import ChannelShuffle
from edgekit.models.widths import Axes, BatchNorm2d, Conv2d, Linear, Width, named_axes

FIXED = ("image", "classes")


def all_widths(model: nn.Module) -> list[Width]:
    """Every mention of a width, those inside others too."""
    found, todo = [], [w for _, _, axes in named_axes(model) for axis in axes for w in axis or ()]
    while todo:
        width = todo.pop()
        found.append(width)
        todo += width.parts
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_axis_is_as_long_as_its_widths_and_every_name_has_one_size(name: str) -> None:
    model = laid_out(f"{name}@0.35")
    seen = set()
    for path, tensor, axes in named_axes(model):
        seen.add(path)
        assert len(axes) == tensor.ndim, path
        for length, widths in zip(tensor.shape, axes, strict=True):
            if widths is not None:
                assert length == sum(width.n for width in widths), path
    assert seen == {key for key, value in model.state_dict().items() if value.ndim}
    known: dict[str, set[tuple[int, bool]]] = defaultdict(set)
    for width in all_widths(model):
        known[width.name].add((width.n, width.free))
        assert not width.parts or width.n == sum(part.n for part in width.parts)
    assert {key: kinds for key, kinds in known.items() if len(kinds) != 1} == {}
    assert known["image"] == {(3, True)}
    assert known["classes"] == {(1000, True)}


@pytest.mark.parametrize("name", NAMES)
def test_axes_without_a_name_are_those_of_kernels_and_of_groups(name: str) -> None:
    model = laid_out(f"{name}@0.35")
    for path, tensor, axes in named_axes(model):
        layer = model.get_submodule(path.rpartition(".")[0])
        grouped = isinstance(layer, Conv2d) and layer.groups > 1
        if isinstance(layer, Conv2d) and grouped:
            assert layer.depthwise or not layer.inputs.free, path
        unnamed = [axis for axis, widths in enumerate(axes) if widths is None]
        expected = [] if tensor.ndim < 4 else [1, 2, 3] if grouped else [2, 3]
        assert unnamed == expected, path


def test_layers_that_do_not_know_their_widths_are_refused() -> None:
    model = nn.Sequential(build("mobilenetv1@0.25"), nn.Linear(1000, 2))
    with pytest.raises(TypeError, match=r"^1 \(Linear\) has tensors without named widths"):
        list(named_axes(model))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not list(m.children())


Channels = tuple[Width, ...]
"""What the channels of a tensor are, in order."""


def leaves(width: Width) -> Channels:
    """A width as the parts that were concatenated to make it."""
    return sum((leaves(part) for part in width.parts), ()) if width.parts else (width,)


def mixed(channels: Channels) -> Channels:
    """Channels that were dealt out anew: still so many, of which none can go alone."""
    assert not any(width.free for width in channels), channels
    if len({width.name for width in channels}) == 1:
        return channels
    return (Width("mixed", sum(width.n for width in channels), free=False),)


def same(found: Channels, expected: Channels) -> bool:
    """Whether channels are those that a layer expects; of mixed ones the number is known."""
    if found == expected:
        return True
    every = found + expected
    anonymous = any(width.name == "mixed" for width in found)
    equal = sum(w.n for w in found) == sum(w.n for w in expected)
    return anonymous and equal and not any(width.free for width in every)


def halves(channels: Channels) -> list[Channels]:
    """Both halves of channels, where a boundary between widths lies in the middle."""
    middle = len(channels) // 2
    first, second = channels[:middle], channels[middle:]
    assert sum(w.n for w in first) == sum(w.n for w in second), channels
    return [first, second]


def joined(node: fx.Node, before: Sequence[Any]) -> Any:
    """The channels that a function without weights gives."""
    if node.target is torch.cat:
        return sum(before, ())
    if node.target == "chunk":
        return halves(before[0])
    if node.target is operator.getitem:
        if isinstance(node.args[1], int):
            return before[0][node.args[1]]
        assert isinstance(node.args[1], tuple)
        step = node.args[1][1]
        assert isinstance(step, slice)
        assert step.step == 2
        (every,) = mixed(before[0]) if len(before[0]) > 1 else before[0]
        return (Width("mixed", every.n // 2, free=every.free),)
    assert node.target in (operator.add, operator.mul), node
    one, other = before
    assert same(one, other) or same(other, one), f"{node} joins {one} and {other}"
    return other if one[0].name == "mixed" else one


@pytest.mark.parametrize("name", NAMES)
def test_widths_agree_along_every_edge_and_additions_share_a_name(name: str) -> None:
    # Padding by the size of the image cannot be traced, and changes no width.
    spec = dataclasses.replace(find_spec(f"{name}@0.5"), padding="symmetric")
    with torch.device("meta"):
        model = build(spec)
    modules = dict(model.named_modules())
    channels: dict[fx.Node, Any] = {}
    additions = concatenations = 0
    for node in _Tracer().trace(model).nodes:
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        before = [channels[arg] for arg in node.all_input_nodes if arg in channels]
        if isinstance(layer, Conv2d | Linear):
            if before:  # the first layer has the image before it
                assert same(before[0], leaves(layer.inputs)), f"{node} is given {before}"
            else:
                assert layer.inputs == Width("image", 3)
            channels[node] = leaves(layer.outputs)
        elif isinstance(layer, BatchNorm2d):
            assert before == [leaves(layer.width)], node
            channels[node] = before[0]
        elif isinstance(layer, ChannelShuffle):
            channels[node] = mixed(before[0])
        elif before and node.op in ("call_function", "call_method"):
            additions += node.target is operator.add
            concatenations += node.target is torch.cat
            channels[node] = joined(node, before)
        elif before:
            channels[node] = before[0]
    blocks = [m for m in model.modules() if getattr(m, "residual", False)]
    assert additions == len(blocks)
    assert name == "mobilenetv1" or additions + concatenations > 0


def kept_indices(axes: Axes, axis: int, kept: Mapping[str, list[int]]) -> list[int] | None:
    """Positions of an axis that stay when widths keep those channels; None: all of them."""
    widths = axes[axis]
    if widths is None or all(width.name not in kept for width in widths):
        return None
    positions, offset = [], 0
    for width in widths:
        positions += [offset + i for i in kept.get(width.name, range(width.n))]
        offset += width.n
    return positions


def zeroed(model: nn.Module, kept: Mapping[str, list[int]]) -> nn.Module:
    """A copy in which no layer gives anything on the channels that are not kept."""
    model = copy.deepcopy(model)
    for path, tensor, axes in named_axes(model):
        stay = kept_indices(axes, 0, kept)
        if stay is not None and path.endswith((".weight", ".bias")):
            mask = torch.zeros(len(tensor), dtype=torch.bool)
            mask[stay] = True
            tensor.data[~mask] = 0
    return model


def sliced(model: nn.Module, kept: Mapping[str, list[int]]) -> nn.Module:
    """A copy without those channels, by nothing but the names."""
    model = copy.deepcopy(model)
    for path, tensor, axes in list(named_axes(model)):
        value: Tensor = tensor.data
        for axis in range(tensor.ndim):
            stay = kept_indices(axes, axis, kept)
            if stay is not None:
                value = value.index_select(axis, torch.tensor(stay))
        owner, _, attribute = path.rpartition(".")
        layer = model.get_submodule(owner)
        is_parameter = isinstance(tensor, nn.Parameter)
        setattr(layer, attribute, nn.Parameter(value) if is_parameter else value)
        if isinstance(layer, Conv2d) and layer.depthwise:
            layer.groups = len(layer.weight)
    return model


def free_widths(model: nn.Module) -> dict[str, int]:
    """Channels of every width of which single ones can be taken out."""
    every = {w.name: w.n for w in all_widths(model) if w.free}
    return {name: n for name, n in sorted(every.items()) if name not in FIXED}


def check_slicing(model: nn.Module, kept: Mapping[str, list[int]]) -> None:
    narrow = sliced(model, kept)
    with torch.no_grad():
        expected = zeroed(model, kept)(images(2).double())
        found = narrow(images(2).double())
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-11)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, narrow))
    widths = free_widths(model)
    assert after < before or all(len(stay) == widths[name] for name, stay in kept.items())


# In ShuffleNetV1 every width is mixed by groups or shuffles, none is free.
@pytest.mark.parametrize("name", [n for n in KINDS if not n.startswith("shufflenetv1")])
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_slicing_a_width_equals_zeroing_its_channels(name: str, data: st.DataObject) -> None:
    model = small(name)
    width, n = data.draw(st.sampled_from(sorted(free_widths(model).items())))
    kept = data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n))
    check_slicing(model, {width: sorted(kept)})


@pytest.mark.parametrize("name", NAMES)
def test_slicing_all_widths_at_once_equals_zeroing_them(name: str) -> None:
    model = small(name)
    rng = torch.Generator().manual_seed(3)
    kept = {
        width: torch.randperm(n, generator=rng)[: max(1, n * 3 // 4)].sort().values.tolist()
        for width, n in free_widths(model).items()
    }
    check_slicing(model, kept)


@pytest.mark.parametrize("name", NAMES)
def test_every_family_but_for_its_shuffled_channels_is_free(name: str) -> None:
    """Or else the tests above would hold for want of widths."""
    widths = {width.name: width.free for width in all_widths(laid_out(name))}
    bound = {width for width, free in widths.items() if not free}
    if not name.startswith("shufflenet"):
        assert bound == set()
    elif name.startswith("shufflenetv2"):
        assert {"head", "block0.inner", "block9.inner"} <= set(widths) - bound
    else:
        assert bound == set(widths) - set(FIXED)


@pytest.mark.parametrize("name", NAMES)
def test_channels_of_every_free_width_matter(name: str) -> None:
    """Or else slicing would equal zeroing for want of any effect.

    By the derivative: how much the scores change when what a width carries grows by a share.
    """
    model = copy.deepcopy(small(name))
    scores = model(images(8).double())
    weights = torch.randn(scores.shape, generator=torch.Generator().manual_seed(1)).double()
    (scores * weights).sum().backward()
    effect: dict[str, float] = defaultdict(float)
    for _, tensor, axes in named_axes(model):
        if tensor.grad is not None:
            for width in axes[0] or ():
                effect[width.name] += float((tensor.grad * tensor.detach()).square().sum())
    size = float(scores.detach().square().sum())
    idle = [width for width in free_widths(model) if not effect[width] > 1e-10 * size]
    assert not idle
