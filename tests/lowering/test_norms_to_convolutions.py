"""Batch norms that no layer takes over, as depthwise convolutions in files of integers."""

from __future__ import annotations

import pytest
import torch
from any_networks import settled
from command_line import CommandLine
from test_fold_batchnorm import agreement_db, images, randomized
from torch import Tensor, nn

from edgekit import registry, tables
from edgekit.lowering import lower
from edgekit.lowering.norms_to_convolutions import LOWERING

ASKING = [name for name in tables.TARGETS if LOWERING.name in registry.target(name).lowerings]


class Dense(nn.Module):
    """A norm behind a concatenation, and one of the image that stays."""

    def __init__(self, *, affine: bool = True) -> None:
        super().__init__()
        self.image = nn.BatchNorm2d(3)
        self.first, self.second = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 8, 3, padding=1)
        self.norm, self.out = nn.BatchNorm2d(24, affine=affine), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.image(x))
        x = torch.cat([x, self.second(x)], 1)
        return self.out(self.norm(x).relu().mean((2, 3)))


class Reads(Dense):
    """Its own code reads what a norm has."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.norm.running_mean.sum()  # type: ignore[union-attr]


def dense() -> nn.Module:
    return settled(Dense, (3, 32, 32))


@pytest.mark.parametrize("affine", [True, False])
def test_it_computes_the_same(affine: bool) -> None:
    model = randomized(Dense(affine=affine), images(8)).eval()
    rewritten = LOWERING.rewrite(model, (images(1),))
    assert isinstance(rewritten.norm, nn.Conv2d)
    assert isinstance(rewritten.image, nn.BatchNorm2d)
    assert isinstance(model.norm, nn.BatchNorm2d)
    with torch.no_grad():
        assert agreement_db(model(images(4)), rewritten(images(4))) > 100


def test_what_else_is_read_stays() -> None:
    model = randomized(Reads(), images(8)).eval()
    assert LOWERING.rewrite(model, (images(1),)) is model


def test_only_files_of_integers_have_it() -> None:
    model = randomized(Dense(), images(8)).eval()
    for name in tables.TARGETS:
        target = registry.target(name)
        for precision, scheme in target.schemes.items():
            _, applied = lower(model, (images(1),), target, scheme)
            wanted = name in ASKING and precision not in ("fp32", "fp16", "int8-dynamic")
            assert (LOWERING.name in applied) == wanted, (name, precision)


@pytest.mark.parametrize("target", ASKING)
def test_files_compute_it_in_integers(target: str, run: CommandLine) -> None:
    line = ("export", "test_norms_to_convolutions:dense", "--size", "32", "-t", target)
    more = ("-p", "int8", "--calibration", "digits", "--calibration-images", "32", "-o", "out")
    result = run(*line, *more, "--json")
    assert result.code == 0, result.err
    (one,) = result.json["artifacts"]
    assert LOWERING.name in one["lowerings"]
    inside = run("describe", one["path"], "--json").json["artifact"]
    left = [kind for kind in inside["float_operators"] if "Batch" in kind or kind == "MUL"]
    assert len(left) <= 1  # that of the image
    against = ("--against", "test_norms_to_convolutions:dense", "--data", "digits")
    checked = run("verify", one["path"], *against)
    assert checked.code == 0, checked.err
