from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from object_networks import SIDE, Scenes
from PIL import Image

from edgekit.core import Preprocessing
from edgekit.data import open_source, preprocess
from edgekit.data.truths import BOX_TRUTH, CLASS_LABELS, MASK_TRUTH, Truth
from edgekit.errors import DataError
from edgekit.training import images as training_images
from edgekit.training.images import (
    Batches,
    Loader,
    SplitImages,
    augment,
    normalize,
    open_splits,
)

CPU = torch.device("cpu")


@given(st.integers(2, 400), st.integers(2, 70), st.integers(0, 5))
def test_batches_hold_every_image_once_and_are_never_small(n: int, size: int, epoch: int) -> None:
    batches = Batches(n, size, seed=3)
    batches.epoch = epoch
    parts = list(batches)
    assert len(parts) == len(batches)
    assert sorted(chain.from_iterable(parts)) == list(range(n))
    assert min(map(len, parts)) >= min(n, size)
    assert max(map(len, parts)) < 2 * size or n < size


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = Batches(50, 8, seed)
        batches.epoch = epoch
        return list(batches)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert list(Batches(5, 2)) == [[0, 1, 2], [3, 4]]
    assert sum(map(len, Batches(50, 8, seed=1, limit=20))) == 20


def _ramp(n: int, side: int) -> torch.Tensor:
    rows, columns = np.mgrid[0:side, 0:side].astype(np.uint8)
    image = np.stack([rows, columns, rows * 0], axis=-1)
    return torch.from_numpy(np.repeat(image[None], n, axis=0))


@given(st.integers(0, 2**32), st.integers(8, 40))
def test_a_shift_moves_whole_rows_and_columns_by_at_most_an_eighth(seed: int, side: int) -> None:
    shifted = augment(_ramp(4, side), [seed], flip=False, crop=True)
    assert shifted.shape == (4, side, side, 3)
    for image in shifted.numpy():
        rows = image[:, 0, 0].astype(int)
        assert (image[:, :, 0] == rows[:, None]).all()
        assert (np.diff(rows) >= 0).all()
        moved = abs(rows - np.arange(side))
        # An eighth by the shift, 15 % of the half side by the zoom, and the rounding of both.
        assert moved.max() <= round(side / 8) + 0.15 * side / 2 + 1


def test_without_flips_nothing_is_mirrored_and_with_them_about_half() -> None:
    pixels = _ramp(400, 8)
    assert torch.equal(augment(pixels, [0], flip=False, crop=False), pixels)
    flipped = augment(pixels, [0], flip=True, crop=False)
    mirrored = (flipped == pixels.flip(2)).all(dim=(1, 2, 3))
    kept = (flipped == pixels).all(dim=(1, 2, 3))
    assert bool((mirrored ^ kept).all())
    assert 150 < int(mirrored.sum()) < 250


def test_augmentation_is_repeatable() -> None:
    pixels = _ramp(16, 32)
    first = augment(pixels, [5, 1, 2], flip=True, crop=True)
    assert torch.equal(first, augment(pixels, [5, 1, 2], flip=True, crop=True))
    assert not torch.equal(first, augment(pixels, [5, 1, 3], flip=True, crop=True))


def test_normalization_equals_the_shared_one_to_the_last_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    preprocessing = Preprocessing(resize=None, crop=16)
    expected = preprocess.normalize(pixels, preprocessing)
    assert np.array_equal(normalize(torch.from_numpy(pixels), preprocessing).numpy(), expected)


def test_images_are_the_same_whether_cached_or_decoded_in_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, preprocessing = open_source("synthetic"), Preprocessing(resize=32, crop=32)
    reports: list[tuple[int, int]] = []

    def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
        opened = open_splits(
            source,
            ["validation"],
            preprocessing,
            lambda *done: reports.append(done),
            CLASS_LABELS,
        )["validation"]
        return list(Loader(opened, Batches(len(opened), 5), CPU))

    cached = batches()
    assert reports == [(16, 16)]
    monkeypatch.setattr(training_images, "CACHE_BYTES", 0)
    decoded = batches()
    assert reports == [(16, 16)]
    for (pixels, labels), (same_pixels, same_labels) in zip(cached, decoded, strict=True):
        assert torch.equal(pixels, same_pixels)
        assert torch.equal(labels, same_labels)


def test_masks_count_for_what_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = Scenes()
    pixels, numbers = 3 * SIDE**2, len(scenes.seen)

    def opened(truth: Truth, most: int) -> SplitImages:
        monkeypatch.setattr(training_images, "CACHE_BYTES", most * numbers)
        return open_splits(scenes, ["all"], Preprocessing(None, SIDE), lambda *_: None, truth)[
            "all"
        ]

    both, on_access = opened(MASK_TRUTH, pixels + SIDE**2), opened(MASK_TRUTH, pixels)
    assert both.cached is not None
    assert on_access.cached is None
    assert both.counts(3) == [5, 3, 3]
    assert on_access.counts(3) is None
    assert both.teaches(3)
    assert on_access.teaches(3)
    assert not both.teaches(0)
    assert not on_access.teaches(0)
    for whole, part in zip(both.fetch([3, 1]), on_access.fetch([3, 1]), strict=True):
        assert torch.equal(whole, part)
    small, without = opened(BOX_TRUTH, pixels), opened(BOX_TRUTH, 0)
    assert small.cached is not None
    assert without.counts(2) == small.counts(2) == [4, 3]
    assert small.fetch([2, 4])[1].shape == (2, 3, 6)  # of the most in these, no more


@pytest.mark.parametrize("cache", [0, 2**31])
def test_a_corrupt_image_is_named_cached_or_not(
    cache: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_images, "CACHE_BYTES", cache)
    for split in ("train", "val", "test"):
        for kind in ("a", "b"):
            (tmp_path / split / kind).mkdir(parents=True)
            for i in range(3):
                path = tmp_path / split / kind / f"{i}.png"
                Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(path)
    bad = tmp_path / "train" / "b" / "1.png"
    bad.write_bytes(bad.read_bytes()[:40])
    source = open_source(str(tmp_path))

    def read() -> None:
        opened = open_splits(source, ["train"], Preprocessing(8, 8), lambda *_: None)["train"]
        list(Loader(opened, Batches(len(opened), 2), CPU))

    with pytest.raises(DataError, match=r"1\.png") as caught:
        read()
    assert "Traceback" not in str(caught.value)
