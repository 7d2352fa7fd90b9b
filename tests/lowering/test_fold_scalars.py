from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_examples import singly
from torch import Tensor, fx, nn
from unfoldable import Scores

from edgekit import registry, tables
from edgekit.core import FLOAT_SCHEMES, INT8, of_image
from edgekit.lowering import lower
from edgekit.lowering.fold_scalars import LOWERING
from edgekit.lowering.layers import Tracer
from edgekit.models import build
from edgekit.native_output import captured

# In float64; what is folded is rounded once more, to less than 1e-15.
EXACT = 1e-12


def images(count: int, side: int = 16) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))


class Net(Scores):
    """A convolution, and what a function makes of it and its input."""

    def __init__(self, function: Callable[[Net, Tensor], Tensor], **options: int) -> None:
        torch.manual_seed(5)
        super().__init__(
            conv=nn.Conv2d(3, 6, 3, **options),
            norm=nn.BatchNorm2d(6, affine=False),
            grouped=nn.Conv2d(6, 12, 3, groups=2, bias=False),
            linear=nn.Linear(6, 5),
        )
        self.function = function
        self.image_scale = nn.Parameter(torch.rand(1, 3, 1, 1) + 0.5)
        self.scale, self.shift = nn.Parameter(torch.rand(6) + 0.5), nn.Parameter(torch.rand(6))
        self.features = nn.Parameter(torch.rand(5))
        self.norm.running_mean = torch.rand(6)
        self.norm.running_var = torch.rand(6) + 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x).flatten(1)


def of_channels(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


FOLDED: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "image normalization": lambda n, x: n.conv((x - 0.45) / 0.22),
    "image normalization by channel": lambda n, x: n.conv((x - 0.4) / n.image_scale),
    "factor behind": lambda n, x: n.conv(x) * 0.3,
    "factor in front": lambda n, x: n.conv(2 * x),
    "sum behind": lambda n, x: 1.5 + n.conv(x),
    "difference from a number": lambda n, x: 1 - n.conv(x),
    "negative": lambda n, x: -n.conv(x),
    "functions": lambda n, x: torch.sub(torch.mul(n.conv(x), 0.3), 0.1),
    "methods": lambda n, x: n.conv(x).mul(0.3).add(n.scale.view(-1, 1, 1)),
    "in place behind": lambda n, x: n.conv(x).mul_(0.3).add_(1),
    "one number in a tensor": lambda n, x: n.conv(x) * n.scale[0],
    "scale and shift by channel": lambda n, x: (
        n.conv(x) * of_channels(n.scale) + of_channels(n.shift)
    ),
    "computed scale": lambda n, x: n.conv(x) * n.scale[:, None, None].exp(),
    "no bias, in groups, in front": lambda n, x: n.grouped(
        F.relu(n.conv(x)) * of_channels(n.scale) + of_channels(n.shift)
    ),
    "no bias, in groups, behind": lambda n, x: n.grouped(n.conv(x)) + 1,
    "between two layers": lambda n, x: n.grouped(n.conv(x) * 0.5),
    "in front of a batch norm": lambda n, x: n.norm(n.conv(x) * 0.5),
    "behind a batch norm": lambda n, x: n.norm(n.conv(x)) * 0.5 + 0.1,
    "h-swish by hand": lambda n, x: n.grouped((lambda y: y * F.relu6(y + y) / 6)(n.conv(x))),
    "linear behind": lambda n, x: n.linear(n.conv(x).mean((2, 3))) * n.features + 1,
    "linear in front": lambda n, x: n.linear(n.conv(x).mean((2, 3)) * n.scale - n.shift),
    "linear over tokens": lambda n, x: n.linear(n.conv(x).flatten(2).transpose(1, 2)).mul(
        n.features
    ),
}
KEPT: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "no constant": lambda n, x: n.conv(x) * n.conv(x + x),
    "read twice": lambda n, x: (lambda y: y * 2 + y)(n.conv(x)),
    "factor read twice": lambda n, x: (lambda y: n.conv(y).mean() + y)(F.relu(x) * 2),
    "layer called twice": lambda n, x: n.conv(x) * 2 + n.conv(x.flip(3)),
    "weight read elsewhere": lambda n, x: n.conv(x) * 2 + F.conv2d(x, n.conv.weight),
    "activation between": lambda n, x: F.relu(n.conv(x)) * 2,
    "pixels differ": lambda n, x: n.conv(x) * torch.arange(14.0, dtype=x.dtype),
    "another shape": lambda n, x: n.conv(x).mean((2, 3)) * of_channels(n.scale),
    "more channels": lambda n, x: (
        n.linear(n.conv(x)[:, :1].mean(2)[:, :, :6]) * n.features[:, None]
    ),
    "batch of constants": lambda n, x: n.conv(x) * torch.ones(2, 1, 1, 1, dtype=x.dtype),
    "in place in front": lambda n, x: (lambda y: n.conv(y.mul_(2)))(x.clone()),
    "reciprocal": lambda n, x: 2 / n.conv(x),
    "division by zero": lambda n, x: n.conv(x) / 0.0,
    "rounded division": lambda n, x: torch.div(n.conv(x), 0.3, rounding_mode="floor"),
    "factor of another": lambda n, x: torch.add(n.conv(x), 1, alpha=2),
    "features are not channels": lambda n, x: (
        n.linear(n.conv(x).mean((2, 3))).unsqueeze(1) * n.features
    ),
}


