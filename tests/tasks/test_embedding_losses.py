"""What networks learn whose outputs are points of a sphere."""

from __future__ import annotations

import math
import pickle
from itertools import pairwise, permutations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgekit.tasks.embedding_losses import (
    ARCFACE_MARGIN,
    COSFACE_MARGIN,
    MARGINS,
    MININGS,
    TRIPLET_MARGIN,
    OfEmbeddings,
    margin_softmax,
    neighbours,
    triplets,
)

D, CLASSES = 6, 4


def _some(n: int = 12) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return F.normalize(torch.randn(n, D), dim=1), torch.arange(n) % CLASSES


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().sum())


def test_triplets_are_those_of_the_papers() -> None:
    """Written out one by one."""
    points, labels = _some()
    semi, hard = [], []
    for a in range(len(points)):
        positives = [i for i in range(len(points)) if i != a and labels[i] == labels[a]]
        negatives = [i for i in range(len(points)) if labels[i] != labels[a]]
        apart = [_distance(points[a], points[i]) for i in negatives]
        for p in positives:
            own = _distance(points[a], points[p])
            beyond = [one for one in apart if one > own]
            semi.append(max(0.0, own - (min(beyond) if beyond else max(apart)) + TRIPLET_MARGIN))
        far = max(_distance(points[a], points[p]) for p in positives)
        hard.append(max(0.0, far - min(apart) + TRIPLET_MARGIN))
    for mining, losses in (("semi-hard", semi), ("hard", hard)):
        expected = sum(losses) / len(losses)
        assert float(triplets(points, labels, mining)) == pytest.approx(expected, rel=1e-4)


def test_images_of_classes_without_a_centre_learn_by_triplets_alone() -> None:
    points, labels = _some()
    cosines = torch.randn(len(points), 2)
    outputs = torch.cat((points, cosines), 1)
    found = OfEmbeddings(D).loss(outputs, labels, None, training=True)
    known = labels < 2
    own = margin_softmax(cosines[known], labels[known], "cosface", OfEmbeddings(D).scale)
    expected = (own + triplets(points, labels, "semi-hard")) / 2
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    alone = OfEmbeddings(D).loss(outputs, labels + 2, None, training=True)
    assert float(alone) == pytest.approx(float(triplets(points, labels, "semi-hard")), rel=1e-5)


@pytest.mark.parametrize("mining", MININGS)
def test_a_batch_without_a_triplet_has_no_loss(mining: str) -> None:
    points, _ = _some(4)
    points.requires_grad_()
    for labels in (torch.zeros(4, dtype=torch.int64), torch.arange(4)):
        loss = triplets(points, labels, mining)
        loss.backward()
        assert loss.detach() == 0
    assert bool(torch.isfinite(neighbours(points, torch.arange(4), 16.0)))


def test_the_margin_is_taken_off_the_right_class() -> None:
    cosines = torch.tensor([[0.9, 0.1, -0.2], [-0.95, 0.3, 0.0]])
    labels = torch.tensor([0, 0])
    for kind, change in (
        ("cosface", lambda c: c - COSFACE_MARGIN),
        ("arcface", lambda c: math.cos(math.acos(c) + ARCFACE_MARGIN)),
    ):
        logits = 8 * cosines[:1].clone()
        logits[0, 0] = 8 * change(0.9)
        expected = F.cross_entropy(logits, labels[:1])
        torch.testing.assert_close(margin_softmax(cosines[:1], labels[:1], kind, 8.0), expected)
    # An angle beyond pi - margin: the loss still falls as the angle does.
    losses = [
        margin_softmax(torch.tensor([[c, 0.0]]), torch.tensor([0]), "arcface", 8.0)
        for c in (-0.999, -0.9, -0.8, -0.5, 0.9)
    ]
    assert all(a > b for a, b in pairwise(losses))


@pytest.mark.parametrize("margin", [*MARGINS, ""])
@pytest.mark.parametrize("mining", [*MININGS, ""])
def test_points_come_together_by_class(margin: str, mining: str) -> None:
    objective = OfEmbeddings(D, mining=mining, margin=margin)
    assert pickle.loads(pickle.dumps(objective)) == objective
    points, labels = _some()
    points = points.clone().requires_grad_()
    centres = torch.randn(CLASSES, D).requires_grad_()
    optimizer = torch.optim.Adam([points, centres], 0.1)

    def rows() -> Tensor:
        found = F.normalize(points, dim=1)
        return torch.cat([found, found @ F.normalize(centres, dim=1).T], 1)

    before = objective.tally()
    before.update(rows(), labels, None)
    for _ in range(60):
        loss = objective.loss(rows(), labels, None, training=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = objective.tally()
    for part in (slice(0, 5), slice(5, None)):
        after.update(rows()[part, :D], labels[part], None)
    assert before.figure < after.figure == 1
    assert objective.effect(rows(), labels) < objective.effect(_some()[0], labels)


def test_recall_and_what_is_wanted() -> None:
    objective = OfEmbeddings(2)
    points = F.normalize(torch.tensor([[1, 0], [1, 0.1], [0, 1.0], [0.1, 1]]), dim=1)
    for labels, recall in (([0, 0, 1, 1], 1.0), ([0, 1, 0, 1], 0.0), ([0, 0, 1, 2], 0.5)):
        tally = objective.tally()
        tally.update(points, torch.tensor(labels), None)
        assert tally.figure == recall
    labels = torch.tensor([0, 0, 1, 1])
    same = objective.loss(points, labels, points, training=False)
    others = [points[list(order)] for order in permutations(range(4))][1:]
    assert all(objective.loss(points, labels, one, training=False) > same for one in others)
