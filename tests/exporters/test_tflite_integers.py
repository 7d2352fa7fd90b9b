"""Integers that are places: of the largest number, of rows in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import FLOAT_SCHEMES, Example
from edgekit.errors import ModelError
from edgekit.models.interface import shaped
from edgekit.native_output import captured


def outputs(network: nn.Module, *inputs: Tensor, tmp_path: Path) -> list[np.ndarray[Any, Any]]:
    """What a file gives; images go in as they are here."""
    target = registry.target("tflite")
    found = shaped(network.eval(), inputs, "net")
    path = tmp_path / "net.tflite"
    with captured():
        example = Example(found.tensors, found.interface)
        target.export(found.module, example, path, FLOAT_SCHEMES["fp32"])
        runner = target.open(path, 1)
    given = [
        one.permute(0, 2, 3, 1).contiguous().numpy() if one.ndim == 4 else one.numpy()
        for one in found.tensors
    ]
    return runner.run(given)


class Extremes(nn.Module):
    def __init__(self, dim: int, keepdim: bool) -> None:
        super().__init__()
        self.dim, self.keepdim = dim, keepdim

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = x * 2
        return y.argmax(self.dim, self.keepdim), y.argmin(self.dim, self.keepdim), y


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 3, 4), (3, 4)])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_places_of_extremes(
    dim: int, keepdim: bool, shape: tuple[int, ...], tmp_path: Path
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    network = Extremes(dim, keepdim)
    found = outputs(network, x, tmp_path=tmp_path)
    for own, expected in zip(found, network(x), strict=True):
        assert own.dtype == expected.numpy().dtype
        np.testing.assert_allclose(own, expected.numpy(), rtol=1e-6)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.table(ids).mean(1))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_rows_of_a_table(dtype: torch.dtype, tmp_path: Path) -> None:
    ids = torch.tensor([[3, 19, 0, 7]], dtype=dtype)
    network = Words()
    (found,) = outputs(network, ids, tmp_path=tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(found, network(ids).numpy(), rtol=1e-5, atol=1e-6)


class Counts(nn.Module):
    def forward(self, ids: Tensor) -> Tensor:
        return ids + 1.5


def test_arithmetic_on_integers_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the operator add\.Tensor on int64"):
        outputs(Counts(), torch.tensor([[1, 2]]), tmp_path=tmp_path)
