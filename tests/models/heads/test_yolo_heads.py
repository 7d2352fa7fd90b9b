"""The line of YOLO: anchors that fit a training's boxes go with the weights to any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.models.composed import compose
from edgekit.models.heads.yolo import GENERATIONS, YOLONetwork

SOURCE = "mobilenetv3-small@0.35"


def network(head: str, size: tuple[int, int]) -> YOLONetwork:
    found = compose(f"{SOURCE}+{head}", 2, size)
    assert isinstance(found, YOLONetwork)
    return found


@pytest.mark.parametrize("head", ["yolov2", "yolov3"])
def test_priors_that_were_fitted_are_kept_by_a_state_dict(head: str) -> None:
    draw = torch.Generator().manual_seed(0)
    own = network(head, (64, 64))
    published = own.priors.clone()
    own.fit(0.1 + 0.1 * torch.rand(200, 2, generator=draw))
    assert not torch.equal(own.priors, published)
    assert bool(((own.priors > 0.1) & (own.priors < 0.2)).all())
    other = network(head, (64, 128))
    other.load_state_dict(own.state_dict())
    assert torch.equal(other.priors, own.priors)
    sides = other.coding.cells[:, 3:]
    shares = np.unique(sides / [128, 64], axis=0)
    np.testing.assert_allclose(shares, np.unique(own.priors.numpy(), axis=0), rtol=1e-6)


@pytest.mark.parametrize("head", GENERATIONS)
def test_each_cell_has_its_boxes(head: str) -> None:
    own, row = network(head, (64, 96)), GENERATIONS[head]
    cells = sum((64 // s) * (96 // s) for s in row.strides)
    with torch.no_grad():
        boxes, scores = own(torch.randn(1, 3, 64, 96))
    assert boxes.shape == (1, row.boxes * cells, 4)
    assert scores.shape == (1, row.boxes * cells, 2)
    assert len(own.coding.cells) == row.boxes * cells
    assert bool((boxes[..., 2:] >= boxes[..., :2]).all())
    assert 0 <= float(scores.min()) <= float(scores.max()) <= 1
    if row.priors:  # a fresh network's boxes lie about the middle of their cell
        middle = (boxes[0, :, :2] + boxes[0, :, 2:]) / 2
        off = (middle - own.points[:, :2]).abs() / own.points[:, 2:]
        assert float(off.max()) <= 0.5
