"""Outputs that a network puts together from several tensors."""

from __future__ import annotations

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
