"""Boxes and masks go where the pixels of their objects go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.core import IGNORE
from edgekit.training.augmentation import GREY, ZOOM, augment_boxes, augment_masks

SIDES = (48, 64)


def _scenes(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """White rectangles on black, one an image, with box and mask."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((count, *SIDES, 3), np.uint8)
    labels = np.full((count, 2, 6), -1, np.float32)
    masks = np.zeros((count, *SIDES), np.uint8)
    for i in range(count):
        y0, x0 = rng.integers(2, 20), rng.integers(2, 30)
        y1, x1 = y0 + rng.integers(8, 24), x0 + rng.integers(8, 30)
        pixels[i, y0:y1, x0:x1] = 255
        masks[i, y0:y1, x0:x1] = 3
        labels[i, 0] = (x0, y0, x1, y1, 3, 0)
    return torch.from_numpy(pixels), torch.from_numpy(labels), torch.from_numpy(masks)


def test_a_mirrored_box_is_exact() -> None:
    pixels, labels, _ = _scenes(40)
    changed, moved = augment_boxes(pixels, labels, (1, 2), flip=True, crop=False)
    turned = 0
    for one, box, before in zip(changed, moved, labels, strict=True):
        ys, xs = np.nonzero(one[..., 0].numpy())
        assert box[0, :4].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        turned += not torch.equal(box[0], before[0])
    assert 5 < turned < 35


def test_a_zoomed_box_is_where_the_object_is_within_a_pixel() -> None:
    pixels, labels, masks = _scenes(60)
    changed, moved = augment_boxes(pixels, labels, (1, 2), flip=True, crop=True)
    _, where = augment_masks(pixels, masks, (1, 2), ZOOM, flip=True, crop=True)
    seen = 0
    for one, box in zip(where.numpy(), moved.numpy(), strict=True):
        ys, xs = np.nonzero(one == 3)
        if box[0, 4] < 0:
            continue
        seen += 1
        found = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        # One pixel of the image can be two of an enlarged one.
        assert np.abs(box[0, :4] - found).max() <= 2
    assert seen > 30
    assert moved[:, 1, 4].eq(-1).all()
    assert changed.dtype == torch.uint8


def test_what_is_cut_off_is_not_learned() -> None:
    pixels, labels, _ = _scenes(400)
    _, moved = augment_boxes(pixels, labels, (5,), flip=False, crop=True)
    kept = moved[:, 0]
    gone, ignored = kept[:, 4] < 0, (kept[:, 4] >= 0) & (kept[:, 5] == 1)
    assert gone.any()
    assert ignored.any()
    assert (kept[~gone, 2:4] > kept[~gone, :2]).all()
    assert (kept[:, :4] >= 0).all()
    assert (kept[:, 2] <= SIDES[1]).all()


def test_what_lies_outside_is_grey_and_counts_for_nothing() -> None:
    pixels, _, masks = _scenes(40)
    changed, moved = augment_masks(pixels, masks, (3,), flip=False, crop=True)
    outside = moved == IGNORE
    assert outside.any()
    assert changed.shape == pixels.shape
    assert set(np.unique(moved.numpy())) <= {0, 3, IGNORE}
    spread = changed[outside].float()
    assert (spread - GREY).abs().max() <= 255 * 0.2 + 14 * 0.25 + 1


@pytest.mark.parametrize("augment", [augment_boxes, augment_masks])
def test_a_seed_gives_the_same_again(augment) -> None:  # type: ignore[no-untyped-def]
    pixels, labels, masks = _scenes(8)
    truth = labels if augment is augment_boxes else masks
    first, again = (augment(pixels, truth, (7, 1), flip=True, crop=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = augment(pixels, truth, (7, 2), flip=True, crop=True)
    assert not torch.equal(first[0], other[0])


def test_nothing_is_changed_where_nothing_is_asked() -> None:
    pixels, labels, masks = _scenes(3)
    assert augment_boxes(pixels, labels, (1,), flip=False, crop=False)[0] is pixels
    assert augment_masks(pixels, masks, (1,), flip=False, crop=False)[1] is masks
