"""Images that apps prepare, and what they say of them, for every platform."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from edgekit.core import Preprocessing
from edgekit.data import preprocess
from edgekit.data.decode import pixels_of
from edgekit.errors import DataError

Case = tuple[bytes, Preprocessing]


@st.composite
def images(draw: st.DrawFn, transparency: bool = False) -> bytes:
    """PNG files of all modes, sizes and orientations.

    Args:
        transparency: whether one colour may be transparent.
    """
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    mode = draw(st.sampled_from(["RGB", "RGBA", "L", "LA", "P", "1", "I;16"]))
    rng = np.random.default_rng(height * 41 + width)
    options: dict[str, Any] = {}
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    else:
        pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        if transparency and mode in ("RGB", "L", "P") and draw(st.booleans()):
            value = image.getpixel((0, 0))
            assert value is not None
            options["transparency"] = value
    exif = Image.Exif()
    exif[0x0112] = draw(st.integers(0, 8))
    content = io.BytesIO()
    image.save(content, "PNG", exif=exif, **options)
    return content.getvalue()


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip
"""PNG specification, 8.2: left, top, and steps across and down."""


def written(kind: int, depth: int, interlaced: bool, height: int, width: int) -> bytes:
    """A PNG file of any kind, since Pillow writes some only."""
    rng = np.random.default_rng([kind, depth, height, width])
    samples = rng.integers(0, 2**depth, (height, width, CHANNELS[kind]))
    packed = b""
    for left, top, across, down in PASSES if interlaced else [(0, 0, 1, 1)]:
        for row in samples[top::down, left::across]:
            if row.size:
                bits = "".join(f"{sample:0{depth}b}" for sample in row.reshape(-1))
                size = -(-len(bits) // 8)
                packed += b"\0" + int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big")

    def chunk(name: bytes, inside: bytes) -> bytes:
        return struct.pack(">I", len(inside)) + name + inside + struct.pack(
            ">I", zlib.crc32(name + inside)
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    palette = rng.integers(0, 256, 3 * 2**depth, np.uint8).tobytes() if kind == 3 else b""
    clear = rng.integers(0, 256, 2**depth, np.uint8).tobytes() if kind == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, inside)
        for name, inside in (
            (b"IHDR", header), (b"PLTE", palette), (b"tRNS", clear),
            (b"IDAT", zlib.compress(packed)), (b"IEND", b""),
        )
        if inside or name == b"IEND"
    )  # fmt: skip


def all_pngs() -> list[Case]:
    """PNG files of every kind, in sizes in which all passes of the interlaced ones are met."""
    kinds = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4),
             (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]  # fmt: skip
    cases: list[Case] = []
    for height, width in ((1, 1), (3, 2), (5, 9), (13, 17)):
        how = Preprocessing(
            resize=None, crop=(height, width), mean=(0.0,) * 4, std=(1.0,) * 4, scale=1.0,
            channel_order="RGBA", alpha="keep",
        )  # fmt: skip
        for kind, depth in kinds:
            for interlaced in (False, True):
                cases.append((written(kind, depth, interlaced, height, width), how))
    return cases


def expected_of(content: bytes, how: Preprocessing) -> Any:
    """What edgekit makes of an image; ``None`` where it refuses it."""
    opened = Image.open(io.BytesIO(content))
    try:
        return preprocess.prepare(pixels_of(opened, "image", how.exif, how.alpha), how)
    except DataError:
        return None


def check_prepared(cases: Sequence[Case], found: Sequence[Any]) -> None:
    """Checks what an app made of images: the same numbers to the bit, or that it refused them."""
    for (content, how), numbers in zip(cases, found, strict=True):
        expected = expected_of(content, how)
        if expected is None:
            assert "give a larger one" in numbers
        else:
            np.testing.assert_array_equal(numbers, expected.reshape(-1), str(content[16:33]))


def numbers_of(told: Sequence[str | int], file: Path, dtype: str) -> list[Any]:
    """What an app made of images, one an entry: so many numbers of a file, or a message."""
    numbers = np.fromfile(file, dtype)
    found: list[Any] = []
    at = 0
    for each in told:
        if isinstance(each, str):
            found.append(each)
            continue
        found.append(numbers[at : at + each])
        at += each
    return found
