"""Graphs that are taken over are those that torch.onnx would have given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from onnx import ModelProto
from small_examples import singly
from tiny_network import images, ranges, tiny
from torch import Tensor, fx, nn

from edgekit import registry
from edgekit.core import Example, of_image
from edgekit.lowering import lower
from edgekit.models import find_spec
from edgekit.search.groups import resized, widths_of
from edgekit.search.parts import module_of, parts_of
from exporters import _onnx_graphs
from exporters._onnx_graphs import KeptGraphs
from exporters.onnx import OnnxTarget, _exported


class Counting:
    """Exports, and keeps count."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, model: nn.Module, example: Example) -> ModelProto:
        self.count += 1
        return _exported(model, example)


def content(proto: ModelProto) -> bytes:
    return bytes(proto.SerializeToString(deterministic=True))


@pytest.mark.parametrize("name", ["mobilenetv3-small", "mobilenetv1@0.25"])
def test_parts_of_other_widths_are_as_if_exported(name: str) -> None:
    target = registry.target("onnx")
    spec = find_spec(name, classes=10, resolution=32)
    narrow = resized(spec, {width: n // 2 for width, n in widths_of(spec).items()})
    counting = Counting()
    graphs = KeptGraphs(counting)
    taken = 0
    chosen = ("stem", "block1", "block4", "tail")
    for one in (spec, narrow):
        for part in parts_of(one):
            if part.name not in chosen:
                continue
            example = torch.randn(1, *part.shape)
            module = with_numbers(module_of(one, part.name))
            lowered, _ = lower(module, (example,), target, target.schemes["fp32"])
            before = counting.count
            found = graphs.of(lowered, of_image(example))
            if counting.count == before:
                taken += 1
                assert content(found) == content(_exported(lowered, of_image(example))), part.name
    assert taken == len(chosen)


def with_numbers(module: nn.Module) -> nn.Module:
    """Statistics and biases as of a trained network."""
    torch.manual_seed(0)
    for own in module.modules():
        if isinstance(own, nn.BatchNorm2d):
            assert own.running_mean is not None
            nn.init.normal_(own.running_mean)
            nn.init.normal_(own.bias)
    return module.eval()


class Scaled(nn.Module):
    """Somebody's network, whose code may go by anything."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = plain()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.inner(x)
        return scores * 2


def plain(channels: int = 4, **settings: Any) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, channels, 3, **settings), nn.ReLU6(), nn.Flatten()).eval()


def equal(first: nn.Sequential, value: float) -> nn.Sequential:
    for one in (first[0].weight, first[0].bias):
        nn.init.constant_(one, value)
    return first


def changed(network: nn.Sequential, change: Callable[[nn.Module], object]) -> nn.Module:
    change(network)
    return network


@pytest.mark.parametrize(
    ("networks", "exports"),
    [
        ([plain(), plain()], 1),
        ([plain(4), plain(6)], 1),
        ([plain(6, groups=3), plain(3, groups=3)], 2),
        ([plain(6, groups=3), plain(12, groups=3)], 1),
        ([plain(), plain(stride=2)], 2),
        ([plain(), plain(bias=False), plain(5), plain(5, bias=False)], 2),
        ([plain(), equal(plain(), 0.0), plain()], 2),  # biases of zeros are left out
        ([plain(), nn.Sequential(plain()).eval()], 2),
        ([Scaled().eval(), Scaled().eval()], 2),
        ([changed(plain(), lambda net: net.register_forward_hook(print))] * 2, 2),
        ([changed(plain(), lambda net: net.train())] * 2, 2),
        ([changed(plain(), lambda net: net.register_buffer("b", torch.ones(1), False))] * 2, 2),
    ],
    ids=[
        "same", "wider", "depthwise", "groups", "stride", "bias", "zeros", "deeper", "own code",
        "hook", "training", "hidden buffer",
    ],
)  # fmt: skip
def test_what_differs_in_more_is_exported_anew(networks: Sequence[nn.Module], exports: int) -> None:
    counting = Counting()
    graphs = KeptGraphs(counting)
    example = torch.randn(1, 3, 8, 8)
    for network in networks:
        found = graphs.of(network, of_image(example))
        assert content(found) == content(_exported(network, of_image(example)))
    assert counting.count == exports


def test_what_is_folded_is_exported_anew() -> None:
    class Folded(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))
            self.factor = nn.Parameter(torch.full((1,), factor))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, self.weight * self.factor).flatten(1)

    counting = Counting()
    graphs = KeptGraphs(counting)
    example = torch.randn(1, 3, 4, 4)
    for factor in (2.0, 3.0):
        traced = fx.symbolic_trace(Folded(factor).eval())
        assert content(graphs.of(traced, of_image(example))) == content(
            _exported(traced, of_image(example))
        )


def test_a_graph_that_gives_something_else_is_not_used() -> None:
    def wrong(model: nn.Module, example: Tensor) -> ModelProto:
        proto = _exported(model, example)
        for node in proto.graph.node:
            if node.op_type == "Relu":
                node.op_type = "Neg"
        return proto

    graphs, counting = KeptGraphs(wrong), Counting()
    example = torch.randn(1, 3, 4, 4)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten()).eval()
    graphs.of(model, of_image(example))
    graphs._export = counting
    assert content(graphs.of(model, of_image(example))) == content(
        _exported(model, of_image(example))
    )
    assert counting.count == 1


def test_equal_and_shared_tensors_are_told_apart() -> None:
    def two() -> tuple[nn.Conv2d, nn.Conv2d]:
        return nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    other, shared, same = two(), two(), two()
    shared[1].weight = shared[0].weight
    same[1].load_state_dict(same[0].state_dict())
    counting = Counting()
    graphs = KeptGraphs(counting)
    example = torch.randn(1, 3, 4, 4)
    models = [nn.Sequential(*one, nn.Flatten()).eval() for one in (other, shared, same)]
    for model in models * 2:
        assert content(graphs.of(model, of_image(example))) == content(
            _exported(model, of_image(example))
        )
    assert counting.count == len(models)


def test_what_is_kept_has_no_weights() -> None:
    graphs = KeptGraphs(_exported)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 64)).eval()
    graphs.of(model, of_image(torch.randn(1, 3, 64, 64)))
    (kept,) = graphs._graphs.values()
    assert kept.ByteSize() < 10_000


def test_the_oldest_graphs_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_onnx_graphs, "KEPT", 2)
    counting = Counting()
    graphs = KeptGraphs(counting)
    sizes = (4, 5, 6, 5, 4)
    for side in sizes:
        graphs.of(plain(), of_image(torch.randn(1, 3, side, side)))
    assert counting.count == 4


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_precisions_leave_a_kept_graph_as_it_is(precision: str, tmp_path: Path) -> None:
    target = OnnxTarget()
    model, example = tiny(), images(1)
    found = ranges(target)
    files = []
    for name in ("fp32", precision, "fp32", precision):
        path = tmp_path / "tiny.onnx"
        target.export(model, of_image(example), path, target.schemes[name], singly(found))
        files.append(path.read_bytes())
    assert files[:2] == files[2:]


def test_images_of_another_size_are_another_graph() -> None:
    counting = Counting()
    graphs = KeptGraphs(counting)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten()).eval()
    for side in (4, 6, 4):
        example = torch.randn(1, 3, side, side)
        assert content(graphs.of(model, of_image(example))) == content(
            _exported(model, of_image(example))
        )
    assert counting.count == 2
