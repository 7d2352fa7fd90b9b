"""Graphs that are taken over are those that torch.onnx would have given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit import registry
from edgekit.lowering import lower
from edgekit.models import find_spec
from edgekit.search.groups import resized, widths_of
from edgekit.search.parts import module_of, parts_of
from exporters._onnx_graphs import KeptGraphs
from exporters.onnx import _exported


class Counting:
    """Exports, and keeps count."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, model: nn.Module, example: Tensor) -> ModelProto:
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
            lowered, _ = lower(module, example, "onnx", target.schemes["fp32"])
            before = counting.count
            found = graphs.of(lowered, example)
            if counting.count == before:
                taken += 1
                assert content(found) == content(_exported(lowered, example)), part.name
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


class Own(nn.Module):
    """Somebody's network, whose code goes by more than its layers."""

    def __init__(self, channels: int = 4, **settings: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, channels, 3)
        self.scores = nn.Linear(channels, 5)
        self.settings_of_mine = tuple(sorted(settings.items()))

    def forward(self, x: Tensor) -> Tensor:
        settings = dict(self.settings_of_mine)
        x = self.conv(x)
        if settings.get("relu"):
            x = F.relu(x)
        if self.conv.out_channels > 6:  # the width itself says what is done
            x = x * 2
        scores: Tensor = self.scores(x.mean((2, 3)))
        return scores


@pytest.mark.parametrize(
    ("networks", "exports"),
    [
        ([Own(), Own()], 1),
        ([Own(4), Own(6)], 1),
        ([Own(4), Own(8)], 2),
        ([Own(), Own(relu=True)], 2),
        ([Own(), Own(relu=True), Own(5)], 2),
        ([Own(size=np.ones(1)), Own(size=np.ones(1))], 2),  # cannot be compared
    ],
    ids=["same", "wider", "code by width", "setting", "one of two", "odd setting"],
)
def test_what_differs_in_more_is_exported_anew(networks: Sequence[Own], exports: int) -> None:
    counting = Counting()
    graphs = KeptGraphs(counting)
    example = torch.randn(1, 3, 8, 8)
    for network in networks:
        found = graphs.of(network.eval(), example)
        assert content(found) == content(_exported(network, example))
    assert counting.count == exports


def test_zeros_and_shared_tensors_are_told_apart() -> None:
    plain, without, shared = ((nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)) for _ in range(3))
    assert without[0].bias is not None
    nn.init.zeros_(without[0].bias)  # torch.onnx leaves it out
    shared[1].weight = shared[0].weight
    counting = Counting()
    graphs = KeptGraphs(counting)
    example = torch.randn(1, 3, 4, 4)
    models = [nn.Sequential(*one, nn.Flatten()).eval() for one in (plain, without, shared)]
    for model in models * 2:
        assert content(graphs.of(model, example)) == content(_exported(model, example))
    assert counting.count == len(models)


def test_images_of_another_size_are_another_graph() -> None:
    counting = Counting()
    graphs = KeptGraphs(counting)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten()).eval()
    for side in (4, 6, 4):
        example = torch.randn(1, 3, side, side)
        assert content(graphs.of(model, example)) == content(_exported(model, example))
    assert counting.count == 2
