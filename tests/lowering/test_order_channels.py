"""Shuffles that go into weights: the same scores, and no shuffle left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from edgekit.core import FLOAT_SCHEMES
from edgekit.lowering.fold_batchnorm import LOWERING as FOLD_BATCHNORM
from edgekit.lowering.order_channels import CHANNELS, GROUPS
from edgekit.models import build, find_spec
from edgekit.models.blocks import ChannelShuffle
from edgekit.registry import target


def images(count: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, 32, 32, generator=torch.Generator().manual_seed(7))


def shuffled(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.size()
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class Net(nn.Module):
    """Two convolutions side by side, something in between, and what reads it."""

    def __init__(self, between: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.between = between
        self.left, self.right = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.grouped = nn.Conv2d(16, 16, 1, groups=2)
        self.mix = nn.Conv2d(16, 12, 1)
        self.few = nn.Conv2d(8, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((self.left(x).relu(), self.right(x)), 1)
        return self.between(self, x).amax((2, 3))


def calls(model: nn.Module) -> Counter[str]:
    assert isinstance(model, fx.GraphModule)
    return Counter(str(getattr(n.target, "__name__", n.target)) for n in model.graph.nodes)


def check(model: nn.Module, found: nn.Module, batch: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(found(batch), model(batch), rtol=1e-5, atol=1e-5)


BETWEEN: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "shuffle": lambda net, x: net.mix(shuffled(x, 4)),
    "half": lambda net, x: net.few(shuffled(x, 2).chunk(2, dim=1)[1]),
    "depthwise": lambda net, x: net.mix(net.depthwise(shuffled(x, 2))),
    "slice": lambda net, x: net.few(shuffled(x, 4)[:, 3:11]),
    "permute": lambda net, x: net.mix(
        x.reshape(-1, 2, 8, 32, 32).permute(0, 2, 1, 3, 4).flatten(1, 2)
    ),
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize("lowering", [CHANNELS, GROUPS], ids=lambda one: one.name)
def test_convolutions_take_shuffles_in(
    lowering: object, between: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    model = Net(between).eval()
    found = lowering.rewrite(model, (images(1),))  # type: ignore[attr-defined]
    assert not {"view", "permute", "reshape", "transpose", "chunk"} & set(calls(found))
    check(model, found, images())


STAYING: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "nothing moved": lambda net, x: net.mix(x),
    "halves": lambda net, x: net.few(x[:, :8]) + net.few(x[:, 8:]),
    "sum": lambda net, x: shuffled(x, 2) + x,
    "seen besides": lambda net, x: torch.cat(
        [net.depthwise(shuffled(x, 2)), net.mix(net.depthwise(shuffled(x, 4)))], 1
    ),
    "activation": lambda net, x: net.mix(net.depthwise(shuffled(x, 2)).relu()),
    "turned": lambda net, x: net.mix(x.transpose(2, 3).reshape(-1, 16, 32, 32)),
    "twice": lambda net, x: net.few(torch.cat([shuffled(x, 2)[:, :4]] * 2, 1)),
    "grouped": lambda net, x: net.grouped(shuffled(x, 2)),
}


@pytest.mark.parametrize("between", STAYING.values(), ids=STAYING)
def test_what_others_see_stays(between: Callable[[nn.Module, Tensor], Tensor]) -> None:
    model = Net(between).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = CHANNELS.rewrite(model, (images(1),))
    assert found is model
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_sum_beside_a_convolution_has_its_order() -> None:
    def between(net: nn.Module, x: Tensor) -> Tensor:
        y = shuffled(x, 2)
        return torch.cat([net.mix(y), y + x], 1)

    model = Net(between).eval()
    check(model, CHANNELS.rewrite(model, (images(1),)), images())


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_convolutions_take_slices(groups: int) -> None:
    def between(net: nn.Module, x: Tensor) -> Tensor:
        return net.grouped(net.depthwise(shuffled(x, groups)))

    model = Net(between).eval()
    assert CHANNELS.rewrite(model, (images(1),)) is model
    found = GROUPS.rewrite(model, (images(1),))
    assert "view" not in calls(found)
    check(model, found, images())


@pytest.mark.parametrize(
    "name", ["shufflenetv2", "shufflenetv1-g3", "shufflenetv1-g8", "shufflenetv2plus-small"]
)
@pytest.mark.parametrize("lowering", [CHANNELS, GROUPS], ids=lambda one: one.name)
def test_networks_of_the_zoo_keep_their_scores(lowering: object, name: str) -> None:
    torch.manual_seed(0)
    model = build(find_spec(f"{name}@0.5", classes=7, resolution=32)).eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.bias, 0.5, 1.5)
    model = FOLD_BATCHNORM.rewrite(model, (images(1),))
    found = lowering.rewrite(model, (images(1),))  # type: ignore[attr-defined]
    check(model, found, images())
    left = [module for module in found.modules() if isinstance(module, ChannelShuffle)]
    many = name == "shufflenetv1-g8"  # too many slices
    assert bool(left) == (many or (lowering is CHANNELS and name == "shufflenetv1-g3"))
    assert {path for path, _ in found.named_parameters()} == {
        path for path, _ in model.named_parameters()
    }


def test_it_is_for_the_runtimes_that_have_no_converter_of_edgekit() -> None:
    model, scheme = nn.Conv2d(3, 8, 1), FLOAT_SCHEMES["fp32"]
    asked = {
        name: [one.name for one in (CHANNELS, GROUPS) if one.applies(model, target(name), scheme)]
        for name in ("onnx", "openvino", "tflite")
    }
    assert asked == {"onnx": ["order-channels"], "openvino": ["order-groups"], "tflite": []}


BESIDE: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "residual": lambda net, x: net.mix(shuffled(x + net.depthwise(x), 2)),
    "scaled": lambda net, x: net.mix(shuffled(2 * x, 2)),
    "squeeze": lambda net, x: net.mix(shuffled(x, 2) * x.mean((2, 3)).view(-1, 16, 1, 1)),
    "pooled": lambda net, x: net.mix(torch.cat([x.mean((2, 3)).view(-1, 16, 1, 1)], 1)),
    "in place": lambda net, x: net.mix(shuffled(x.relu_(), 4)),
}


@pytest.mark.parametrize("between", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("lowering", [CHANNELS, GROUPS], ids=lambda one: one.name)
def test_what_computes_is_not_what_moves(
    lowering: object, between: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    model = Net(between).eval()
    check(model, lowering.rewrite(model, (images(1),)), images())  # type: ignore[attr-defined]
