"""Channels that are put together, shuffled and split, and lie where they were computed."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_tflite_converter import check
from torch import Tensor, nn
from torch.nn import functional as F


class Unit(nn.Module):
    """Half of the channels through layers, the others past them (arXiv:1807.11164, figure 3c)."""

    def __init__(self, channels: int, depthwise: bool) -> None:
        super().__init__()
        half = channels // 2
        layers: list[nn.Module] = [nn.Conv2d(half, half, 1), nn.ReLU()]
        if depthwise:
            layers.append(nn.Conv2d(half, half, 3, 1, 1, groups=half))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        kept, used = x.chunk(2, 1)
        return F.channel_shuffle(torch.cat([kept, self.layers(used)], 1), 2)


@st.composite
def steps(draw: st.DrawFn) -> nn.Module:
    """Things that are done with channels."""
    kinds = ["unit", "shuffle", "swap", "relu", "depthwise", "add", "pool", "multiply"]
    layers = [draw(st.sampled_from(kinds)) for _ in range(draw(st.integers(1, 5)))]
    return Network(layers, draw(st.booleans()))


class Network(nn.Module):
    """Steps on 12 channels, and a convolution at their end or the channels themselves."""

    def __init__(self, kinds: list[str], conv: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kinds, self.stem = kinds, nn.Conv2d(3, 12, 1)
        self.units = nn.ModuleList(Unit(12, i % 2 == 0) for i in range(len(kinds)))
        self.depthwise = nn.Conv2d(12, 24, 3, 1, 1, groups=12)
        self.head = nn.Conv2d(12, 5, 1) if conv else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        for kind, unit in zip(self.kinds, self.units, strict=True):
            if kind == "unit":
                x = unit(x)
            elif kind == "shuffle":
                x = x.view(1, 3, 4, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
            elif kind == "swap":
                x = torch.cat([x[:, 7:], x[:, :3], x[:, 3:7]], 1)
            elif kind == "relu":
                x = F.relu(x)
            elif kind == "depthwise":
                x = self.depthwise(x)[:, ::2]
            elif kind == "add":
                x = x + torch.cat(x.split([5, 7], 1)[::-1], 1)
            elif kind == "pool":
                x = F.max_pool2d(x, 3, 1, 1)
            else:
                x = x * x.mean((2, 3), keepdim=True)
        return self.head(x)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(steps())
def test_channels_arrive_in_their_order(network: nn.Module) -> None:
    check(network, (5, 6))


def test_units_that_pass_channels_on_shuffle_nothing() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 12, 1), *(Unit(12, True) for _ in range(3)), nn.Conv2d(12, 4, 1)
    )
    found = check(nn.Sequential(network, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert not {"TRANSPOSE", "GATHER", "SPLIT"} & set(found)
    assert found.count("CONCATENATION") == 3


def test_what_is_put_together_once_is_read_by_all() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
            self.c, self.d = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 3, padding=1)

        def forward(self, image: Tensor) -> Tensor:
            x = torch.cat([self.a(image), self.b(image)], 1)
            return (self.c(x) + self.d(x)).mean((2, 3))

    assert check(Wide()).count("CONCATENATION") == 1
