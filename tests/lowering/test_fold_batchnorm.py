from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from unfoldable import UNFOLDABLE, ActivationInTheNorm, OwnConv, Scores
from zoo_networks import KINDS, certain

from edgekit import registry
from edgekit.conversion import Exported, export
from edgekit.core import FLOAT_SCHEMES
from edgekit.lowering import lower
from edgekit.lowering.fold_batchnorm import LOWERING, foldable_pairs
from edgekit.models import build, find_spec
from edgekit.models.model import Model

# Deep networks round in float32 to 86 to 107 dB of what they give in float64, folded or not.
EXACT_DB = 80.0


def images(count: int, channels: int = 3, side: int = 32) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(count))


def randomized(model: nn.Module, batch: Tensor, shift: float = 0.0) -> nn.Module:
    """Random affine parameters, then random statistics around those that fit the weights.

    Args:
        shift: mean of the norms' biases.
    """
    torch.manual_seed(11)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, shift, 0.3)
    update_bn([batch], model)
    for norm in norms:
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)
    return model.eval()


def agreement_db(expected: Tensor, found: Tensor) -> float:
    """Power of the reference's spread over samples against power of the difference."""
    expected, found = expected.double(), found.double()
    spread = (expected - expected.mean(0)).square().mean()
    noise = (expected - found).square().mean()
    return float(10 * torch.log10(spread / noise.clamp_min(1e-300)))


def zoo(name: str) -> nn.Module:
    torch.manual_seed(3)
    # Without chance: statistics are taken in training mode.
    spec = certain(find_spec(f"{name}@0.35", classes=10, resolution=32))
    # With a shift, activations work mostly in their linear part; else the deepest networks make
    # rounding larger from block to block, folded or not, until the bounds below say nothing.
    return randomized(build(spec), images(32), shift=1.0)


def norms_of(model: nn.Module) -> list[str]:
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]


