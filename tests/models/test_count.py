from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.models import build
from edgekit.models.count import Layer, layers


def test_layers_come_in_order_with_their_shapes_and_costs() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
        nn.Conv2d(8, 12, 1, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    ).eval()
    assert layers(model, 16) == [
        Layer("0", "Conv2d 3x3 /2", (1, 8, 8, 8), 8 * 27 + 8, 8 * 27 * 64),
        Layer("1", "BatchNorm2d", (1, 8, 8, 8), 16, 0),
        Layer("2", "ReLU", (1, 8, 8, 8), 0, 0),
        Layer("3", "depthwise 5x5", (1, 8, 8, 8), 200, 200 * 64),
        Layer("4", "Conv2d 1x1 g4", (1, 12, 8, 8), 24 + 12, 24 * 64),
        Layer("5", "AdaptiveAvgPool2d", (1, 12, 1, 1), 0, 0),
        Layer("6", "Flatten", (1, 12), 0, 0),
        Layer("7", "Linear", (1, 5), 65, 60),
    ]


def test_a_convolution_of_one_channel_is_not_called_depthwise() -> None:
    grey = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Conv2d(1, 4, 3)).eval()
    assert [layer.op for layer in layers(grey, 8)] == ["Conv2d 1x1", "Conv2d 3x3"]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.unused = nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.conv(x))
        return y


def test_a_layer_that_runs_twice_costs_twice_and_is_stored_once() -> None:
    found = layers(Twice().eval(), 4)
    assert [(f.name, f.params, f.macs) for f in found] == [("conv", 9, 144), ("conv", 0, 144)]


def test_counting_leaves_the_network_as_it_is() -> None:
    model = build("mobilenetv3-small@0.25", resolution=32).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    layers(model, 32)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_edgekits_own_layers_go_by_the_names_of_torch() -> None:
    found = {layer.op for layer in layers(build("mobilenetv3-small", resolution=32).eval(), 32)}
    assert found >= {"Conv2d 3x3 /2", "depthwise 3x3 /2", "depthwise 5x5", "Conv2d 1x1"}
    assert found >= {"BatchNorm2d", "Hardswish", "Hardsigmoid", "Linear", "Dropout"}


def test_all_parameters_are_counted() -> None:
    model = build("mobilenetv2@0.35", resolution=32).eval()
    total = sum(p.numel() for p in model.parameters())
    assert sum(layer.params for layer in layers(model, 32)) == total
