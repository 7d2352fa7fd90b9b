from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.models import build
from edgekit.models.count import Layer, layers


def brief(layer: Layer) -> tuple[str, str, tuple[int, ...], int, int]:
    return layer.name, layer.op, layer.output_shape, layer.params, layer.macs


def stack() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
        nn.Conv2d(8, 12, 1, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    ).eval()


def test_layers_come_in_order_with_their_shapes_and_costs() -> None:
    assert [brief(layer) for layer in layers(stack(), 16)] == [
        ("0", "Conv2d 3x3 /2", (1, 8, 8, 8), 8 * 27 + 8, 8 * 27 * 64),
        ("1", "BatchNorm2d", (1, 8, 8, 8), 16, 0),
        ("2", "ReLU", (1, 8, 8, 8), 0, 0),
        ("3", "depthwise 5x5", (1, 8, 8, 8), 200, 200 * 64),
        ("4", "Conv2d 1x1 g4", (1, 12, 8, 8), 24 + 12, 24 * 64),
        ("5", "AdaptiveAvgPool2d", (1, 12, 1, 1), 0, 0),
        ("6", "Flatten", (1, 12), 0, 0),
        ("7", "Linear", (1, 5), 65, 60),
    ]


def test_layers_tell_kind_window_formula_and_memory() -> None:
    conv, norm, act, depthwise, grouped, *_, linear = layers(stack(), 16)
    assert (conv.kind, conv.kernel, conv.stride, conv.groups) == ("convolution", (3, 3), (2, 2), 1)
    assert (depthwise.kind, depthwise.kernel, depthwise.groups) == ("depthwise", (5, 5), 8)
    assert (grouped.kind, grouped.groups) == ("pointwise", 4)
    assert (linear.kind, linear.kernel, norm.kind, act.kind) == ("linear", None, "other", "other")
    assert [layer.formula for layer in (conv, norm, act, depthwise, grouped, linear)] == [
        "3*3*3*8+8",
        "2*8",
        None,
        "5*5*8/8*8",
        "1*1*8/4*12+12",
        "12*5+5",
    ]
    assert (conv.activation_bytes, linear.activation_bytes) == (4 * 8 * 8 * 8, 4 * 5)
    assert conv.moved_bytes == 4 * (3 * 16 * 16 + 8 * 27 + 8 + 8 * 8 * 8)
    assert linear.moved_bytes == 4 * (12 + 65 + 5)
    assert norm.moved_bytes == act.moved_bytes == 0


@pytest.mark.parametrize(
    "name",
    ["mobilenetv1@0.5", "mobilenetv3-small", "shufflenetv1-g8", "efficientnet-b0", "mnasnet-a1"],
)
def test_every_formula_gives_the_parameters_of_its_layer(name: str) -> None:
    model = build(name, resolution=32).eval()
    found = layers(model, 32)
    for layer in found:
        assert (0 if layer.formula is None else eval(layer.formula)) == layer.params, layer
    assert sum(layer.params for layer in found) == sum(p.numel() for p in model.parameters())


def test_a_convolution_of_one_channel_is_not_called_depthwise() -> None:
    grey = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Conv2d(1, 4, 3)).eval()
    assert [layer.op for layer in layers(grey, 8)] == ["Conv2d 1x1", "Conv2d 3x3"]
    assert [layer.kind for layer in layers(grey, 8)] == ["pointwise", "convolution"]


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
    assert [f.formula for f in found] == ["1*1*3*3", None]
    assert {f.moved_bytes for f in found} == {4 * (48 + 9 + 48)}


class Functional(nn.Module):
    """Convolution, scale and scores without layers of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(6, 3, 3, 3))
        self.scale = nn.Parameter(torch.ones(6, 1, 1))
        self.inner = nn.Module()
        self.inner.weight = nn.Parameter(torch.ones(4, 6))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.conv2d(x, self.kernel, stride=2, padding=1))
        y = torch.cat((y, y * self.scale), 1)[:, :6] + y
        assert isinstance(self.inner.weight, Tensor)
        return F.linear(y.mean((2, 3)), self.inner.weight)


def test_what_a_network_computes_outside_of_layers_is_counted() -> None:
    assert [brief(layer) for layer in layers(Functional().eval(), 8)] == [
        ("", "Conv2d 3x3 /2", (1, 6, 4, 4), 162, 162 * 16),
        ("", "mul", (1, 6, 4, 4), 6, 0),
        ("inner", "Linear", (1, 4), 24, 24),
    ]


def test_the_projections_of_attention_are_counted() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.reshape(1, -1, 8)
            out: Tensor = self.attention(tokens, tokens, tokens)[0]
            return out[:, 0]

    model = Attention().eval()
    found = layers(model, 8)
    assert sum(layer.params for layer in found) == sum(p.numel() for p in model.parameters())
    assert sum(layer.macs for layer in found) == 24 * (3 * 8 * 8 + 8 * 8)


def test_a_transposed_convolution_multiplies_at_each_place_of_its_input() -> None:
    (found,) = layers(nn.ConvTranspose2d(3, 5, 4, stride=2, bias=False).eval(), 6)
    assert (found.op, found.macs, found.formula) == ("ConvTranspose2d", 240 * 36, "4*4*3*5")


def test_counting_leaves_the_network_as_it_is() -> None:
    model = build("mobilenetv3-small@0.25", resolution=32).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    layers(model, 32)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_edgekits_own_layers_go_by_the_names_of_torch() -> None:
    found = {layer.op for layer in layers(build("mobilenetv3-small", resolution=32).eval(), 32)}
    assert found >= {"Conv2d 3x3 /2", "depthwise 3x3 /2", "depthwise 5x5", "Conv2d 1x1"}
    assert found >= {"BatchNorm2d", "Hardswish", "Hardsigmoid", "Linear", "Dropout"}
