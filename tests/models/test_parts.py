"""Outputs that a network puts together from several tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.core import Interface, TensorSpec
from edgekit.models.parts import parts_of
from edgekit.tasks.agreement import compare_outputs, failures, followed


class Detector(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        flat = x.flatten(2)
        near, far = flat[:, :, :3], flat[:, :, 3:]
        boxes = torch.cat([near, far], 2) * 100
        both = torch.cat([boxes, flat[:, :1].sigmoid()], 1)
        return both.transpose(1, 2), x * 2, torch.stack([flat, flat]).reshape(-1), both * 2


def test_each_number_has_its_part() -> None:
    both, alone, stacked, computed = parts_of(Detector(), (torch.randn(1, 2, 2, 2),))
    assert both is not None
    assert both.tolist() == [0, 0, 1] * 4  # boxes that were put together before are one part
    assert alone is None
    assert computed is None  # its parts have been computed with since
    assert stacked is not None
    assert stacked.tolist() == [0] * 8 + [1] * 8


def test_parts_are_those_of_the_size() -> None:
    network = Detector()
    sizes = [len(parts_of(network, (torch.randn(1, 2, 2, n),))[0]) for n in (2, 4, 2)]
    assert sizes == [12, 24, 12]


class Tail(nn.Module):
    """Two tensors in one, and something behind that."""

    def __init__(self, tail: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.tail = tail

    def forward(self, x: Tensor) -> Any:
        return self.tail(torch.cat([x[:, :0], x * 100, x.sigmoid()], 1))


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (lambda y: y[0], [[1, 1, 2, 2]]),
        (lambda y: y[:, 1:], [[1, 2, 2]]),
        (lambda y: y[:, [3, 0]], [[2, 1]]),
        (lambda y: y.split([3, 1], 1), [[1, 1, 2], None]),
        (lambda y: y.chunk(2, 1), [None, None]),
        (lambda y: y.unbind(0), [[1, 1, 2, 2]]),
        (lambda y: y.flip(1).expand(2, 4), [[2, 2, 1, 1] * 2]),
        (lambda y: torch.cond(y.sum() > 0, torch.neg, torch.abs, (y,)), [None]),
    ],
)
def test_parts_are_followed_to_the_end(
    tail: Callable[[Tensor], Any], expected: list[list[int] | None]
) -> None:
    found = parts_of(Tail(tail), (torch.ones(1, 2),))
    assert [None if one is None else one.tolist() for one in found] == expected


def test_an_output_of_zeros_has_a_figure() -> None:
    expected, found = np.zeros((5, 4), np.float32), np.full((5, 4), 0.1, np.float32)
    interface = Interface((), (TensorSpec("y", (1, 4), "float32", ""),))
    agreement = compare_outputs(expected, found, interface, "int8")
    assert (agreement.passed, agreement.sqnr_db) == (False, -200.0)
    assert compare_outputs(expected, expected, interface, "int8").sqnr_db == 200.0


def test_what_is_lost_of_a_part_is_seen() -> None:
    rng = np.random.default_rng(0)
    boxes, scores = rng.uniform(0, 160, (20, 8)), rng.uniform(0, 1, (20, 4))
    expected = np.concatenate([boxes, scores], axis=1).astype(np.float32)
    found = np.round(expected / 1.3) * np.float32(1.3)  # integers of one scale
    found[:, 8:] = 0
    interface = Interface((), (TensorSpec("both", (1, 3, 4), "float32", ""),))
    parts = [np.array([0] * 8 + [1] * 4)]
    whole = compare_outputs(expected, found, interface, "int8")
    assert whole.passed
    agreement = compare_outputs(expected, found, interface, "int8", parts)
    assert not agreement.passed
    assert agreement.outputs[0].part == "2 of 2"
    assert "output 'both' (part 2 of 2) has -" in failures(agreement)
    assert followed(expected, found, interface) > 0.99
    assert followed(expected, found, interface, parts) == 0


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_parts_of_one_unit_agree_as_the_whole_does(scale: float) -> None:
    rng = np.random.default_rng(0)
    expected = (rng.standard_normal((20, 12)) * scale).astype(np.float32)
    found = expected + (rng.standard_normal((20, 12)) * scale * 0.05).astype(np.float32)
    interface = Interface((), (TensorSpec("y", (1, 12), "float32", ""),))
    parts = [np.repeat([0, 1], 6)]
    whole = compare_outputs(expected, found, interface, "int8")
    agreement = compare_outputs(expected, found, interface, "int8", parts)
    assert agreement.passed
    assert agreement.sqnr_db == pytest.approx(whole.sqnr_db, abs=2)
