from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgekit.training.mixing import mix

N, SIDE, CLASSES = 6, 12, 10


def _batch() -> tuple[Tensor, Tensor]:
    """Images of one level each, 40 apart, and labels."""
    pixels = (torch.arange(N, dtype=torch.uint8) * 40).view(N, 1, 1, 1).repeat(1, SIDE, SIDE, 3)
    return pixels, torch.tensor([3, 1, 4, 1, 5, 9])


def _shares(pixels: Tensor, mixed: Tensor) -> Tensor:
    """How much each image has of its own, by its mean level."""
    own, other = pixels.float().mean((1, 2, 3)), pixels.roll(1, 0).float().mean((1, 2, 3))
    return (mixed.float().mean((1, 2, 3)) - other) / (own - other)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(0.2, 0.0), (0.0, 1.0), (1.0, 1.0)]))
def test_labels_are_mixed_by_the_shares_of_the_pixels(
    seed: int, kinds: tuple[float, float]
) -> None:
    pixels, labels = _batch()
    mixed, targets = mix(pixels, labels, [seed], classes=CLASSES, mixup=kinds[0], cutmix=kinds[1])
    assert (mixed.shape, mixed.dtype) == (pixels.shape, torch.uint8)
    torch.testing.assert_close(targets.sum(1), torch.ones(N))
    shares = _shares(pixels, mixed)
    for i in range(N):
        own = float(targets[i, labels[i]])
        assert own == pytest.approx(float(shares[i]), abs=0.5 / 40 + 1e-5)
        assert own + float(targets[i, labels[i - 1]]) == pytest.approx(1)
    again = mix(pixels, labels, [seed], classes=CLASSES, mixup=kinds[0], cutmix=kinds[1])
    assert torch.equal(again[0], mixed)
    assert torch.equal(again[1], targets)


def _is_cut(seed: int, mixup: float, cutmix: float) -> bool:
    """Whether every pixel comes from one image or the other."""
    pixels, labels = _batch()
    mixed, _ = mix(pixels, labels, [seed], classes=CLASSES, mixup=mixup, cutmix=cutmix)
    return bool(((mixed == pixels) | (mixed == pixels.roll(1, 0))).all())


def test_mixup_blends_cutmix_cuts_and_both_take_turns() -> None:
    # Shares near 0 or 1 would look the same: a concentration of 100 keeps them at one half.
    assert not any(_is_cut(seed, 100, 0) for seed in range(20))
    assert all(_is_cut(seed, 0, 100) for seed in range(20))
    assert 60 < sum(_is_cut(seed, 100, 100) for seed in range(200)) < 140


def test_shares_are_right_in_images_that_are_no_squares() -> None:
    pixels, labels = _batch()
    wide = pixels.repeat(1, 1, 2, 1)
    for seed in range(20):
        mixed, targets = mix(wide, labels, [seed], classes=CLASSES, mixup=0, cutmix=1)
        own = targets[torch.arange(N), labels]
        torch.testing.assert_close(own, _shares(wide, mixed), atol=1e-5, rtol=0)


def test_what_is_cut_out_is_one_rectangle() -> None:
    pixels, labels = _batch()
    for seed in range(50):
        mixed, _ = mix(pixels, labels, [seed], classes=CLASSES, mixup=0, cutmix=1)
        foreign = (mixed != pixels)[1, :, :, 0]
        rows, columns = foreign.any(1), foreign.any(0)
        assert torch.equal(foreign, rows[:, None] & columns[None, :])
        for inside in (rows, columns):
            places = inside.nonzero().flatten()
            assert len(places) == 0 or int(places[-1] - places[0]) + 1 == len(places)