def arithmetic(model: nn.Module) -> list[str]:
    """Operators of a network's program that a constant could be in."""
    program = fx.GraphModule(model, Tracer().trace(model))
    words = ("add", "sub", "mul", "truediv", "div", "neg", "iadd", "imul")
    names = [getattr(n.target, "__name__", n.target) for n in program.graph.nodes]
    return [name for name in names if str(name).strip("_") in words]


@torch.no_grad()
def folded(model: nn.Module) -> nn.Module:
    """Folds, and checks what holds for every network."""
    model = model.double().eval()
    batch = images(4).double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = model(batch[:1])
    found = LOWERING.rewrite(model, (batch[:1],))
    torch.testing.assert_close(found(batch[:1]), expected, rtol=EXACT, atol=EXACT)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    return found


@pytest.mark.parametrize("name", FOLDED)
def test_constants_go_into_the_layers_beside_them(name: str) -> None:
    found = folded(Net(FOLDED[name]))
    left = ["mul", "add"] if name == "h-swish by hand" else []
    assert sorted(arithmetic(found)) == sorted(left)


@pytest.mark.parametrize("name", KEPT)
def test_other_arithmetic_is_left_alone(name: str) -> None:
    model = Net(KEPT[name]).double().eval()
    assert LOWERING.rewrite(model, (images(1).double(),)) is model


def shifted(net: Net, x: Tensor) -> Tensor:
    return net.conv(x + 1)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"padding": 1}, 1),
        ({"padding": "same"}, 1),
        ({"padding": 1, "padding_mode": "reflect"}, 0),
        ({"padding": "valid"}, 0),
        ({}, 0),
    ],
)
def test_sums_stay_in_front_of_zeros(options: dict[str, int], left: int) -> None:
    """The zeros around the image are not part of the sum; a factor leaves them zero."""
    model = Net(shifted, **options)
    assert len(arithmetic(folded(model))) == left
    scaled = Net(lambda n, x: n.conv(x * 2), **options)
    assert arithmetic(folded(scaled)) == []


def test_sums_stay_in_front_of_tensorflows_padding() -> None:
    network = build("tf-mobilenetv2@0.35", resolution=32)

    class Shifted(nn.Module):
        def __init__(self, shift: float, scale: float) -> None:
            super().__init__()
            self.network, self.shift, self.scale = network, shift, scale

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.network((x + self.shift) * self.scale)
            return scores

    assert arithmetic(folded(Shifted(0.5, 2.0))).count("add") == 1 + arithmetic(network).count(
        "add"
    )
    assert "mul" not in arithmetic(folded(Shifted(0.5, 2.0)))


