"""The reference of the resampling, to the integer against Pillow and against what training uses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit.core import Preprocessing
from edgekit.data.channels import grey, without_alpha
from edgekit.data.preprocess import geometry, resize_and_crop
from edgekit.data.resampling import FILTERS, PRECISION_BITS, resample, row_weights

PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}
SIDES = st.integers(1, 300)
NAMES = st.sampled_from(sorted(PILLOW))
Box = tuple[float, float, float, float]


@st.composite
def edges(draw: st.DrawFn, side: int) -> tuple[float, float]:
    """Two edges within a side: all of it, on whole pixels, or anywhere."""
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return 0, side
    if kind == 1:
        first = draw(st.integers(0, side - 1))
        return first, draw(st.integers(first + 1, side))
    first = draw(st.floats(0, side - 0.25, width=64))
    return first, draw(st.floats(min(first + 0.125, side), side, width=64))


def pixels(height: int, width: int, seed: int) -> np.ndarray:
    """Noise; every other seed only black and white, which overshoots most."""
    found = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return found if seed % 2 else np.where(found < 128, 0, 255).astype(np.uint8)


def by_pillow(image: np.ndarray, height: int, width: int, box: Box, name: str) -> np.ndarray:
    """In two calls: within one, Pillow takes the height first where that is less work."""
    left, top, right, bottom = box
    whole = Image.fromarray(image)
    narrow = whole.resize((width, whole.height), PILLOW[name], (left, 0, right, whole.height))
    return np.array(narrow.resize((width, height), PILLOW[name], (0, top, width, bottom)))


@settings(deadline=None, max_examples=300)
@given(st.data(), SIDES, SIDES, SIDES, SIDES, NAMES, st.integers(0, 2**32 - 1))
def test_it_equals_pillow_to_the_integer(
    data: st.DataObject, rows: int, columns: int, height: int, width: int, name: str, seed: int
) -> None:
    left, right = data.draw(edges(columns))
    top, bottom = data.draw(edges(rows))
    image, box = pixels(rows, columns, seed), (left, top, right, bottom)
    expected = by_pillow(image, height, width, box, name)
    np.testing.assert_array_equal(resample(image, height, width, box, name), expected)


@settings(deadline=None, max_examples=100)
@given(SIDES, SIDES, st.integers(1, 200), st.floats(0.01, 1), NAMES, st.integers(0, 2**32 - 1))
def test_it_equals_what_training_uses(
    rows: int, columns: int, resize: int, share: float, name: str, seed: int
) -> None:
    image, crop = pixels(rows, columns, seed), max(1, int(resize * share))
    p = Preprocessing(resize, crop, interpolation=name)
    place = geometry(rows, columns, p)
    found = resample(image, place.height, place.width, place.box, name)
    np.testing.assert_array_equal(found, resize_and_crop(image, p))


@settings(deadline=None, max_examples=200)
@given(st.data(), SIDES, SIDES, st.integers(1, 90), st.integers(1, 90), NAMES)
def test_every_fit_and_number_of_channels_equals_what_training_uses(
    data: st.DataObject, rows: int, columns: int, height: int, width: int, name: str
) -> None:
    fit = data.draw(st.sampled_from(["crop", "stretch", "letterbox"]))
    order = data.draw(st.sampled_from(["RGB", "L", "RGBA"]))
    more = data.draw(st.integers(0, 30))
    p = Preprocessing(
        None if fit == "letterbox" else (height + more, width + more),
        (height, width),
        order,
        mean=(0.0,) * len(order),
        std=(1.0,) * len(order),
        interpolation=name,
        fit=fit,
        pad=data.draw(st.integers(0, 255)),
        alpha="keep" if order == "RGBA" else "white",
    )
    seed = data.draw(st.integers(0, 2**32 - 1))
    image = np.concatenate([pixels(rows, columns, seed), pixels(rows, columns, seed + 1)], axis=2)
    image = image[..., :4]
    with_channels = image if order == "RGBA" else without_alpha(image, "white")
    with_channels = grey(with_channels) if order == "L" else with_channels
    place = geometry(rows, columns, p)
    expected = np.full((height, width, len(order)), p.pad, np.uint8)
    shown = resample(with_channels, place.height, place.width, place.box, name)
    expected[place.top :, place.left :][: place.height, : place.width] = shown
    np.testing.assert_array_equal(resize_and_crop(image, p), expected)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 4), (9, 7, 2, 2)])
def test_channels_do_not_mix(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = resample(image, 5, 11, interpolation="bicubic")
    assert found.shape == (5, 11, *shape[2:])
    flat, done = image.reshape(9, 7, -1), found.reshape(5, 11, -1)
    for i in range(flat.shape[2]):
        alone = Image.fromarray(flat[..., i]).resize((11, 9), PILLOW["bicubic"])
        expected = np.array(alone.resize((11, 5), PILLOW["bicubic"]))
        np.testing.assert_array_equal(done[..., i], expected)


@settings(deadline=None)
@given(st.data(), SIDES, SIDES, st.sampled_from(sorted(FILTERS)))
def test_sums_of_32_bits_suffice_and_weights_are_those_of_a_mean(
    data: st.DataObject, rows: int, count: int, name: str
) -> None:
    first, last = data.draw(edges(rows))
    for row in range(count):
        begin, weights = row_weights(rows, count, first, last, FILTERS[name], row)
        assert begin >= 0
        assert 0 < len(weights) <= rows - begin
        assert abs(sum(weights) - 2**PRECISION_BITS) <= len(weights) / 2
        assert 255 * sum(map(abs, weights)) + 2 ** (PRECISION_BITS - 1) < 2**31


def test_a_share_is_divided_by_the_sum() -> None:
    """A product with one over the sum has other last bits, which tell where a half is rounded."""
    first, last = 13.647058823529411, 100.6470588235294
    row = np.zeros((116, 1), np.uint8)
    row[14:18, 0] = [179, 255, 226, 255]
    narrow = Image.fromarray(row.T).resize((51, 1), PILLOW["bilinear"], (first, 0, last, 1))
    assert np.array(narrow)[0, 1] == 241
    np.testing.assert_array_equal(resample(row.T, 1, 51, (first, 0, last, 1)), np.array(narrow))


def test_the_example_of_the_documentation() -> None:
    """`docs/preprocessing.md` works these numbers out by hand."""
    assert [row_weights(5, 2, 0, 5, FILTERS["bilinear"], row) for row in range(2)] == [
        (0, [1334551, 1715852, 953251, 190650]),
        (1, [190650, 953251, 1715852, 1334551]),
    ]
    column = np.array([10, 20, 30, 40, 250], np.uint8)[:, None]
    assert resample(column, 2, 1).ravel().tolist() == [20, 104]
