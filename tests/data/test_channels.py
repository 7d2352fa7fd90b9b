"""Transparency and grey, to the integer against Pillow, and images decoded otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekit.core import Preprocessing
from edgekit.data import decoded_for, open_source
from edgekit.data.channels import grey, without_alpha
from edgekit.data.decode import load_image
from edgekit.data.preprocess import prepare, resize_and_crop

EVERY_PAIR = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).astype(np.uint8)
"""Every value beside every opacity: shape (256, 256, 2)."""


def rgba() -> np.ndarray:
    return EVERY_PAIR[..., [0, 0, 0, 1]]


@pytest.mark.parametrize(("alpha", "colour"), [("black", 0), ("white", 255)])
def test_what_lies_behind_is_composited_as_pillow_does(alpha: str, colour: int) -> None:
    behind = Image.new("RGBA", (256, 256), (colour, colour, colour, 255))
    expected = Image.alpha_composite(behind, Image.fromarray(rgba())).convert("RGB")
    np.testing.assert_array_equal(without_alpha(rgba(), alpha), np.array(expected))


def test_dropped_transparency_shows_colours_as_they_are_stored() -> None:
    np.testing.assert_array_equal(without_alpha(rgba(), "drop"), rgba()[..., :3])


def test_grey_is_that_of_pillow() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        grey(image)[..., 0], np.array(Image.fromarray(image).convert("L"))
    )


def images() -> dict[str, tuple[Image.Image, dict[str, Any]]]:
    """One of each way to store transparency, with how it is saved."""
    palette = Image.fromarray(EVERY_PAIR[:8, :8, 0]).convert("P")
    deep = Image.fromarray(EVERY_PAIR[:8, :8, 0].astype(np.uint16) * 257)
    return {
        "rgba": (Image.fromarray(rgba()[60:180, 60:180]), {}),
        "grey": (Image.fromarray(EVERY_PAIR[60:180, 60:180]), {}),
        "palette": (palette, {"transparency": bytes(range(0, 256, 2))}),
        "colour": (Image.fromarray(rgba()[:8, :8, :3]), {"transparency": (3, 3, 3)}),
        "deep": (deep, {"transparency": 3 * 257}),
    }


@pytest.mark.parametrize("kind", images())
def test_every_kind_of_transparency_is_kept_dropped_or_composited(
    kind: str, tmp_path: Path
) -> None:
    image, options = images()[kind]
    image.save(tmp_path / "a.png", **options)
    kept = load_image(tmp_path / "a.png", alpha="keep")
    assert kept.shape[2] == 4
    assert np.ptp(kept[..., 3]) > 0
    for alpha in ("black", "white", "drop"):
        found = load_image(tmp_path / "a.png", alpha=alpha)
        np.testing.assert_array_equal(found, without_alpha(kept, alpha))


def test_an_opaque_image_has_the_opacity_255(tmp_path: Path) -> None:
    Image.new("L", (5, 4), 7).save(tmp_path / "a.png")
    assert np.unique(load_image(tmp_path / "a.png", alpha="keep").reshape(-1, 4), axis=0).tolist() \
        == [[7, 7, 7, 255]]  # fmt: skip


def test_a_turned_image_is_left_as_it_is_stored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (32, 16)).save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg", exif="ignore").shape == (16, 32, 3)
    assert load_image(tmp_path / "a.jpg").shape == (32, 16, 3)


def test_a_folder_is_decoded_as_a_network_wants(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGBA", (8, 8), (250, 100, 50, 0)).save(tmp_path / name / "1.png")
    source = open_source(str(tmp_path))
    white = Preprocessing(8, 8, alpha="white")
    assert (decoded_for(source, white).image("all", 0) == 255).all()
    assert (source.image("all", 0) == 0).all()
    four = Preprocessing(8, 8, "RGBA", 1.0, (0.0,) * 4, (1.0,) * 4, alpha="keep")
    assert decoded_for(source, four).image("all", 0)[0, 0].tolist() == [250, 100, 50, 0]
    shapes = open_source("synthetic")
    assert decoded_for(shapes, four) is shapes


def test_grey_and_transparent_inputs_are_prepared() -> None:
    image = rgba()[:40, :60]
    one = Preprocessing(20, 16, "L", 1.0, (3.0,), (2.0,), layout="NHWC")
    small = resize_and_crop(image, one)
    assert small.shape == (16, 16, 1)
    np.testing.assert_array_equal(prepare(image, one)[..., 0], (small[..., 0] - 3.0) / 2)
    four = Preprocessing(20, 16, "BGRA", 1.0, (0.0, 1.0, 2.0, 3.0), (1.0,) * 4, alpha="keep")
    found = prepare(image, four)
    assert found.shape == (4, 16, 16)
    kept = resize_and_crop(image, four).astype(np.float32)
    np.testing.assert_array_equal(
        found, kept.transpose(2, 0, 1)[[2, 1, 0, 3]] - np.arange(4)[:, None, None]
    )
    opaque = prepare(image[..., :3], four)
    assert (opaque[3] == 252).all()
