from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit.core import Preprocessing
from edgekit.data import open_source
from edgekit.data.decode import load_image
from edgekit.data.preprocess import (
    check,
    default,
    for_source,
    geometry,
    normalize,
    pixels_of,
    prepare,
    resize_and_crop,
)
from edgekit.errors import ContractError, DataError, UsageError

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}
SIDES = st.integers(1, 90)


@st.composite
def preprocessings(draw: st.DrawFn) -> Preprocessing:
    crop = draw(st.integers(1, 48))
    return Preprocessing(
        resize=draw(st.integers(crop, 64)),
        crop=crop,
        channel_order=draw(st.sampled_from(["RGB", "BGR"])),
        scale=draw(st.sampled_from([1.0, 1 / 255, 1 / 127.5])),
        mean=draw(st.sampled_from([(0.485, 0.456, 0.406), (127.5,) * 3, (0.0, 1.0, 2.0)])),
        std=draw(st.sampled_from([(0.229, 0.224, 0.225), (1.0, 2.0, 3.0)])),
        interpolation=draw(st.sampled_from(sorted(FILTERS))),
        layout=draw(st.sampled_from(["NCHW", "NHWC"])),
    )


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(preprocessing=preprocessings(), seed=st.integers(0, 9))
def test_the_pixels_of_what_was_prepared_are_found_again(
    preprocessing: Preprocessing, seed: int
) -> None:
    pixels = np.stack([noise(*preprocessing.size, seed + i) for i in range(2)])
    found = pixels_of(normalize(pixels, preprocessing), preprocessing)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels)
    np.testing.assert_array_equal(normalize(found, preprocessing.of_pixels), pixels)


@settings(deadline=None)
@given(height=SIDES, width=SIDES, preprocessing=preprocessings())
def test_any_image_becomes_the_promised_array(
    height: int, width: int, preprocessing: Preprocessing
) -> None:
    image = noise(height, width)
    before = image.copy()
    result = prepare(image, preprocessing)
    crop = preprocessing.crop
    assert result.shape == ((3, crop, crop) if preprocessing.layout == "NCHW" else (crop, crop, 3))
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.isfinite(result).all()
    pixels = resize_and_crop(image, preprocessing)
    assert pixels.shape == (crop, crop, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(result, normalize(pixels, preprocessing))
    np.testing.assert_array_equal(image, before)


@settings(deadline=None)
@given(
    height=SIDES,
    width=SIDES,
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    preprocessing=preprocessings(),
)
def test_a_constant_image_stays_constant_and_follows_the_formula(
    height: int, width: int, colour: tuple[int, int, int], preprocessing: Preprocessing
) -> None:
    image = np.broadcast_to(np.array(colour, np.uint8), (height, width, 3))
    p = preprocessing
    ordered = np.array(colour[::-1] if p.channel_order == "BGR" else colour, np.float64)
    expected = (ordered * p.scale - np.array(p.mean)) / np.array(p.std)
    result = prepare(image, p)
    if p.layout == "NHWC":
        result = np.moveaxis(result, -1, 0)
    for channel in range(3):
        assert np.ptp(result[channel]) == 0
        assert result[channel, 0, 0] == pytest.approx(expected[channel], rel=1e-5, abs=1e-4)


@settings(deadline=None)
@given(height=SIDES, width=SIDES, preprocessing=preprocessings())
def test_normalize_of_a_batch_is_that_of_its_images(
    height: int, width: int, preprocessing: Preprocessing
) -> None:
    batch = np.stack([noise(height, width, seed) for seed in range(3)])
    singly = np.stack([normalize(image, preprocessing) for image in batch])
    np.testing.assert_array_equal(normalize(batch, preprocessing), singly)


def test_normalize_computes_in_float32_in_the_documented_order() -> None:
    p = default(8)
    pixels = noise(8, 8)
    by_hand = pixels.astype(np.float32) * np.float32(p.scale)
    by_hand = (by_hand - np.float32(p.mean)) / np.float32(p.std)
    np.testing.assert_array_equal(normalize(pixels, p), np.moveaxis(by_hand, -1, 0))


@settings(deadline=None)
@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    resize=st.integers(1, 100),
    share=st.floats(0.01, 1),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_it_equals_resizing_the_whole_image_and_cropping_then(
    height: int, width: int, resize: int, share: float, interpolation: str
) -> None:
    # Without noise at the limits of 8 bits, where Pillow clips between its two passes.
    image = (noise(height, width) // 4 + 96).astype(np.uint8)
    crop = max(1, int(resize * share))
    short = min(height, width)
    tall, wide = (math.floor(side * resize / short + 0.5) for side in (height, width))
    whole = np.array(Image.fromarray(image).resize((wide, tall), FILTERS[interpolation]))
    top, left = (tall - crop) // 2, (wide - crop) // 2
    expected = whole[top : top + crop, left : left + crop].astype(int)
    result = resize_and_crop(image, Preprocessing(resize, crop, interpolation=interpolation))
    assert np.abs(result - expected).max() <= 2


def test_each_interpolation_is_the_one_it_is_called() -> None:
    image = noise(64, 64)
    for name, resample in FILTERS.items():
        result = resize_and_crop(image, Preprocessing(20, 20, interpolation=name)).astype(int)
        expected = np.array(Image.fromarray(image).resize((20, 20), resample))
        assert np.abs(result - expected).max() <= 1, name


def test_area_is_the_mean_of_whole_blocks() -> None:
    image = noise(40, 40)
    means = image.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))
    result = resize_and_crop(image, Preprocessing(20, 20, interpolation="area"))
    assert np.abs(result - means).max() <= 1


