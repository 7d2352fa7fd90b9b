from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekit.data.decode import load_image
from edgekit.errors import DataError

RAMP = np.linspace(0, 255, 48).round().astype(np.uint8).reshape(6, 8)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def png_of_header(path: Path, width: int, height: int) -> Path:
    """A PNG that claims a size and holds one row of data, at most a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_lossless_rgb_comes_back_exactly(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(COLOURS), lossless=True)
    image = load_image(path)
    np.testing.assert_array_equal(image, COLOURS)
    assert image.dtype == np.uint8
    assert image.flags.writeable


def test_jpeg_comes_back_nearly(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (20, 10), (200, 100, 50)), quality=95)
    image = load_image(path)
    assert image.shape == (10, 20, 3)
    assert np.abs(image.astype(int) - (200, 100, 50)).max() <= 4


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    image = load_image(save(tmp_path / "a.png", Image.fromarray(RAMP)))
    np.testing.assert_array_equal(image, np.repeat(RAMP[..., None], 3, axis=2))


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    bits = Image.fromarray(np.where(RAMP > 99, 255, 0).astype(np.uint8)).convert("1")
    image = load_image(save(tmp_path / "a.png", bits))
    np.testing.assert_array_equal(image[..., 1], np.where(RAMP > 99, 255, 0))


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65278, 65535]], np.uint16)
    image = load_image(save(tmp_path / "a.png", Image.fromarray(values)))
    np.testing.assert_array_equal(image[0, :, 0], [0, 0, 1, 1, 128, 254, 255])
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_16_bit_grey_with_a_transparent_level_shows_black_there(tmp_path: Path) -> None:
    values = np.array([[1000, 65535]], np.uint16)
    path = save(tmp_path / "a.png", Image.fromarray(values), transparency=65535)
    np.testing.assert_array_equal(load_image(path)[0, :, 0], [4, 0])


def test_rgba_is_composited_over_black(tmp_path: Path) -> None:
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 128]]], np.uint8)
    image = load_image(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert image[0, 0].tolist() == [200, 100, 50]
    assert image[0, 1].tolist() == [0, 0, 0]
    assert np.abs(image[0, 2].astype(int) - (100, 50, 25)).max() <= 1


def test_grey_with_alpha_is_composited_over_black(tmp_path: Path) -> None:
    pixels = np.array([[[200, 255], [200, 0]]], np.uint8)
    image = load_image(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert image.tolist() == [[[200] * 3, [0] * 3]]


def palette_image() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 210, 220])
    image.putpixel((1, 0), 1)
    return image


def test_palette_colours_are_looked_up(tmp_path: Path) -> None:
    image = load_image(save(tmp_path / "a.png", palette_image()))
    assert image.tolist() == [[[10, 20, 30], [200, 210, 220]]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_transparent_palette_entries_show_black(
    tmp_path: Path, suffix: str, transparency: int | bytes
) -> None:
    if suffix == "gif" and isinstance(transparency, bytes):
        transparency = 1  # all that the format has
    path = save(tmp_path / f"a.{suffix}", palette_image(), transparency=transparency)
    assert load_image(path).tolist() == [[[10, 20, 30], [0, 0, 0]]]


def test_rgb_with_a_transparent_colour_shows_black_there(tmp_path: Path) -> None:
    pixels = np.array([[[9, 8, 7], [200, 100, 50]]], np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(pixels), transparency=(200, 100, 50))
    assert load_image(path).tolist() == [[[9, 8, 7], [0, 0, 0]]]


def test_cmyk_jpeg_has_its_colours_not_their_inverse(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (250, 20, 10)).convert("CMYK")
    image = load_image(save(tmp_path / "a.jpg", red, quality=95))
    assert image.shape == (16, 16, 3)
    assert np.abs(image.astype(int) - (250, 20, 10)).max() <= 6


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, COLOURS),
        (2, COLOURS[:, ::-1]),
        (3, np.rot90(COLOURS, 2)),
        (4, COLOURS[::-1]),
        (5, COLOURS.transpose(1, 0, 2)),
        (6, np.rot90(COLOURS, -1)),
        (7, np.rot90(COLOURS, 2).transpose(1, 0, 2)),
        (8, np.rot90(COLOURS, 1)),
        (99, COLOURS),
    ],
)
def test_exif_orientation_is_applied(
    tmp_path: Path, orientation: int, expected: np.ndarray
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(COLOURS), exif=exif)
    np.testing.assert_array_equal(load_image(path), expected)


def test_a_rotated_jpeg_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", Image.new("L", (32, 16)), exif=exif)
    assert load_image(path).shape == (32, 16, 3)


def test_damaged_exif_leaves_the_image_usable(tmp_path: Path) -> None:
    garbage = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    path = save(tmp_path / "a.jpg", Image.new("L", (32, 16)), exif=garbage)
    assert load_image(path).shape == (16, 32, 3)


def test_one_pixel_works(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("RGB", (1, 1), (1, 2, 3)))
    assert load_image(path).tolist() == [[[1, 2, 3]]]


def test_20000_px_wide_works(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("RGB", (20_000, 100), (1, 2, 3)))
    assert load_image(path).shape == (100, 20_000, 3)


@pytest.mark.parametrize("side", [20_000, 7_200])
def test_more_than_51_megapixels_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    path = png_of_header(tmp_path / "huge.png", side, side)
    with pytest.raises(DataError, match=rf"huge\.png' is {side} x {side} px.*51 megapixels"):
        load_image(path)


@pytest.mark.filterwarnings("error")
def test_below_51_megapixels_it_is_the_missing_data_that_counts(tmp_path: Path) -> None:
    path = png_of_header(tmp_path / "large.png", 7_000, 7_000)
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError, match=r"large\.png' is truncated or corrupt"):
        load_image(path)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_missing_file_folder_and_dead_link_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png' does not exist"):
        load_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="is a folder: expected an image file"):
        load_image(tmp_path)
    link = tmp_path / "link.png"
    link.symlink_to(link)
    with pytest.raises(DataError, match=r"link\.png' is a link that leads nowhere"):
        load_image(link)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="is not a regular file"):
        load_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_not_an_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png' is not an image.*expected a JPEG, PNG"):
        load_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "gif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut.{suffix}", Image.fromarray(noise))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=rf"cut\.{suffix}'"):
        load_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "gif"])
def test_flipped_bytes_give_an_image_or_a_data_error(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    original = save(tmp_path / f"whole.{suffix}", Image.fromarray(noise)).read_bytes()
    path = tmp_path / f"damaged.{suffix}"
    refused = 0
    for _ in range(150):
        damaged = bytearray(original)
        for place in rng.integers(0, min(len(damaged), 200), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert load_image(path).shape[2] == 3
        except DataError as error:
            assert f"damaged.{suffix}" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "secret.png", Image.new("L", (4, 4)))
    path.chmod(0)
    with pytest.raises(DataError, match=r"secret\.png' cannot be read"):
        load_image(path)
