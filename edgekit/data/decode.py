"""Decodes image files of every mode to 8-bit RGB or RGBA.

Transparent images are composited over black by default. Platform decoders hand out premultiplied
pixels (Android's ``Bitmap``, Core Graphics on iOS), and an app that then drops the alpha channel
has composited over black; any other background would train a network on pictures that such an app
never sees. Colour profiles are ignored, as those decoders are usually told to do.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edgekit.core.reading import read_bytes
from edgekit.data.channels import without_alpha
from edgekit.errors import DataError, UsageError

MAX_PIXELS = 51_000_000
"""Largest image that is decoded: a phone's 50 megapixels, which a hostile WebP file makes Pillow
take 0.8 GB for. A few kilobytes stand for any number of pixels."""

# What is converted at once, so that an image does not lie in memory several times.
_STRIP_PIXELS = 1 << 22

# Only formats that Pillow decodes in-process; it would start Ghostscript for EPS, for one.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")

# What Pillow's decoders were seen or are documented to raise on damaged files.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    MemoryError,
)

_EXIF = b"Exif\0\0"
_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: np.rot90,
}

_BACK = {6: 8, 8: 6}  # the others undo themselves

_open_lock = threading.Lock()


Picture = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
"""An image file, an image of Pillow's, or pixels: height x width x 3, uint8, RGB."""

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B")


def pixels_of(
    picture: object, name: str, exif: str = "upright", alpha: str = "black"
) -> NDArray[np.uint8]:
    """8-bit pixels of whatever stands for an image; see `load_image`.

    Args:
        picture: see `Picture`. Pixels of four channels, RGBA, go with the alpha ``keep``.
        name: of the image, for messages.

    Raises:
        DataError: it cannot be decoded, or is no image of 8 bits and three channels.
        UsageError: it stands for no image.
    """
    if isinstance(picture, str | os.PathLike):
        return load_image(Path(picture), exif, alpha)
    if isinstance(picture, Image.Image):
        if picture.mode not in _MODES:
            raise DataError(
                f"{name} is in mode {picture.mode}: expected an image of 8 bits, such as RGB, L or "
                f"RGBA; convert it, or give an array of height x width x 3, uint8 RGB"
            )
        with _named(name):
            _check_size(name, picture)
            return _decoded(picture, exif, alpha)
    if isinstance(picture, np.ndarray):
        return _checked(picture, name, 4 if alpha == "keep" else 3)
    raise UsageError(
        f"{name} is a {type(picture).__name__}: expected a path, a PIL.Image, or an array of "
        f"height x width x 3, uint8 RGB"
    )


def _checked(pixels: NDArray[Any], name: str, channels: int) -> NDArray[np.uint8]:
    """Pixels with as many channels; opaque where they have no alpha."""
    kinds = "3, uint8 RGB" if channels == 3 else "3 or 4, uint8 RGB or RGBA"
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or not 3 <= pixels.shape[2] <= channels:
        cure = "; give several images in a list" if pixels.ndim == 4 else ""
        raise DataError(
            f"{name} has the shape {pixels.shape} and the type {pixels.dtype}: expected height x "
            f"width x {kinds}{cure}"
        )
    if 0 in pixels.shape:
        raise DataError(f"{name} has the shape {pixels.shape}: expected 1 pixel or more")
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise DataError(_too_large(name, pixels.shape[1], pixels.shape[0]))
    if pixels.shape[2] == channels:
        return np.ascontiguousarray(pixels)
    opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    return np.concatenate([pixels, opaque], axis=2)


