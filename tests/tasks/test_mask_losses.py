"""What networks learn that tell the class of each pixel."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgekit.core.objects import IGNORE
from edgekit.tasks.mask_losses import OfMasks
from edgekit.tasks.overlaps import confusions, ious, mean_iou

CLASSES, SIZE = 3, (5, 7)


def _some(n: int = 4) -> tuple[OfMasks, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    masks = torch.randint(0, CLASSES, (n, *SIZE), dtype=torch.uint8)
    masks[0, 0] = IGNORE
    return OfMasks(CLASSES, SIZE), torch.randn(n, CLASSES * SIZE[0] * SIZE[1]), masks


def test_counts_come_to_what_they_mean() -> None:
    right = np.array([[0, 0, 1, 1, IGNORE]])
    told = np.array([[0, 1, 1, 1, 2]])
    counts = confusions(right, told, 4)
    assert counts.sum() == 4
    np.testing.assert_allclose(ious(counts), [1 / 2, 2 / 3, np.nan, np.nan])
    assert mean_iou(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert mean_iou(np.zeros((4, 4), np.int64)) == 0


def test_the_loss_is_cross_entropy_and_overlap_without_ignored_pixels() -> None:
    objective, rows, masks = _some()
    scores = rows.view(4, CLASSES, *SIZE)
    entropy = F.cross_entropy(scores, masks.long(), ignore_index=IGNORE)
    torch.testing.assert_close(objective.effect(rows, masks), entropy)
    kept = masks != IGNORE
    missing = []
    for number in range(CLASSES):
        right = ((masks == number) & kept).double()
        share = scores.softmax(1)[:, number].double() * kept
        if right.any():
            common = (right * share).sum()
            missing.append(1 - common / (right.sum() + share.sum() - common))
    counts = torch.stack([((masks == number) & kept).sum() for number in range(CLASSES)])
    each = F.cross_entropy(scores, masks.long(), ignore_index=IGNORE, reduction="none")
    weights = counts.clamp(min=1).double() ** -0.5
    weight = weights[torch.where(kept, masks, 0).long()] * kept
    balanced = (each * weight).sum() / weight.sum()
    expected = (balanced + torch.stack(missing).mean()).float()
    torch.testing.assert_close(objective.loss(rows, masks, None, training=True), expected)
    assert objective.loss(rows, torch.full_like(masks, IGNORE), None, training=True) == 0
    same = objective.loss(rows, masks, rows, training=False)
    torch.testing.assert_close(same, expected / 2)
    assert objective.loss(rows, masks, -rows, training=False) > same
    assert pickle.loads(pickle.dumps(objective)) == objective


def test_masks_that_are_found_overlap() -> None:
    objective, _, masks = _some()
    known = torch.where(masks == IGNORE, 0, masks).long()
    certain = 50 * F.one_hot(known, CLASSES).permute(0, 3, 1, 2).float().flatten(1)
    assert objective.loss(certain, masks, None, training=True) < 1e-4


def test_parts_are_tallied_as_a_whole() -> None:
    objective, rows, masks = _some()
    tally = objective.tally()
    tally.update(rows[:1], masks[:1], None)
    tally.update(rows[1:], masks[1:], None)
    counts = confusions(masks.numpy(), rows.view(4, CLASSES, *SIZE).argmax(1).numpy(), CLASSES)
    assert tally.figure == pytest.approx(mean_iou(counts))
    assert tally.loss == pytest.approx(float(objective.effect(rows, masks)), rel=1e-5)
    best = objective.tally()
    perfect = F.one_hot(masks.long().clamp(max=CLASSES - 1), CLASSES).permute(0, 3, 1, 2)
    best.update(50.0 * perfect.flatten(1), masks, None)
    assert best.figure == 1
