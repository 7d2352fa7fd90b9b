from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core import Preprocessing
from edgekit.data import open_source
from edgekit.data.folder import FolderSource
from edgekit.errors import DataError
from edgekit.verification.samples import NOISE_COUNT, REAL_COUNT, noise, real_images, real_samples

PREPROCESSING = Preprocessing(resize=8, crop=8)


def folder(root: Path, count: int) -> Path:
    """Two classes of so many images each."""
    for kind in ("cat", "dog"):
        (root / kind).mkdir()
        for index in range(count):
            Image.new("RGB", (9, 9), (index, 0, 0)).save(root / kind / f"{index:03d}.png")
    return root


def test_few_images_are_topped_up_with_noise_and_the_text_says_so(tmp_path: Path) -> None:
    source = FolderSource(folder(tmp_path, 2))  # too few to be cut into splits
    samples = real_samples(source, PREPROCESSING)
    assert samples.images.shape == (NOISE_COUNT, 3, 8, 8)
    assert samples.about == f"4 images of {tmp_path} and {NOISE_COUNT - 4} of noise"
    np.testing.assert_array_equal(samples.images[:4], real_images(source, PREPROCESSING, "all"))
    np.testing.assert_array_equal(samples.images[4:], noise(PREPROCESSING, NOISE_COUNT - 4))


def test_enough_images_stay_among_themselves() -> None:
    samples = real_samples(open_source("digits"), PREPROCESSING)
    assert (len(samples.images), samples.about, samples.skipped) == (REAL_COUNT, "digits", ())


def test_a_corrupt_image_is_named_and_one_that_was_skipped_is_not_counted(tmp_path: Path) -> None:
    root = folder(tmp_path, 2)
    broken = root / "dog" / "001.png"
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"dog/001\.png.*--skip-corrupt"):
        real_samples(FolderSource(root), PREPROCESSING)
    samples = real_samples(FolderSource(root, skip_corrupt=True), PREPROCESSING)
    assert samples.skipped == (str(broken),)
    assert samples.about.startswith(f"3 images of {root} and ")
    assert len(samples.images) == NOISE_COUNT


def test_an_image_that_cannot_be_prepared_is_named(tmp_path: Path) -> None:
    source = FolderSource(folder(tmp_path, 2))
    with pytest.raises(DataError, match=r"image 0 of split 'all': image of 9 x 9 px is smaller"):
        real_samples(source, Preprocessing(resize=None, crop=10))


def test_other_real_images_come_before_noise(tmp_path: Path) -> None:
    source = FolderSource(folder(tmp_path, 48))
    assert set(source.splits) == {"train", "validation", "test", "all"}
    samples = real_samples(source, PREPROCESSING)
    assert samples.about == f"96 images of {tmp_path} and {NOISE_COUNT - 96} of noise"
    test = real_images(source, PREPROCESSING, "test")
    np.testing.assert_array_equal(samples.images[: len(test)], test)
    everything = real_images(source, PREPROCESSING, "all")
    assert sorted(samples.images[:96, 0, 0, 0]) == sorted(everything[:, 0, 0, 0])