def load_image(path: Path, exif: str = "upright", alpha: str = "black") -> NDArray[np.uint8]:
    """Decodes an image file to 8-bit RGB, upright and opaque unless something else is wanted.

    Grey and palette images become RGB, 16-bit grey is scaled to 8 bits, CMYK is converted, and
    of an animation the first frame is taken.

    Args:
        exif: ``ignore`` leaves the image as it is stored; see `edgekit.core.Preprocessing`.
        alpha: what becomes of transparency; see there.

    Returns:
        Shape (height, width, 3), or 4 with the alpha ``keep``, freshly owned.

    Raises:
        DataError: missing, not a file, unreadable, not an image, truncated, corrupt, or larger
            than `MAX_PIXELS`.
    """
    with _opened(path, "image") as image:
        _check_size(f"image '{path}'", image)
        return _decoded(image, exif, alpha)


class Stored(NamedTuple):
    """What the header of an image file says; see `upright`."""

    height: int
    width: int
    orientation: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as the file has them."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width once it is turned as its EXIF orientation says."""
        return (self.width, self.height) if self.orientation > 4 else self.size


def look_at(path: Path) -> Stored:
    """Size and orientation of an image, of which nothing is decoded where that can be helped.

    Raises:
        DataError: as `load_image` does.
    """
    with _opened(path, "image") as image:
        _check_size(f"image '{path}'", image)
        # In a PNG the block may stand behind the pixels.
        if image.format == "PNG" and b"eXIf" in read_bytes(path):
            image.load()
        return Stored(image.height, image.width, _orientation(image))