def test_resizing_to_its_own_size_changes_nothing() -> None:
    image = noise(30, 45)
    for name in FILTERS:
        result = resize_and_crop(image, Preprocessing(30, 30, interpolation=name))
        np.testing.assert_array_equal(result, image[:, 7:37])


def test_without_resizing_the_middle_is_cut_out_and_owned() -> None:
    image = noise(9, 14)
    result = resize_and_crop(image, Preprocessing(None, 4))
    np.testing.assert_array_equal(result, image[2:6, 5:9])
    assert not np.shares_memory(result, image)


def test_a_crop_that_meets_the_image_exactly_works() -> None:
    image = noise(5, 5)
    np.testing.assert_array_equal(resize_and_crop(image, Preprocessing(None, 5)), image)


def test_bgr_reverses_the_channels_before_mean_and_std() -> None:
    image = np.broadcast_to(np.array([10, 20, 30], np.uint8), (4, 4, 3))
    p = Preprocessing(4, 4, "BGR", 1.0, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0), layout="NHWC")
    np.testing.assert_array_equal(prepare(image, p)[0, 0], [29.0, 9.0, 1.75])


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (2, 30_000)])
def test_extreme_aspect_ratios_are_prepared(shape: tuple[int, int]) -> None:
    # Resized as a whole, the first would take 256 x 5,120,000 pixels, 4 GB.
    image = np.full((*shape, 3), 40, np.uint8)
    middle = shape.index(max(shape))
    centre = [slice(None), slice(None)]
    centre[middle] = slice(max(shape) // 2 - 10, max(shape) // 2 + 10)
    image[tuple(centre)] = 200
    for name in FILTERS:
        pixels = resize_and_crop(image, Preprocessing(256, 224, interpolation=name))
        assert (pixels == 200).all(), name


def test_one_pixel_fills_the_crop() -> None:
    image = np.array([[[1, 2, 3]]], np.uint8)
    pixels = resize_and_crop(image, Preprocessing(256, 224))
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[1, 2, 3]]


def test_an_image_smaller_than_the_crop_is_refused_with_both_sizes() -> None:
    with pytest.raises(DataError, match="image of 30 x 10 px is smaller than the crop of 11 x 11"):
        prepare(noise(10, 30), Preprocessing(None, 11))


def test_a_resize_below_the_crop_is_refused_with_the_sizes() -> None:
    with pytest.raises(DataError, match="shorter side to 8 px is smaller than the crop of 9 x 9"):
        prepare(noise(10, 30), Preprocessing(8, 9))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"expected uint8 of shape \(height, width, 3\)"):
        resize_and_crop(image, default(2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crop", 0),
        ("crop", -3),
        ("crop", 10**9),
        ("resize", 0),
        ("resize", 223),
        ("resize", 10**9),
        ("crop", (224, 0)),
        ("resize", (256, 223)),
        ("channel_order", "GBR"),
        ("channel_order", "L"),
        ("fit", "cover"),
        ("pad", -1),
        ("pad", 256),
        ("exif", "turn"),
        ("alpha", "keep"),
        ("alpha", "red"),
        ("layout", "CHW"),
        ("interpolation", "lanczos"),
        ("scale", 0.0),
        ("scale", math.nan),
        ("scale", 1e-60),
        ("scale", 3e38),
        ("mean", (0.5,)),
        ("mean", (0.5, 0.5, math.inf)),
        ("mean", (0.5, 0.5, 1e60)),
        ("std", (0.5, 0.5)),
        ("std", (0.5, 0.0, 0.5)),
        ("std", (0.5, -1.0, 0.5)),
        ("std", (0.5, 1e-60, 0.5)),
        ("std", (0.5, 1e-39, 0.5)),
        ("std", (0.5, math.nan, 0.5)),
    ],
)
def test_check_names_the_impossible_field(field: str, value: object) -> None:
    broken = dataclasses.replace(default(224), **{field: value})
    named = "mean" if value == "L" else field  # one channel has one mean
    with pytest.raises(ContractError, match=f"field '{named}' is .*: expected"):
        check(broken)


