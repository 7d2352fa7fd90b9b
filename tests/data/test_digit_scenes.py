"""Scenes of digits: the same everywhere, and boxes and masks where the digits are."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgekit.data.digit_scenes import MOST_HIDDEN, SIDE, DigitScenes
from edgekit.data.digits import DigitsSource
from edgekit.data.digits import open_source as open_digits
from edgekit.data.truths import truth_bytes


@pytest.fixture(scope="module")
def scenes() -> DigitScenes:
    digits = open_digits()
    assert isinstance(digits, DigitsSource)
    return DigitScenes(digits)


def test_scenes_are_the_same_on_every_machine(scenes: DigitScenes) -> None:
    digest = hashlib.sha256()
    for split in ("train", "validation", "test"):
        for index in (0, 7, 131):
            digest.update(scenes.image(split, index).tobytes())
            digest.update(truth_bytes(scenes, split, index))
    assert digest.hexdigest()[:16] == "d000004b45045761"


def test_all_is_the_three_splits_one_behind_the_other(scenes: DigitScenes) -> None:
    sizes = [scenes.size(split) for split in ("train", "validation", "test", "all")]
    assert sizes == [2000, 300, 500, 2800]
    for split, start in (("train", 0), ("validation", 2000), ("test", 2300)):
        assert (scenes.image(split, 3) == scenes.image("all", start + 3)).all()
    with pytest.raises(IndexError, match="image 300 of split 'validation'"):
        scenes.image("validation", 300)


def test_scenes_of_a_split_take_digits_of_that_split_only() -> None:
    class Asked(DigitsSource):
        splits_asked: set[str]

        def image(self, split: str, index: int) -> np.ndarray:
            self.splits_asked.add(split)
            return super().image(split, index)

    whole = open_digits()
    assert isinstance(whole, DigitsSource)
    digits = Asked(whole._grey * (16 / 255), whole._labels)
    scenes = DigitScenes(digits)
    for split in ("train", "validation", "test"):
        digits.splits_asked = set()
        for index in range(10):
            scenes.image(split, index)
        assert digits.splits_asked == {split}


def test_every_digit_has_a_box_around_it_and_is_seen_in_the_mask(scenes: DigitScenes) -> None:
    counts, sides = [], []
    for index in range(60):
        boxes, mask = scenes.boxes("train", index), scenes.mask("train", index)
        inside = np.zeros((SIDE, SIDE), bool)
        for corners, kind in zip(boxes.corners.astype(int), boxes.classes, strict=True):
            x0, y0, x1, y1 = corners
            inside[y0:y1, x0:x1] = True
            own = mask[y0:y1, x0:x1] == kind + 1
            # Ink fills at least a fifth of a digit's box, and most of it is seen.
            assert own.mean() > 0.2 * (1 - MOST_HIDDEN)
            sides.append(y1 - y0)
        assert set(np.unique(mask)) - {0} == {kind + 1 for kind in boxes.classes}
        assert not mask[~inside].any()
        counts.append(len(boxes.classes))
    assert set(counts) == {1, 2, 3, 4, 5}
    assert min(sides) >= 20
    assert max(sides) <= 72
    assert max(sides) > 2 * min(sides)


def test_digits_overlap_in_some_scenes(scenes: DigitScenes) -> None:
    overlapping = 0
    for index in range(40):
        corners = scenes.boxes("train", index).corners
        upper = np.maximum(corners[:, None, :2], corners[None, :, :2])
        lower = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
        shared = np.maximum(lower - upper, 0).prod(axis=2)
        overlapping += int((np.triu(shared, 1) > 0).any())
    assert 5 <= overlapping <= 35


def test_what_is_given_away_is_not_kept(scenes: DigitScenes) -> None:
    scenes.image("test", 0)[:] = 0
    scenes.mask("test", 0)[:] = 9
    assert scenes.image("test", 0).any()
    assert not (scenes.mask("test", 0) == 9).all()
