"""Images with what an app has to make of them: pixels, scores and labels."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from edgekit.core import SCORES, Preprocessing, scores_fit
from edgekit.core.reading import read_bytes
from edgekit.data import preprocess
from edgekit.data.decode import load_image, pixels_of
from edgekit.data.scores import probabilities
from edgekit.errors import DataError

_SEED = 23
_MOST_SIDE = 640
_ORIENTATION, _QUARTER_LEFT = 0x0112, 6
_LONG_EXIF = b"Exif\0\0MM\0*" + struct.pack(">IHHHIII", 8, 1, _ORIENTATION, 4, 1, _QUARTER_LEFT, 0)

EXACT = {"one": 0.0, "mean": 0.0}
"""How far pixels may be off, one of them and on average, where decoding loses nothing."""

LOSSY = {"one": 24.0, "mean": 1.0}
"""The same for JPEG, whose decoders round and interpolate colours in ways of their own."""

SAME_FILE_DB = {"fp32": 80.0, "fp16": 60.0}
"""How closely an app has to give what the file gave here, on other processors, too: sums of float32
are in another order there (docs/measurements/devices.md)."""

SAME_FILE_OF_INTEGERS_DB = 40.0
"""The same of integers, whose kernels are equal to the bit where the file was written for them. A
file for another kind of processor may pass the bound (docs/devices.md), so that apps look at their
processor as well."""


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
        scores: what the file gives for them, and the network where it is known, by ``file`` and
            ``network``.
        least_db: how closely the app's scores have to follow either.
        labels: the likeliest classes by the file, as `edgekit.tasks.classify.Label` has them.
    """

    picture: Picture
    pixels: NDArray[np.uint8]
    scores: dict[str, NDArray[Any]]
    least_db: dict[str, float]
    labels: tuple[Any, ...]

    def entry(self) -> dict[str, Any]:
        """The image in ``golden.json``."""
        return {
            "file": self.picture.file,
            "about": self.picture.about,
            "pixels": f"{self.picture.file}.pixels.png",
            "most_off": self.picture.most_off,
            "scores": {of: [float(x) for x in row] for of, row in self.scores.items()},
            "least_db": self.least_db,
            "labels": [
                {"index": each.index, "label": each.label, "probability": each.probability}
                for each in self.labels
            ],
        }

    def pixels_png(self) -> bytes:
        """The finished pixels as a PNG file."""
        content = io.BytesIO()
        pixels = self.pixels[..., 0] if self.pixels.shape[2] == 1 else self.pixels
        Image.fromarray(pixels).save(content, "PNG", optimize=True)
        return content.getvalue()


def finished(picture: Picture, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """What the reference makes of an image file.

    Raises:
        DataError: it cannot be prepared.
    """
    opened = Image.open(io.BytesIO(picture.content))
    pixels = pixels_of(opened, picture.file, preprocessing.exif, preprocessing.alpha)
    try:
        return preprocess.resize_and_crop(pixels, preprocessing)
    except DataError as error:
        raise DataError(f"{picture.file}: {error}") from error


def signal_to_noise_db(scores: NDArray[Any], expected: NDArray[Any]) -> float:
    """Power of the spread of what is expected over that of the difference, at most 200 dB."""
    noise = float(np.square(scores - expected, dtype=np.float64).mean())
    power = float(np.var(expected, dtype=np.float64))
    return 10 * math.log10(max(power, 1e-30) / max(noise, power * 1e-20, 1e-30))


def vectors() -> list[dict[str, Any]]:
    """Scores and the probabilities that they stand for, of each kind there is."""
    rows = {
        "logits": [[2.0, -1.5, 0.25, 30.0], [1000.0, 998.5, -1000.0], [-0.75], [40.0]],
        "probabilities": [[0.1, 0.7, 0.2]],
        "sigmoid": [[0.9, 0.8, 0.01], [0.25]],
    }
    assert set(rows) == set(SCORES)
    return [
        {
            "kind": kind,
            "scores": row,
            "probabilities": probabilities(np.array([row]), kind)[0].tolist(),
        }
        for kind, several in rows.items()
        for row in several
        if scores_fit(kind, len(row))
    ]
