from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from edgekit.training.randaugment import OPERATIONS, Draw, randaugment

Change = Callable[[Image.Image], Image.Image]

# What Pillow does at half strength and sign 1; 1.45 is 1 + 0.9 / 2, 15 degrees are half of 30.
PILLOW: dict[str, Change] = {
    "identity": lambda image: image,
    "autocontrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "posterize": lambda image: ImageOps.posterize(image, 6),
    "solarize": lambda image: ImageOps.solarize(image, 128),
    "colour": lambda image: ImageEnhance.Color(image).enhance(1.45),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.45),
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(1.45),
    "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(1.45),
    "rotate": lambda image: image.rotate(15, Image.Resampling.BILINEAR),
}


def _photos(count: int, height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    """Smooth images, of which the last has one value and the first not the whole range."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(30, 220, (count, 6, 6, 3), dtype=np.uint8)
    images = [np.asarray(Image.fromarray(i).resize((width, height))) for i in coarse]
    return np.stack([*images[:-1], np.full((height, width, 3), 7, np.uint8)])


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
@pytest.mark.parametrize("name", PILLOW)
def test_operations_are_pillows(name: str, size: tuple[int, int]) -> None:
    images = _photos(6, *size)
    found = OPERATIONS[name](torch.from_numpy(images), Draw(0.5, torch.ones(6, 1, 1, 1))).numpy()
    expected = np.stack([np.asarray(PILLOW[name](Image.fromarray(image))) for image in images])
    if name == "rotate":  # Pillow fills with black what the turn uncovers
        found, expected = found[:, 8:24, 8:24], expected[:, 8:24, 8:24]
    difference = abs(found.astype(int) - expected)
    assert difference.max() <= 1  # float32 here, float64 or fixed point there
    if name not in ("rotate", "colour"):
        assert difference.max() == 0


@pytest.mark.parametrize("axis", ["x", "y"])
def test_translation_and_shear_move_pixels_along_their_axis(axis: str) -> None:
    side = 331
    rows, columns = np.mgrid[0:side, 0:side] * 255 // side
    ramp = torch.from_numpy(np.stack([columns, rows, rows], -1).astype(np.uint8))[None]
    draw = Draw(1.0, torch.ones(1, 1, 1, 1))
    moving, still = (0, 1) if axis == "x" else (1, 0)
    for name in (f"translate-{axis}", f"shear-{axis}"):
        moved = OPERATIONS[name](ramp, draw).int() - ramp.int()
        inner = moved[0, 140:180, 140:180]
        assert int(inner[..., still].abs().max()) <= 1
        if name.startswith("translate"):  # by 150 px, 115 levels of the ramp
            assert int((inner[..., moving] - 150 * 255 / side).abs().max()) <= 2
    middle = OPERATIONS[f"shear-{axis}"](ramp, draw)[0, side // 2, side // 2].int()
    assert int((middle - ramp[0, side // 2, side // 2].int()).abs().max()) <= 1


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 10))
def test_it_keeps_shape_and_type_and_depends_on_the_seed_alone(
    seed: int, operations: int, strength: int
) -> None:
    pixels = torch.from_numpy(_photos(8, 16, 16))
    before = pixels.clone()
    found = randaugment(pixels, [seed, 1], operations, strength)
    assert (found.shape, found.dtype) == (pixels.shape, torch.uint8)
    assert torch.equal(found, randaugment(pixels, [seed, 1], operations, strength))
    assert torch.equal(pixels, before)


def test_images_of_a_batch_go_through_different_operations() -> None:
    pixels = torch.from_numpy(_photos(2)[:1]).repeat(280, 1, 1, 1)
    results = {image.numpy().tobytes() for image in randaugment(pixels, [0], 1, 5)}
    # Nine operations have a sign; at strength 5 each of the others gives one result.
    assert len(results) == 14 + 9
    assert len({i.numpy().tobytes() for i in randaugment(pixels, [0], 2, 5)}) > 100


def test_nothing_is_mirrored() -> None:
    side = 32
    ramp = np.arange(side, dtype=np.uint8) * 4 + 60
    image = torch.from_numpy(np.broadcast_to(ramp[None, :, None], (side, side, 3)).copy())
    for name in ("rotate", "shear-x", "shear-y", "translate-x", "translate-y"):
        for sign in (-1.0, 1.0):
            found = OPERATIONS[name](image[None], Draw(1.0, torch.full((1, 1, 1, 1), sign)))
            middle = found[0, side // 2, :, 0].int()
            assert bool((middle.diff() >= 0).all())
            assert int(middle[-1]) > int(middle[0])