@torch.no_grad()
def folded(model: nn.Module, batch: Tensor) -> nn.Module:
    """Folds, and checks what holds for every network."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    paths = norms_of(model)
    expected = model(batch)
    result = LOWERING.rewrite(model, (batch[:1],))
    assert agreement_db(expected, result(batch)) > EXACT_DB
    assert norms_of(model) == paths
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(model(batch), expected)
    names = [name for name, _ in model.named_modules()]
    assert [name for name, _ in result.named_modules()] == names
    return result


@pytest.mark.parametrize("name", KINDS)
def test_zoo_networks_keep_their_function_and_lose_every_norm(name: str) -> None:
    model = zoo(name)
    assert norms_of(model)
    assert norms_of(folded(model, images(8))) == []


@pytest.mark.parametrize("name", KINDS)
def test_in_double_precision_the_fold_is_exact(name: str) -> None:
    model = zoo(name).double()
    with torch.no_grad():
        expected = model(images(8).double())
        found = LOWERING.rewrite(model, (images(1).double(),))(images(8).double())
    assert agreement_db(expected, found) > 240


@pytest.mark.parametrize("name", KINDS)
def test_a_folded_network_rounds_no_worse_than_before(name: str) -> None:
    model = zoo(name)
    with torch.no_grad():
        before = model(images(8))
        after = LOWERING.rewrite(model, (images(1),))(images(8))
        exact = model.double()(images(8).double())
    assert agreement_db(exact, after) > agreement_db(exact, before) - 6


@pytest.mark.parametrize("make", UNFOLDABLE)
def test_what_cannot_be_folded_is_left_alone(make: Callable[[], Scores]) -> None:
    torch.manual_seed(2)
    model = randomized(make(), images(32))
    assert norms_of(folded(model, images(8))) == norms_of(model)


class Branches(Scores):
    """Looks at the size of its input, which a symbolic trace cannot."""

    def __init__(self) -> None:
        layers = {"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "relu": nn.ReLU()}
        super().__init__(**layers, last=nn.Conv2d(4, 5, 3), last_norm=nn.BatchNorm2d(5))

    def body(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 2:
            x = F.pad(x, (0, 1, 0, 1))
        y = self.last(self.relu(self.norm(self.conv(x))))
        normed: Tensor = self.last_norm(y)
        return normed + y


def test_a_network_that_branches_on_the_shape_is_folded_too() -> None:
    model = randomized(Branches(), images(32))
    assert norms_of(folded(model, images(8))) == ["last_norm"]


class PaddedSame(Scores):
    """`padding="same"` and a branch: another operator of torch.export."""

    def __init__(self) -> None:
        super().__init__(conv=nn.Conv2d(3, 4, 3, padding="same"), norm=nn.BatchNorm2d(4))

    def body(self, x: Tensor) -> Tensor:
        assert x.shape[-1] > 2
        y: Tensor = self.norm(self.conv(x))
        return y


def test_convolutions_with_padding_by_name_are_folded() -> None:
    assert norms_of(folded(randomized(PaddedSame(), images(32)), images(8))) == []


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_linear_layers_and_norms_without_affine_are_folded(bias: bool, affine: bool) -> None:
    torch.manual_seed(4)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(12, 8, bias=bias),
        nn.BatchNorm1d(8, affine=affine),
        nn.ReLU(),
        nn.Linear(8, 4),
    )
    model = randomized(model, images(32, side=2))
    assert norms_of(folded(model, images(8, side=2))) == []


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_convolutions_with_a_bias_are_folded(groups: int) -> None:
    torch.manual_seed(4)
    conv = nn.Conv2d(4, 8, 3, groups=groups, bias=True)
    model = nn.Sequential(conv, nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = randomized(model, images(32, channels=4))
    assert norms_of(folded(model, images(8, channels=4))) == []


def test_pairs_are_named_in_order_of_computation() -> None:
    model = build("mobilenetv1@0.25", resolution=32).eval()
    pairs = foldable_pairs(model, (images(1),))
    assert pairs[:3] == [
        ("stem.conv", "stem.norm"),
        ("blocks.0.depthwise.conv", "blocks.0.depthwise.norm"),
        ("blocks.0.pointwise.conv", "blocks.0.pointwise.norm"),
    ]
    assert len(pairs) == len(norms_of(model))


class SameConv2d(nn.Conv2d):
    """Pads by the size of the image, as TensorFlow does."""

    def forward(self, x: Tensor) -> Tensor:
        amounts: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            amounts += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, amounts), self.weight, self.bias, self.stride, groups=self.groups)


class OnlyItsWeight(SameConv2d):
    """No bias would reach what it computes."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_of_another_class_that_follow_their_weight_are_folded(stride: int) -> None:
    torch.manual_seed(2)
    layers = (SameConv2d(3, 8, 3, stride, bias=False), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1))
    network = randomized(nn.Sequential(*layers, nn.Flatten()), images(16))
    result = folded(network, images(16))
    assert not norms_of(result)
    assert isinstance(result[0], SameConv2d)
    conv = OnlyItsWeight(3, 8, 3, bias=False)
    network = randomized(nn.Sequential(conv, *layers[1:], nn.Flatten()), images(16))
    assert foldable_pairs(network, (images(1),)) == []


@pytest.mark.parametrize("make", [ActivationInTheNorm, OwnConv])
def test_layers_of_another_kind_are_exported_with_what_they_compute(
    make: type[Scores], tmp_path: Path
) -> None:
    """The whole way to a file, which is compared with the network as it was built."""
    torch.manual_seed(2)
    network = randomized(make(), images(32))
    model = Model("own:network", "own", network, 32, 4, trained=True)
    (exported,) = export(model, ["onnx"], out=tmp_path)
    assert isinstance(exported, Exported)
    agreement = exported.artifact.agreement
    assert agreement is not None
    assert agreement.sqnr_db > EXACT_DB


def test_a_norm_in_training_mode_is_left_alone() -> None:
    """It has the statistics of the batch then, which no weight can hold."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model = randomized(model, images(32))
    assert foldable_pairs(model, (images(1),)) == [("0", "1")]
    model[1].train()
    assert foldable_pairs(model, (images(1),)) == []


def test_it_is_applied_only_where_there_is_a_norm() -> None:
    with_norm = build("mobilenetv1@0.25", resolution=32).eval()
    without = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    scheme = FLOAT_SCHEMES["fp32"]
    lowered, names = lower(with_norm, (images(1),), registry.target("onnx"), scheme)
    assert names == ("fold-batchnorm",)
    assert lowered is not with_norm
    assert lower(without, (images(1),), registry.target("onnx"), scheme) == (without, ())
