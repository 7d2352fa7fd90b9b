"""What two-stage detectors learn: least where regions and anchors say what is right."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekit.errors import ModelError
from edgekit.models.composed import compose
from edgekit.models.heads.coding import RegionCoding
from edgekit.models.heads.pyramid import PyramidDetector
from edgekit.models.heads.twostage import TwoStage
from edgekit.tasks.box_losses import objective_of
from edgekit.tasks.region_losses import OfRegions

SIZE, CLASSES, REGIONS = (64, 96), 3, 100
OBJECTS = torch.tensor(
    [
        [[10.0, 12, 50, 60, 0, 0], [60, 20, 92, 62, 2, 0]],
        [[30.0, 30, 70, 50, 1, 0], [0, 0, 0, 0, -1, 0]],
        [[0.0, 0, 0, 0, -1, 0], [0, 0, 0, 0, -1, 0]],
    ]
)
"""Two objects, one, and none."""


@functools.cache
def network(head: str = "fasterrcnn") -> TwoStage | PyramidDetector:
    torch.manual_seed(0)
    made = compose(f"mobilenetv3-small@0.5+{head}", CLASSES, SIZE)
    assert isinstance(made, TwoStage | PyramidDetector)
    return made


def objective(head: str = "fasterrcnn") -> OfRegions:
    found = objective_of(network(head), CLASSES, head)
    assert isinstance(found, OfRegions)
    return found


def rows(corners: Tensor, scores: Tensor) -> Tensor:
    return torch.cat((corners.flatten(1), scores.flatten(1)), 1)


def right(own: OfRegions, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What a network gives in training that finds all objects, each with its first regions."""
    anchors = torch.from_numpy(own.coding.anchors)
    corners = torch.zeros(len(labels), own.coding.regions + len(anchors), 4)
    corners[:, own.coding.regions :] = anchors
    logits = torch.zeros(*corners.shape[:2], CLASSES + 1)
    logits[..., 0] = 9.0
    for n, objects in enumerate(labels):
        for k, row in enumerate(objects[objects[:, 4] >= 0]):
            corners[n, k], logits[n, k, 0] = row[:4], 0.0
            logits[n, k, 1 + int(row[4])] = 9.0
            best = own_best(anchors, row[:4])
            corners[n, own.coding.regions + best] = row[:4]
            logits[n, own.coding.regions + best, 0] = -9.0
    return corners, logits


