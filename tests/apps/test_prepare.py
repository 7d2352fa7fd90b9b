"""Images as an app prepares them, against edgekit's own preparation."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from turned_files import turned_files, upright

from edgekit import apps
from edgekit.apps.expected import vectors_of_classes
from edgekit.apps.golden import pictures
from edgekit.core import Preprocessing, to_json
from edgekit.data import preprocess
from edgekit.data.decode import pixels_of
from edgekit.errors import DataError

TEMPLATE = Path(apps.__file__).parent / "python" / "template"


def module(name: str) -> Any:
    """A file of the app in Python."""
    spec = importlib.util.spec_from_file_location(f"app_{Path(name).name}", TEMPLATE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


APP = module("package/preprocess")


@st.composite
def preprocessings(draw: st.DrawFn) -> Preprocessing:
    order = draw(st.sampled_from(["RGB", "BGR", "L", "RGBA", "BGRA"]))
    count = {"L": 1, "RGBA": 4, "BGRA": 4}.get(order, 3)
    fit = draw(st.sampled_from(["crop", "stretch", "letterbox"]))
    crop = (draw(st.integers(1, 20)), draw(st.integers(1, 20)))
    resize = draw(st.none() | st.just((crop[0] + 3, crop[1] + 1)))
    return Preprocessing(
        resize=None if fit == "letterbox" else resize,
        crop=crop,
        channel_order=order,
        mean=(0.4, 0.5, 0.6, 0.1)[:count],
        std=(0.2, 0.3, 0.4, 0.9)[:count],
        interpolation=draw(st.sampled_from(["nearest", "bilinear", "bicubic", "area"])),
        layout=draw(st.sampled_from(["NCHW", "NHWC"])),
        fit=fit,
        pad=draw(st.integers(0, 255)),
        exif=draw(st.sampled_from(["upright", "ignore"])),
        alpha="keep" if count == 4 else draw(st.sampled_from(["black", "white", "drop"])),
    )


@given(preprocessings(), st.integers(1, 40), st.integers(1, 40), st.integers(0, 8), st.data())
@settings(max_examples=150)
def test_an_app_makes_the_same_numbers_of_an_image(
    how: Preprocessing, height: int, width: int, orientation: int, data: st.DataObject
) -> None:
    mode = data.draw(st.sampled_from(["RGB", "RGBA", "L", "LA", "P", "1", "I;16"]))
    rng = np.random.default_rng(height * 41 + width)
    pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    else:
        image = Image.fromarray(pixels).convert(mode)
    options: dict[str, Any] = {}
    if mode in ("RGB", "L", "P", "I;16") and data.draw(st.booleans()):  # one colour is transparent
        options["transparency"] = image.getpixel((0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    image.save(content, "PNG", exif=exif, **options)
    opened = Image.open(io.BytesIO(content.getvalue()))
    try:
        expected = preprocess.prepare(pixels_of(opened, "image", how.exif, how.alpha), how)
    except DataError:
        with pytest.raises(APP.ImageError, match="give a larger one"):
            APP.prepare(content.getvalue(), to_json(how))
        return
    found = APP.prepare(content.getvalue(), to_json(how))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("content", "orientation"), turned_files())
def test_only_the_exif_block_turns_an_image(content: bytes, orientation: int) -> None:
    height, width = upright(orientation).shape[:2]
    how = Preprocessing(
        resize=None, crop=(height, width), mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0, layout="NHWC"
    )
    expected = pixels_of(Image.open(io.BytesIO(content)), "image")
    np.testing.assert_array_equal(APP.prepare(content, to_json(how)), expected)
    np.testing.assert_allclose(expected, upright(orientation), atol=4)


@given(preprocessings())
@settings(max_examples=25)
def test_golden_images_suit_every_preprocessing(how: Preprocessing) -> None:
    for picture in pictures(how):
        opened = Image.open(io.BytesIO(picture.content))
        pixels = pixels_of(opened, picture.file, how.exif, how.alpha)
        assert preprocess.resize_and_crop(pixels, how).shape == (*how.size, how.channels)


def test_probabilities_of_an_app_are_those_of_the_reference() -> None:
    decode = module("classify/decode")
    for vector in vectors_of_classes():
        found = decode.probabilities(vector["scores"], vector["kind"])
        np.testing.assert_allclose(found, vector["probabilities"], atol=1e-12)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"no image", "no image: expected a JPEG"),
        ("nowhere.png", "no such file"),
        (np.zeros((4, 4), np.uint8), "expected uint8 of height x width x 3"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, message: str) -> None:
    with pytest.raises(APP.ImageError, match=message):
        APP.prepare(image, to_json(preprocess.default(32)))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 20_000])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(side: int) -> None:
    content = io.BytesIO()
    Image.new("1", (side, side)).save(content, "PNG")
    with pytest.raises(APP.ImageError, match="too large: expected at most 51 megapixels"):
        APP.prepare(content.getvalue(), to_json(preprocess.default(32)))
