from __future__ import annotations

import pytest
import torch
from test_fold_batchnorm import agreement_db, images, randomized
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit import registry
from edgekit.core import FLOAT_SCHEMES
from edgekit.lowering import lower
from edgekit.lowering.split_norms import LOWERING


class NormAct(nn.BatchNorm2d):
    """With an activation inside, as other libraries have it."""

    def __init__(self, width: int, act: nn.Module | None = None, *, affine: bool = True) -> None:
        super().__init__(width, affine=affine)
        self.drop = nn.Identity()
        self.act = act or nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        training = self.training or self.running_mean is None
        mean, var = self.running_mean, self.running_var
        x = F.batch_norm(
            x, mean, var, self.weight, self.bias, training, self.momentum or 0.0, self.eps
        )
        found: Tensor = self.act(self.drop(x))
        return found


class Clipped(NormAct):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(max=0.5)


class NormActOfRows(nn.BatchNorm1d):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.act = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.act(super().forward(x))
        return found


class Network(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), norm

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.conv(x))
        return found.mean((2, 3))


class Rows(Network):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__(norm)
        self.conv = nn.Conv1d(3, 6, 3)  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.conv(x.flatten(2)))
        return found.mean(2)


SPLIT = [
    Network(NormAct(6)),
    Network(NormAct(6, nn.SiLU())),
    Network(NormAct(6, nn.PReLU(6), affine=False)),
    Rows(NormActOfRows(6)),
]


@torch.no_grad()
@pytest.mark.parametrize("model", SPLIT)
def test_norms_with_an_activation_are_split_and_folded(model: nn.Module) -> None:
    model = randomized(model, images(16))
    found, applied = lower(model, (images(1),), registry.target("tflite"), FLOAT_SCHEMES["fp32"])
    assert applied == ("split-norms", "fold-batchnorm")
    assert isinstance(found.get_submodule("norm.norm"), nn.Identity)
    assert type(found.get_submodule("norm.act")) is type(model.get_submodule("norm.act"))
    assert agreement_db(model(images(16)), found(images(16))) > 100


class ReadsTheNorm(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.norm.bias


@pytest.mark.parametrize("model", [Network(Clipped(6)), ReadsTheNorm(NormAct(6))])
def test_norms_that_compute_something_else_stay(model: nn.Module) -> None:
    model = randomized(model, images(16))
    assert LOWERING.rewrite(model, (images(1),)) is model


def test_norms_without_statistics_and_those_that_are_watched_stay() -> None:
    model = randomized(Network(NormAct(6)), images(16))
    model.norm.register_forward_hook(lambda *_: None)  # type: ignore[union-attr]
    assert not LOWERING.applies(model, registry.target("onnx"), FLOAT_SCHEMES["fp32"])
    bare = NormAct(6)
    bare.running_mean = bare.running_var = None
    assert not LOWERING.applies(
        Network(bare).eval(), registry.target("onnx"), FLOAT_SCHEMES["fp32"]
    )
    assert not LOWERING.applies(
        Network(nn.BatchNorm2d(6)).eval(), registry.target("onnx"), FLOAT_SCHEMES["fp32"]
    )
