from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.data.synthetic import noise_images, open_source


def test_sizes_and_labels_are_balanced() -> None:
    source = open_source()
    assert {split: source.size(split) for split in source.splits} == {
        "train": 64,
        "validation": 16,
        "test": 16,
        "all": 96,
    }
    for split in source.splits:
        labels = [source.label(split, index) for index in range(source.size(split))]
        assert len(set(np.bincount(labels))) == 1


def test_images_depend_only_on_split_and_index() -> None:
    first, second = open_source(), open_source()
    forward = [first.image("train", index) for index in range(64)]
    backward = [second.image("train", index) for index in reversed(range(64))]
    np.testing.assert_array_equal(forward, backward[::-1])


def test_no_image_occurs_twice_and_all_is_the_three_splits_in_turn() -> None:
    source = open_source()
    everything = [source.image("all", index).tobytes() for index in range(96)]
    assert len(set(everything)) == 96
    parts = [
        source.image(split, index).tobytes()
        for split in ("train", "validation", "test")
        for index in range(source.size(split))
    ]
    assert parts == everything


def test_classes_can_be_told_apart_by_nearest_mean_colour() -> None:
    source = open_source()

    def feature(split: str, index: int) -> np.ndarray:
        return np.percentile(source.image(split, index), 97, axis=(0, 1))

    means = [
        np.mean([feature("train", i) for i in range(64) if source.label("train", i) == k], axis=0)
        for k in range(4)
    ]
    right = [
        np.argmin([np.abs(feature("test", i) - mean).sum() for mean in means])
        == source.label("test", i)
        for i in range(16)
    ]
    assert np.mean(right) >= 0.9


@pytest.mark.parametrize("index", [-1, 16])
def test_an_index_outside_the_split_fails(index: int) -> None:
    with pytest.raises(IndexError, match=f"image {index} of split 'test'"):
        open_source().image("test", index)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 3), size=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_noise_has_the_shape_asked_for_and_follows_the_seed(
    count: int, size: int, seed: int
) -> None:
    images = noise_images(count, size, seed)
    assert images.shape == (count, size, size, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, noise_images(count + 1, size, seed)[:count])


def test_noise_differs_between_images_in_brightness_contrast_colour_and_scale() -> None:
    images = noise_images(32, 64).astype(float)
    assert images.mean(axis=(1, 2, 3)).std() > 25
    assert np.ptp(images.std(axis=(1, 2, 3))) > 30
    colour = images.mean(axis=(1, 2)) - images.mean(axis=(1, 2, 3))[:, np.newaxis]
    assert colour.std() > 15
    steps = np.abs(np.diff(images, axis=2)).mean(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3))
    assert steps.max() > 3 * steps.min()


def test_noise_of_another_seed_is_other_noise() -> None:
    assert not np.array_equal(noise_images(1, 32, 0), noise_images(1, 32, 1))
