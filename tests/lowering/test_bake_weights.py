"""Weights that modules compute from others are constants in a file, and the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.nn.utils.parametrize import register_parametrization

from edgekit import registry
from edgekit.core import FLOAT_SCHEMES
from edgekit.lowering import lower


class Positive(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.abs()


def parametrized(layer: nn.Module) -> nn.Module:
    return register_parametrization(layer, "weight", Positive())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "kind",
    [
        parametrizations.spectral_norm,
        parametrizations.weight_norm,
        spectral_norm,
        weight_norm,
        parametrized,
    ],
)
def test_computed_weights_become_constants(kind: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(kind(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8), kind(nn.Conv2d(8, 4, 1)))
    model.eval()
    image = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        expected = model(image)
        before = sorted(model.state_dict())
        lowered, names = lower(model, (image[:1],), registry.target("onnx"), FLOAT_SCHEMES["fp32"])
        assert torch.allclose(lowered(image), expected, atol=1e-5)
    # The norm behind a computed weight can be folded, too.
    assert names == ("bake-weights", "fold-batchnorm")
    assert sorted(lowered.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert sorted(model.state_dict()) == before
    assert torch.equal(model(image), expected)
    assert not lowered[2]._forward_pre_hooks


def test_a_network_without_any_stays() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3)).eval()
    lowered, names = lower(
        model, (torch.zeros(1, 3, 9, 9),), registry.target("onnx"), FLOAT_SCHEMES["fp32"]
    )
    assert (lowered, names) == (model, ())