class Misled(Net):
    """Takes another way for a tensor than for what traces it."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) * 2
        if isinstance(y, Tensor):
            y = y.cos()
        return y.mean((2, 3))


class Branches(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) * 2
        return (y if x.shape[0] > 3 else y + 1).mean((2, 3))


@pytest.mark.parametrize("kind", [Misled, Branches])
def test_networks_that_cannot_be_followed_stay(kind: type[Net]) -> None:
    model = kind(shifted).eval()
    assert LOWERING.rewrite(model, (images(1),)) is model


class Whole(nn.Module):
    """Constants at all places, as people write them."""

    def __init__(self) -> None:
        torch.manual_seed(6)
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16)
        self.block = nn.Conv2d(16, 16, 3, padding=1)
        self.gamma = nn.Parameter(torch.rand(16, 1, 1) + 0.5)
        self.head = nn.Linear(16, 10)
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem((x - 0.4) / 0.25) * 1.5))
        x = x + self.block(x) * self.gamma
        scores: Tensor = self.head(F.relu(x).mean((2, 3)) * 3) / self.temperature
        return scores


def whole() -> nn.Module:
    model = Whole()
    model.train()
    with torch.no_grad():
        model(images(32))
    return model.eval()


@pytest.mark.parametrize("target", tables.TARGETS)
def test_files_compute_the_same_without_the_constants(target: str, tmp_path: Path) -> None:
    model, plug = whole(), registry.target(target)
    scheme = FLOAT_SCHEMES["fp32"]
    found, names = lower(model, (images(1),), plug, scheme)
    assert names == ("fold-scalars", "fold-batchnorm")
    path = tmp_path / f"net{plug.suffix}"
    with captured():
        plug.export(found, of_image(images(1)), path, scheme)
    batch = images(4)
    arrays = (batch if plug.layout == "NCHW" else batch.permute(0, 2, 3, 1)).numpy()
    runner = plug.open(path, 1)
    scores = np.concatenate([runner.run([arrays[i : i + 1]])[0] for i in range(4)])
    with torch.no_grad():
        expected = model(batch).numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    if target == "onnx":
        import onnx

        nodes = onnx.load(str(path)).graph.node
        assert sorted(n.op_type for n in nodes if n.op_type in ("Add", "Sub", "Mul", "Div")) == [
            "Add"
        ]
        assert [n.name for n in nodes if n.op_type == "Conv"] == ["stem/Conv", "block/Conv"]


@pytest.mark.parametrize("target", tables.TARGETS)
def test_integers_are_rounded_no_worse_than_with_constants(target: str, tmp_path: Path) -> None:
    model, plug, batch = whole(), registry.target(target), images(32)
    arrays = (batch if plug.layout == "NCHW" else batch.permute(0, 2, 3, 1)).contiguous().numpy()
    ranges = [arrays[i : i + 1] for i in range(len(arrays))]
    # NNCF's fast way puts an error of 18 to 27 dB into a network as small as this.
    # Weights of seven bits are exact on every processor; their rounding errors are twice as large,
    # which are 6 dB.
    forms = {} if target == "tflite" else {"bias": "accurate", "weights": "7bit"}
    least = 25 - (6 if forms else 0)
    scheme = replace(INT8, forms=forms)
    with torch.no_grad():
        expected = model(batch).numpy()
    found = {}
    for name, network in (
        ("given", model),
        ("folded", lower(model, (batch[:1],), plug, scheme)[0]),
    ):
        path = tmp_path / f"{name}{plug.suffix}"
        with captured():
            plug.export(network, of_image(batch[:1]), path, scheme, singly(ranges))
        runner = plug.open(path, 1)
        noise = np.concatenate([runner.run([image])[0] for image in ranges]) - expected
        spread = expected - expected.mean(0)
        found[name] = 10 * np.log10((spread**2).mean() / (noise**2).mean())
    assert found["folded"] > max(least, found["given"] - 1)
