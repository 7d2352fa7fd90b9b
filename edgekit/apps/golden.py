"""Images with what an app has to make of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from edgekit.apps.expected import Expected
from edgekit.core import Preprocessing
from edgekit.core.reading import read_bytes
from edgekit.data import preprocess
from edgekit.data.decode import load_image, pixels_of
from edgekit.errors import DataError

_SEED = 23
_MOST_SIDE = 640
_ORIENTATION, _QUARTER_LEFT = 0x0112, 6
_LONG_EXIF = b"Exif\0\0MM\0*" + struct.pack(">IHHHIII", 8, 1, _ORIENTATION, 4, 1, _QUARTER_LEFT, 0)

EXACT = {"one": 0.0, "mean": 0.0}
"""How far pixels may be off, one of them and on average, where decoding loses nothing."""

LOSSY = {"one": 24.0, "mean": 1.0}
"""The same for JPEG, whose decoders round and interpolate colours in ways of their own."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file.

    Attributes:
        file: its name.
        about: what it tries.
        content: of the file.
        most_off: `EXACT` or `LOSSY`.
    """

    file: str
    about: str
    content: bytes
    most_off: dict[str, float]


def pictures(preprocessing: Preprocessing) -> Iterator[Picture]:
    """Images that try what goes wrong in apps, of sizes that the preprocessing takes."""
    height, width = (min(side, _MOST_SIDE) for side in preprocessing.size)
    if preprocessing.resize is None and preprocessing.fit == "crop":  # nothing is enlarged
        height = width = max(preprocessing.size)
        small = (height + 1, width + 4)
    else:
        small = (height // 2 + 2, width // 2 + 1)
    # Each side is odd, and none is a multiple of the network's.
    wide = (height + height // 3 | 1, 2 * width + width // 7 | 1)
    yield _png("wide.png", "more than twice as wide as tall", _scene(wide, 0))
    yield _png("tall.png", "taller than wide", _scene((wide[1] | 1, width + 3 | 1), 1))
    yield _png("small.png", "smaller than the network's input", _scene(small, 2))
    grey = _scene((height + 9, width + 31), 3)[..., 1]
    yield _png("grey.png", "one channel", grey)
    clear = _scene((height + 20, width + 5), 4)
    alpha = np.tile(np.linspace(0, 255, clear.shape[1]).astype(np.uint8), (clear.shape[0], 1))
    yield _png(
        "transparent.png", "clear on the left, opaque on the right", np.dstack([clear, alpha])
    )
    exif = Image.Exif()
    exif[_ORIENTATION] = _QUARTER_LEFT
    content = io.BytesIO()
    picture = Image.fromarray(_scene((wide[1] | 1, wide[0] | 1), 5))
    picture.save(content, "JPEG", quality=92, subsampling=0, exif=exif)
    yield Picture(
        "turned.jpg", "a JPEG file whose EXIF orientation turns it", content.getvalue(), LOSSY
    )
    other = PngInfo()
    other.add_itxt("XML:com.adobe.xmp", f'<x tiff:Orientation="{_QUARTER_LEFT}"/>')
    text = "\n".join(["", "exif", f"{len(_LONG_EXIF):8}", _LONG_EXIF.hex(), ""])
    other.add_text("Raw profile type exif", text)
    yield _png(
        "upright.png", "XMP and a text say that it is turned, which do not count",
        _scene((wide[1] | 1, wide[0] + 2 | 1), 6), pnginfo=other,
    )  # fmt: skip
    yield _png(
        "turned.png", "a PNG file whose EXIF orientation, in 32 bits, turns it",
        _scene((wide[1] | 1, wide[0] + 4 | 1), 7), exif=_LONG_EXIF,
    )  # fmt: skip


def _png(name: str, about: str, pixels: NDArray[np.uint8], **options: Any) -> Picture:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", optimize=True, **options)
    return Picture(name, about, content.getvalue(), EXACT)


def _scene(size: tuple[int, int], number: int) -> NDArray[np.uint8]:
    """Soft ground, and shapes with sharp edges that resizing has to get right."""
    height, width = size
    rng = np.random.default_rng([_SEED, number])
    y, x = np.mgrid[0:height, 0:width]
    down, across = y / height, x / width
    start, end = rng.uniform(0, 255, (2, 3))
    scene = start + (end - start) * (down * 0.6 + across * 0.4)[..., np.newaxis]
    for _ in range(6):
        centre, reach = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.25)
        inside = (down - centre[0]) ** 2 + (across - centre[1]) ** 2 < reach**2
        scene[inside] = rng.uniform(0, 255, 3)
    stripes = ((x + y) // 3 % 2 == 0) & (down > 0.8)
    scene[stripes] = 255 - scene[stripes]
    found: NDArray[np.uint8] = np.clip(np.rint(scene), 0, 255).astype(np.uint8)
    return found


def named_picture(path: str, file: str) -> Picture:
    """A file of the user's as a golden image.

    Raises:
        DataError: it is no image.
    """
    load_image(Path(path))  # says what is wrong with it
    content = read_bytes(path)
    lossless = content[:8] == b"\x89PNG\r\n\x1a\n" or content[:2] == b"BM"
    return Picture(file, f"from {file}", content, EXACT if lossless else LOSSY)


@dataclass(frozen=True, slots=True)
class Golden:
    """An image with what an app makes of it.

    Attributes:
        pixels: finished, (height, width, channels), RGB.
        size: (height, width) of the image.
        rows: outputs for these pixels, of the file and of the network where it is known, by
            ``file`` and ``network``.
        expected: what an app has to give.
    """

    picture: Picture
    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    rows: dict[str, NDArray[Any]]
    expected: Expected

    def entry(self) -> dict[str, Any]:
        """The image in ``golden.json``."""
        return {
            "file": self.picture.file,
            "about": self.picture.about,
            "pixels": f"{self.picture.file}.pixels.png",
            "most_off": self.picture.most_off,
            **self.expected.told,
        }

    def files(self) -> dict[str, bytes]:
        """What lies in the folder of golden images, by name."""
        name = self.picture.file
        found = {name: self.picture.content, f"{name}.pixels.png": self.pixels_png()}
        found.update({f"{name}{end}": own for end, own in self.expected.files.items()})
        return found

    def pixels_png(self) -> bytes:
        """The finished pixels as a PNG file."""
        content = io.BytesIO()
        pixels = self.pixels[..., 0] if self.pixels.shape[2] == 1 else self.pixels
        Image.fromarray(pixels).save(content, "PNG", optimize=True)
        return content.getvalue()


def finished(
    picture: Picture, preprocessing: Preprocessing
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """What the reference makes of an image file.

    Returns:
        Finished pixels, and (height, width) of the image.

    Raises:
        DataError: it cannot be prepared.
    """
    opened = Image.open(io.BytesIO(picture.content))
    pixels = pixels_of(opened, picture.file, preprocessing.exif, preprocessing.alpha)
    try:
        found = preprocess.resize_and_crop(pixels, preprocessing)
    except DataError as error:
        raise DataError(f"{picture.file}: {error}") from error
    return found, (pixels.shape[0], pixels.shape[1])
