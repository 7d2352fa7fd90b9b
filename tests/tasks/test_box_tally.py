"""Mean average precision that searches go by, on what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekit.tasks.box_tally import OVERLAPS, FoundBoxes

OBJECTS = torch.tensor([[[10.0, 10, 30, 30, 0, 0], [50, 50, 90, 90, 0, 0], [60, 0, 99, 20, 1, 1]]])


def tally(corners: list[list[float]], scores: list[list[float]]) -> FoundBoxes:
    def parts(outputs: Tensor) -> tuple[Tensor, Tensor]:
        return outputs[..., :4], outputs[..., 4:]

    found = FoundBoxes(parts, lambda outputs, labels: torch.tensor(0.5))
    outputs = torch.cat((torch.tensor([corners]), torch.tensor([scores])), -1)
    found.update(outputs, OBJECTS, None)
    return found


def test_all_found_is_all_there_is_and_crowds_count_not() -> None:
    boxes = [[10.0, 10, 30, 30], [50, 50, 90, 90], [60, 0, 99, 20]]
    found = tally(boxes, [[0.9, 0], [0.8, 0], [0, 0.9]])
    assert found.figure == 1
    assert found.loss == 0.5
    # A false box of the class of which there is a crowd alone changes nothing.
    assert tally([*boxes, [0, 0, 9, 9]], [[0.9, 0], [0.8, 0], [0, 0.9], [0, 0.9]]).figure == 1


def test_half_found_and_a_wrong_box_before() -> None:
    """One of two objects behind a wrong box: precision 1/2 up to a recall of 1/2."""
    found = tally([[0.0, 60, 20, 90], [10, 10, 30, 30]], [[0.9, 0], [0.8, 0]])
    assert found.figure == pytest.approx(0.5 * 51 / 101)


def test_boxes_that_are_off_are_right_up_to_their_overlap() -> None:
    found = tally([[10.0, 10, 30, 24.4], [50, 50, 90, 78.8]], [[0.9, 0], [0.8, 0]])
    np.testing.assert_array_equal(found.precisions(), (OVERLAPS < 0.72).astype(float))


def test_nothing_found_is_nothing() -> None:
    assert tally([[0.0, 0, 5, 5]], [[0.0, 0.0]]).figure == 0