def turned(pixels: NDArray[np.uint8], orientation: int, *, back: bool = False) -> NDArray[np.uint8]:
    """An image turned as its EXIF orientation says, or back again; shape (height, width, ...)."""
    turn = _UPRIGHT.get(_BACK.get(orientation, orientation) if back else orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def turned_corners(
    corners: NDArray[Any], size: tuple[int, int], orientation: int, *, back: bool = False
) -> NDArray[Any]:
    """Boxes in an image that `turned` turns.

    Args:
        corners: (n, 4), x0, y0, x1, y1.
        size: height and width of the image before.
    """
    height, width = size
    x0, y0, x1, y1 = corners.T
    left, right, up, down = (x0, x1), (width - x1, width - x0), (y0, y1), (height - y1, height - y0)
    (a, c), (b, d) = {
        2: (right, up),
        3: (right, down),
        4: (left, down),
        5: (up, left),
        6: (down, left),
        7: (down, right),
        8: (up, right),
    }.get(_BACK.get(orientation, orientation) if back else orientation, (left, up))
    return np.stack([a, b, c, d], axis=1)


def load_indices(path: Path) -> NDArray[np.uint8]:
    """Decodes an image file whose pixels are numbers, such as the classes of a mask.

    Palettes are passed over: it is the index that counts. Nothing is turned.

    Returns:
        Shape (height, width).

    Raises:
        DataError: as `load_image` does, or it has colours, or numbers above 255.
    """
    name = f"mask '{path}'"
    with _opened(path, "mask") as image:
        _check_size(name, image)
        image.load()
        if image.mode not in ("P", "L", "1", "I") and not image.mode.startswith("I;16"):
            raise DataError(
                f"{name} has colours (mode {image.mode}): expected one number for each pixel, the "
                f"index of its class; write it as a PNG of mode L or P"
            )
        found = np.asarray(image)
        beyond = found[(found < 0) | (found > 255)]
        if beyond.size:
            raise DataError(
                f"{name} has the value {beyond[0]}: expected 0 to 255, the index of a class; write "
                f"it as a PNG of mode L or P"
            )
        return found.astype(np.uint8)


@contextmanager
def _opened(path: Path, what: str) -> Iterator[Image.Image]:
    """An image file of which the header is read.

    Raises:
        DataError: see `load_image`.
    """
    with _named(f"{what} '{path}'"):
        if not path.is_file():
            raise DataError(_why_no_file(path))
        try:
            image = _open(path)
        except UnidentifiedImageError as error:
            raise DataError(
                f"'{path}' is not an image, or its beginning is damaged: "
                "expected a JPEG, PNG, BMP, WebP or GIF file"
            ) from error
        with image:
            yield image


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turns whatever decoding raises into one sentence.

    Raises:
        DataError: as said.
    """
    try:
        yield
    except PermissionError as error:
        raise DataError(f"{name} cannot be read: make it readable for this user") from error
    except _DECODE_ERRORS as error:
        raise DataError(
            f"{name} is truncated or corrupt ({error}): replace or remove it"
        ) from error


def _decoded(image: Image.Image, exif: str, alpha: str) -> NDArray[np.uint8]:
    image.load()
    orientation = _orientation(image) if exif == "upright" else 1
    return turned(_pixels(image, alpha), orientation)


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        return f"'{path}' is a folder: expected an image file"
    if path.is_symlink():
        return f"image '{path}' is a link that leads nowhere: replace or remove it"
    if path.exists():
        return f"'{path}' is not a regular file: expected an image file"
    return f"image '{path}' does not exist: expected an image file"


def _open(path: Path) -> Image.Image:
    """Reads the header only.

    Pillow warns above 89 and refuses above 179 megapixels while it opens a file. Its limit is
    a global, lifted here for the moment of opening; `_check_size` applies ours to the header
    before anything is decoded.
    """
    with _open_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(path, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(name: str, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(_too_large(name, image.width, image.height))
    if not image.width * image.height:
        raise DataError(f"{name} has {image.width} x {image.height} px: expected 1 or more")


def _too_large(name: str, width: int, height: int) -> str:
    return (
        f"{name} is {width} x {height} px: expected at most {MAX_PIXELS // 1_000_000} megapixels, "
        f"so make it smaller"
    )


def _orientation(image: Image.Image) -> int:
    """Orientation by the file's EXIF block, 1 (upright) where there is none or a damaged one.

    Pillow's own ``getexif`` looks at XMP and at text chunks as well, where apps do not: platform
    decoders hand out neither. See docs/preprocessing.md.
    """
    block = image.info.get("exif")
    for name, content in getattr(image, "applist", ()):  # of JPEG, whose blocks Pillow joins
        if name == "APP1" and content.startswith(_EXIF):
            block = content
            break
    return _orientation_of(block.removeprefix(_EXIF)) if isinstance(block, bytes) else 1


def _orientation_of(block: bytes) -> int:
    if block[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    order = "<" if block[:1] == b"I" else ">"
    try:
        (folder,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, folder)
        for entry in range(folder + 2, folder + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", block, entry)
            if tag == _ORIENTATION_TAG:
                if values != 1 or kind not in (_SHORT, _LONG):
                    return 1
                number = order + ("H2x" if kind == _SHORT else "I")
                found: int = struct.unpack_from(number, block, entry + 8)[0]
                return found if 1 <= found <= 8 else 1
    except struct.error:
        pass  # the pixels are intact: damaged EXIF says as little about them as none does
    return 1


def _pixels(image: Image.Image, alpha: str) -> NDArray[np.uint8]:
    """The pixels in RGB or RGBA, some rows after the other."""
    width, height = image.size
    pixels = np.empty((height, width, 4 if alpha == "keep" else 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        strip = image.crop((0, top, width, bottom))
        if alpha == "keep":
            pixels[top:bottom] = _rgba(strip)
        elif strip.has_transparency_data:
            pixels[top:bottom] = without_alpha(_rgba(strip), alpha)
        else:
            pixels[top:bottom] = _rgb(strip)
    return pixels


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return np.repeat(_grey16(image)[..., np.newaxis], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _rgba(image: Image.Image) -> NDArray[np.uint8]:
    if not image.mode.startswith("I;16"):
        return np.asarray(image.convert("RGBA"))
    transparent = image.info.get("transparency")
    opaque = np.full((image.height, image.width), 255, np.uint8)
    if isinstance(transparent, int):
        opaque[np.asarray(image) == transparent] = 0
    return np.stack([*[_grey16(image)] * 3, opaque], axis=2)


def _grey16(image: Image.Image) -> NDArray[np.uint8]:
    # Pillow's own conversions clip or truncate; 257 maps 65535 to 255 exactly.
    return ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