def test_what_belongs_to_other_fits_or_channels_is_refused() -> None:
    with pytest.raises(ContractError, match="'resize' is 8: expected null for the fit letterbox"):
        check(Preprocessing(8, 8, fit="letterbox"))
    four = Preprocessing(8, 8, "RGBA", mean=(0.0,) * 4, std=(1.0,) * 4)
    with pytest.raises(ContractError, match="'alpha' is 'black': expected keep with RGBA"):
        check(four)
    check(dataclasses.replace(four, alpha="keep"))
    with pytest.raises(ContractError, match=r"'std' is .*: expected four finite numbers above 0"):
        check(dataclasses.replace(four, alpha="keep", std=(1.0,) * 3))


@settings(deadline=None)
@given(height=SIDES, width=SIDES, tall=st.integers(1, 48), wide=st.integers(1, 48))
def test_a_letterbox_shows_all_of_the_image_in_its_middle(
    height: int, width: int, tall: int, wide: int
) -> None:
    p = Preprocessing(None, (tall, wide), fit="letterbox", pad=9)
    place = geometry(height, width, p)
    assert place.box == (0, 0, width, height)
    assert place.height == tall or place.width == wide
    exact = Fraction(tall, height), Fraction(wide, width)
    for new, side, limit in ((place.height, height, tall), (place.width, width, wide)):
        assert 1 <= new <= limit
        assert new == max(1, math.floor(side * min(exact) + Fraction(1, 2)))
    below, right = tall - place.top - place.height, wide - place.left - place.width
    assert 0 <= below - place.top <= 1
    assert 0 <= right - place.left <= 1
    image = np.full((height, width, 3), 200, np.uint8)
    found = resize_and_crop(image, p)
    shown = np.zeros((tall, wide), bool)
    shown[place.top : place.top + place.height, place.left : place.left + place.width] = True
    assert found.shape == (tall, wide, 3)
    assert (found[shown] == 200).all()
    assert (found[~shown] == 9).all()
    assert place.to_image(place.left, place.top) == (0, 0)
    corner = place.to_image(place.left + place.width, place.top + place.height)
    assert corner == pytest.approx((width, height))


def test_a_letterbox_is_placed_as_that_of_ultralytics() -> None:
    """640 px as its documentation has them: 810 x 1080 px become 480 x 640 beside 80 px."""
    place = geometry(1080, 810, Preprocessing(None, 640, fit="letterbox", pad=114))
    assert (place.height, place.width, place.top, place.left) == (640, 480, 0, 80)
    odd = geometry(100, 99, Preprocessing(None, 100, fit="letterbox"))
    assert (odd.width, odd.left) == (99, 0)


def test_stretching_gives_up_the_proportions() -> None:
    image = noise(40, 90)
    found = resize_and_crop(image, Preprocessing(None, (16, 24), fit="stretch"))
    narrow = Image.fromarray(image).resize((24, 40), FILTERS["bilinear"])
    np.testing.assert_array_equal(found, np.array(narrow.resize((24, 16), FILTERS["bilinear"])))
    whole = resize_and_crop(image, Preprocessing(None, (20, 30), fit="stretch"))
    middle = resize_and_crop(image, Preprocessing((20, 30), (16, 24), fit="stretch"))
    assert np.abs(middle.astype(int) - whole[2:18, 3:27]).max() <= 2


