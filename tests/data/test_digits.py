from __future__ import annotations

import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgekit.core import ImageSource
from edgekit.data import open_source

# Committed, so that a model evaluated today saw none of tomorrow's test images in training.
COUNTS = {
    "train": (124, 128, 123, 129, 127, 128, 127, 125, 122, 126),
    "validation": (27, 27, 27, 27, 27, 27, 27, 27, 26, 27),
    "test": (27, 27, 27, 27, 27, 27, 27, 27, 26, 27),
    "all": (178, 182, 177, 183, 181, 182, 181, 179, 174, 180),
}
DIGESTS = {
    "train": "bebc3ba439c47397",
    "validation": "acb1a0a2ddf5998c",
    "test": "3bffffa9461d0e42",
    "all": "9b4db4a52cd44d79",
}


@pytest.fixture(scope="module")
def digits() -> ImageSource:
    return open_source("digits")


@pytest.mark.parametrize("split", COUNTS)
def test_each_split_holds_the_committed_images(digits: ImageSource, split: str) -> None:
    labels = [digits.label(split, index) for index in range(digits.size(split))]
    assert tuple(np.bincount(labels)) == COUNTS[split]
    images = (digits.image(split, index) for index in range(digits.size(split)))
    digest = hashlib.sha256(b"".join(image.tobytes() for image in images))
    assert digest.hexdigest()[:16] == DIGESTS[split]


def test_pixels_and_labels_are_those_of_scikit_learn_scaled_to_8_bits(digits: ImageSource) -> None:
    original = load_digits()
    for index in range(digits.size("all")):
        image = digits.image("all", index)
        assert image.shape == (8, 8, 3)
        exact = original.images[index][:, :, np.newaxis] * 255 / 16
        assert np.abs(image - exact).max() <= 0.5
        assert digits.label("all", index) == original.target[index]


def test_the_three_splits_make_up_the_whole_without_overlap(digits: ImageSource) -> None:
    def images(split: str) -> list[bytes]:
        return [digits.image(split, index).tobytes() for index in range(digits.size(split))]

    parts = images("train") + images("validation") + images("test")
    assert sorted(parts) == sorted(images("all"))


def test_digits_are_not_mirrored(digits: ImageSource) -> None:
    assert not digits.flippable
    assert digits.classes == tuple("0123456789")


def test_an_index_beyond_the_split_fails(digits: ImageSource) -> None:
    with pytest.raises(IndexError):
        digits.image("test", digits.size("test"))