def own_best(anchors: Tensor, box: Tensor) -> Tensor:
    """Places of anchors that answer for an object: those of 0.7, and the best one."""
    low, high = torch.maximum(anchors[:, :2], box[:2]), torch.minimum(anchors[:, 2:], box[2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = (anchors[:, 2:] - anchors[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared
    overlap = shared / union
    best = torch.arange(len(anchors)) == overlap.argmax()
    return ((overlap >= 0.7) | best).nonzero()[:, 0]


def test_what_is_right_costs_least() -> None:
    own = objective()
    corners, logits = right(own, OBJECTS)
    least = float(own.loss(rows(corners, logits), OBJECTS, None, training=True))
    assert 0 <= least < 0.05
    for change in ("class", "box", "missed", "anchor", "proposal"):
        boxes, scores = corners.clone(), logits.clone()
        if change == "class":
            scores[0, 0] = scores[0, 0, [0, 2, 1, 3]]
        elif change == "box":
            boxes[0, 0, 0] += 4
        elif change == "missed":
            scores[0, 0, 0], scores[0, 0, 1] = 9.0, 0.0
        elif change == "anchor":
            scores[1, REGIONS:, 0] = 9.0
        else:
            boxes[0, REGIONS:] += 3.0
        assert float(own.loss(rows(boxes, scores), OBJECTS, None, training=True)) > least + 0.01


def test_eval_mode_is_told_by_the_second_stage() -> None:
    own = objective()
    corners, logits = right(own, OBJECTS)
    scores = logits[:, :REGIONS].softmax(-1)[..., 1:]
    found = rows(corners[:, :REGIONS], scores)
    assert float(own.effect(found, OBJECTS)) < 0.05
    tally = own.tally()
    tally.update(found, OBJECTS, None)
    assert tally.figure == pytest.approx(1)
    worse = own.tally()
    worse.update(rows(corners[:, :REGIONS] + 9, scores), OBJECTS, None)
    assert worse.figure < 0.5


def test_nothing_is_asked_of_a_crowd_or_of_what_is_not_there() -> None:
    own = objective()
    corners, logits = right(own, OBJECTS)
    crowd = OBJECTS.clone()
    crowd[2, 0] = torch.tensor([0.0, 0, 96, 64, 1, 1])  # all of the image without an object
    wild = logits.clone()
    anchors = torch.from_numpy(own.coding.anchors)
    within = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2:] <= torch.tensor([96, 64])).all(1)
    wild[2, own.coding.regions :][within, 0] = -9.0
    asked = own.loss(rows(corners, wild), OBJECTS, None, training=True)
    spared = own.loss(rows(corners, wild), crowd, None, training=True)
    assert float(spared) < float(asked)
    for labels in (OBJECTS[2:], torch.zeros(1, 0, 6)):
        few = own.loss(rows(corners[2:], logits[2:]), labels, None, training=True)
        assert 0 <= float(few) < 0.05


@pytest.mark.parametrize("head", ["fasterrcnn", "fasterrcnn-fpn", "fastrcnn", "rcnn"])
def test_all_weights_learn(head: str) -> None:
    own, made = objective(head), network(head)
    assert pickle.loads(pickle.dumps(own)) == own
    made.train()
    loss = own.loss(rows(*made(torch.randn(3, 3, *SIZE))), OBJECTS, None, training=True)
    loss.backward()
    assert bool(loss.isfinite())
    without = [name for name, one in made.named_parameters() if one.grad is None]
    made.zero_grad()
    made.eval()
    assert not [name for name in without if not name.startswith("deltas.")]


def test_a_region_learns_the_box_of_its_class() -> None:
    one = OfRegions(RegionCoding(4, np.zeros((0, 4), np.float32)), CLASSES)
    own = OfRegions(RegionCoding(4, np.zeros((0, 4), np.float32), each=CLASSES), CLASSES)
    corners = 3 + torch.rand(3, 4, 4) * torch.tensor([9.0, 9, 0, 0])
    corners[..., 2:] = corners[..., :2] + 30
    corners[0, 0], corners[1, 2] = OBJECTS[0, 1, :4] + 2, OBJECTS[1, 0, :4] - 2
    logits = torch.zeros(3, 4, CLASSES + 1)
    logits[0, 0, 3] = logits[1, 2, 2] = 5.0
    # The box of another class lies elsewhere, which costs nothing.
    each = torch.zeros(3, 4, CLASSES, 4)
    each[:] = corners[:, :, None]
    each[0, 0, 0] += 7
    given = rows(each.flatten(1, 2), logits)
    expected = one.loss(rows(corners, logits), OBJECTS, None, training=True)
    assert float(own.loss(given, OBJECTS, None, training=True)) == pytest.approx(float(expected))
    scores = logits.softmax(-1)[..., 1:]
    found = rows(each.flatten(1, 2), (scores[..., None] * torch.eye(CLASSES)).flatten(1, 2))
    assert float(own.effect(found, OBJECTS)) == pytest.approx(
        float(one.effect(rows(corners, scores), OBJECTS)), rel=1e-5
    )
    tally = own.tally()
    tally.update(found, OBJECTS, None)
    assert 0 < tally.figure < 1


@pytest.mark.parametrize("each", [1, CLASSES])
def test_another_network_is_followed_region_by_region(each: int) -> None:
    own = OfRegions(RegionCoding(6, np.zeros((0, 4), np.float32), each=each), CLASSES)
    corner = torch.tensor([[0.0, 0], [30, 0], [60, 0], [0, 30], [30, 30], [60, 30]])
    corners = torch.cat((corner, corner + 24), 1).expand(3, -1, -1)
    logits = torch.zeros(3, 6, CLASSES + 1)
    logits[..., 0] = 6.0
    logits[0, 1, 2] = logits[1, 4, 1] = 9.0

    def given(boxes: Tensor, scores: Tensor) -> Tensor:
        if each > 1:
            boxes = boxes[:, :, None].expand(-1, -1, each, -1).flatten(1, 2)
            scores = (scores[..., None] * torch.eye(each)).flatten(1, 2)
        return rows(boxes, scores)

    scores = logits.softmax(-1)[..., 1:]
    theirs = given(corners, scores)
    assert float(own.apart(theirs, theirs)) == pytest.approx(0, abs=1e-5)
    turned = given(corners.flip(1), scores.flip(1))  # the same regions in another order
    assert float(own.apart(turned, theirs)) == pytest.approx(0, abs=1e-5)
    small = float(own.apart(given(corners + 2, scores), theirs))
    large = float(own.apart(given(corners + 6, scores), theirs))
    assert 0.05 < small < large
    assert float(own.apart(given(corners, scores.roll(1, 1)), theirs)) > 1
    if each == 1:
        followed = logits.clone().requires_grad_()
        found = rows(corners, followed)
        plain = own.loss(found, OBJECTS, None, training=True)
        both = own.loss(found, OBJECTS, theirs, training=True)
        assert both.item() == pytest.approx(plain.item() / 2, abs=1e-5)
        both.backward()
        assert followed.grad is not None
        assert bool(followed.grad.isfinite().all())


def test_what_cannot_be_learned_is_refused() -> None:
    own = objective()
    found = rows(*right(own, OBJECTS))
    with pytest.raises(ModelError, match="expected one with the same head"):
        own.loss(found, OBJECTS, found, training=True)
    with pytest.raises(ModelError, match="its head has no loss"):
        objective_of(network("maskrcnn"), CLASSES, "maskrcnn")