@settings(deadline=None)
@given(SIDES, SIDES, st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_a_crop_that_is_no_square_is_covered_in_proportion(
    height: int, width: int, tall: int, wide: int, more: int
) -> None:
    p = Preprocessing((tall + more, wide + more), (tall, wide))
    left, top, right, bottom = geometry(height, width, p).box
    assert min(left, top) >= 0
    assert right <= width
    assert bottom <= height
    factor = max(Fraction(tall + more, height), Fraction(wide + more, width))
    for side, crop, shown in ((height, tall, bottom - top), (width, wide, right - left)):
        assert side * crop / shown == pytest.approx(math.floor(side * factor + Fraction(1, 2)))
    assert resize_and_crop(noise(height, width), p).shape == (tall, wide, 3)


def test_prepare_refuses_an_impossible_preprocessing() -> None:
    broken = dataclasses.replace(default(8), interpolation="lanczos")
    with pytest.raises(ContractError, match="'interpolation' is 'lanczos'"):
        prepare(noise(9, 9), broken)
    with pytest.raises(ContractError, match="'layout'"):
        normalize(noise(9, 9), dataclasses.replace(default(8), layout="x"))


@settings(deadline=None)
@given(preprocessing=preprocessings())
def test_check_accepts_what_can_be_done(preprocessing: Preprocessing) -> None:
    check(preprocessing)
    check(dataclasses.replace(preprocessing, resize=None))


@pytest.mark.parametrize(("resolution", "resize"), [(224, 256), (32, 37), (1, 1), (16_384, 16_384)])
def test_default_resizes_to_eight_sevenths(resolution: int, resize: int) -> None:
    assert default(resolution) == Preprocessing(resize=resize, crop=resolution)
    check(default(resolution))


@pytest.mark.parametrize("resolution", [0, -5, 10**9])
def test_an_impossible_resolution_is_wrong_usage(resolution: int) -> None:
    with pytest.raises(UsageError, match=f"resolution {resolution}: expected 1 to"):
        default(resolution)
    with pytest.raises(UsageError, match=f"resolution {resolution}: expected 1 to"):
        for_source(open_source("synthetic"), resolution)


@pytest.mark.parametrize(
    ("words", "resolution", "resize"),
    [("digits", 32, 32), ("synthetic", 35, 40), ("synthetic", 36, 36), ("synthetic", 224, 224)],
)
def test_small_images_are_scaled_and_large_ones_cropped(
    words: str, resolution: int, resize: int
) -> None:
    chosen = for_source(open_source(words), resolution)
    assert chosen == Preprocessing(resize=resize, crop=resolution)


def test_sizes_that_are_no_squares_have_defaults() -> None:
    assert default((96, 160)) == Preprocessing((110, 183), (96, 160))
    check(default((96, 160)))
    assert for_source(SizedSource([(110, 183)]), (96, 160)) == default((96, 160))
    small = Preprocessing((96, 160), (96, 160))
    assert for_source(SizedSource([(120, 180)]), (96, 160)) == small


class SizedSource:
    """Images of given sizes, which counts what is looked at."""

    name = "sized"
    classes: tuple[str, ...] = ("a", "b")
    flippable = True
    splits: tuple[str, ...] = ("train",)

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes
        self.seen: list[int] = []

    def size(self, split: str) -> int:
        return len(self.sizes)

    def label(self, split: str, index: int) -> int:
        return index % 2

    def image(self, split: str, index: int) -> np.ndarray:
        self.seen.append(index)
        return np.zeros((*self.sizes[index], 3), np.uint8)


def test_the_median_short_side_of_a_few_images_spread_over_the_split_decides() -> None:
    source = SizedSource([(10, 900)] * 400 + [(900, 300)] * 600)
    assert for_source(source, 224).resize == 256
    assert len(source.seen) == 32
    assert (min(source.seen), max(source.seen)) == (0, 999)
    assert for_source(SizedSource([(10, 900)] * 600 + [(900, 300)] * 400), 224).resize == 224


def test_a_source_without_images_is_refused() -> None:
    with pytest.raises(DataError, match="'sized' has no images"):
        for_source(SizedSource([]), 224)


def test_a_source_that_is_not_split_is_looked_at_as_a_whole() -> None:
    source = SizedSource([(40, 40)] * 3)
    source.splits = ("all",)
    assert for_source(source, 64) == Preprocessing(resize=64, crop=64)


def test_photographs_are_prepared(request: pytest.FixtureRequest) -> None:
    folder = Path(request.config.rootpath).parent / "shared" / "data" / "imagenet-sample"
    paths = sorted(folder.rglob("*.[jJ][pP]*[gG]"))[:20]
    if not paths:
        pytest.skip("no sample of photographs beside the checkout")
    arrays = np.stack([prepare(load_image(path), default(224)) for path in paths])
    assert arrays.shape == (len(paths), 3, 224, 224)
    assert abs(arrays.mean()) < 1
    assert 0.5 < arrays.std() < 2
