"""Makes a network's input from an image, as the contract beside the model says.

``prepare`` is all that most callers need. It has two halves: ``finished_pixels`` (integers:
decoding, turning, transparency, grey, size) and ``values`` (floats: scale, mean, standard
deviation, axes).
"""

import io
import struct

import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 51_000_000  # a phone's 50 megapixels; a few kilobytes can stand for any number

_TOO_LARGE = f"the image is too large: expected at most {MAX_PIXELS // 1_000_000} megapixels"
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4


class ImageError(ValueError):
    """An image that cannot be used; the message says why."""


def prepare(image, how):
    """The network's input, without a batch axis.

    Args:
        image: path, bytes of a file, file object, ``PIL.Image``, or uint8 array of height x width
            x 3 (RGB).
        how: ``preprocessing`` of the contract.

    Raises:
        ImageError: it is no image, too large, or smaller than the network's crop.
    """
    return values(finished_pixels(image, how), how)


def finished_pixels(image, how):
    """Decoded, turned, and of the network's size: uint8, height x width x channels, in RGB."""
    pixels = _channels(decoded(image, how), how)
    tall, wide = _pair(how["crop"])
    box, size, (top, left) = placed(pixels.shape[:2], how)
    shown = _resampled(pixels, box, size, how["interpolation"])
    if size == (tall, wide):
        return shown
    found = np.full((tall, wide, pixels.shape[2]), how["pad"], np.uint8)
    found[top : top + size[0], left : left + size[1]] = shown
    return found


def placed(size, how):
    """Which part of an image is shown where in the network's input.

    Args:
        size: height and width of the image.

    Returns:
        The part (left, top, right, bottom), its height and width in the network's input, and the
        row and column where it begins there.
    """
    height, width = size
    tall, wide = _pair(how["crop"])
    if how["fit"] == "letterbox":
        by_height = tall * width <= wide * height
        part, whole = (tall, height) if by_height else (wide, width)
        shown = tuple(max(1, _in_proportion(side, part, whole)) for side in (height, width))
        return (0, 0, width, height), shown, ((tall - shown[0]) // 2, (wide - shown[1]) // 2)
    new_height, new_width = height, width
    if how["fit"] == "stretch":
        new_height, new_width = _pair(how["resize"] or how["crop"])
    elif how["resize"] is not None:
        least_height, least_width = _pair(how["resize"])
        by_height = least_height * width >= least_width * height
        part, whole = (least_height, height) if by_height else (least_width, width)
        new_height, new_width = (_in_proportion(side, part, whole) for side in (height, width))
    if new_height < tall or new_width < wide:
        raise ImageError(
            f"the image is {new_width} x {new_height} px where the network takes {wide} x {tall}: "
            f"give a larger one"
        )
    top, bottom = _middle(height, new_height, tall)
    left, right = _middle(width, new_width, wide)
    return (left, top, right, bottom), (tall, wide), (0, 0)


def values(pixels, how):
    """Finished pixels as the network takes them, in float32."""
    if how["channel_order"] in ("BGR", "BGRA"):
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    found = pixels.astype(np.float32)
    found *= np.float32(how["scale"])
    found -= np.asarray(how["mean"], np.float32)
    found /= np.asarray(how["std"], np.float32)
    return np.ascontiguousarray(found.transpose(2, 0, 1) if how["layout"] == "NCHW" else found)


def decoded(image, how):
    """8-bit pixels, RGB or RGBA, turned as the EXIF orientation says; see ``prepare``."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
            raise ImageError(
                f"an array of {image.dtype} and shape {image.shape}: expected uint8 of height x "
                f"width x 3, in RGB"
            )
        return image
    try:
        if not isinstance(image, Image.Image):
            content = io.BytesIO(image) if isinstance(image, (bytes, bytearray)) else image
            image = Image.open(content, formats=("JPEG", "PNG", "BMP", "WEBP", "GIF"))
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(_TOO_LARGE)
        image.load()
        turn = _TURNS.get(_orientation(image))
        if image.mode.startswith("I;16"):  # Pillow's own conversion clips
            samples, clear = np.asarray(image), image.info.get("transparency")
            grey = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
            image = Image.fromarray(grey)
            if isinstance(clear, int):  # one grey is transparent
                image.putalpha(Image.fromarray(np.where(samples == clear, 0, 255).astype(np.uint8)))
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        if turn is not None and how["exif"] == "upright":
            image = image.transpose(turn)
        return np.asarray(image)
    except FileNotFoundError as error:
        raise ImageError("there is no such file") from error
    except (IsADirectoryError, PermissionError) as error:
        raise ImageError(f"it cannot be read: {error.strerror}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(_TOO_LARGE) from error
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("it is no image: expected a JPEG, PNG, BMP, WebP or GIF file") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image is damaged: {error}") from error


def _orientation(image):
    """The orientation by the EXIF block, 1 (upright) where there is none or a damaged one."""
    block = image.info.get("exif")
    for name, content in getattr(image, "applist", ()):  # of JPEG: the first block counts
        if name == "APP1" and content.startswith(_EXIF):
            block = content
            break
    if not isinstance(block, bytes):
        return 1
    block = block[len(_EXIF) :] if block.startswith(_EXIF) else block
    if block[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    order = "<" if block[:1] == b"I" else ">"
    try:
        (folder,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, folder)
        for entry in range(folder + 2, folder + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", block, entry)
            if tag == _ORIENTATION:
                if values != 1 or kind not in (_SHORT, _LONG):
                    return 1
                number = order + ("H2x" if kind == _SHORT else "I")
                return struct.unpack_from(number, block, entry + 8)[0]
    except struct.error:
        pass  # damaged EXIF says as little as none
    return 1


def _channels(pixels, how):
    """Transparency and grey, before anything is resampled."""
    if how["alpha"] == "keep":
        if pixels.shape[2] == 4:
            return pixels
        return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    if pixels.shape[2] == 4 and how["alpha"] == "drop":
        pixels = pixels[..., :3]
    elif pixels.shape[2] == 4:
        opacity = pixels[..., 3:].astype(np.uint16)
        behind = 255 if how["alpha"] == "white" else 0
        shown = pixels[..., :3] * opacity + (behind * (255 - opacity) + 127)
        pixels = (shown // 255).astype(np.uint8)
    if how["channel_order"] != "L":
        return pixels
    red, green, blue = (pixels[..., i].astype(np.uint32) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[..., None]


def _resampled(pixels, box, size, interpolation):
    """The part of an image in ``box`` (left, top, right, bottom), resized: the width first."""
    left, top, right, bottom = box
    height, channels = len(pixels), pixels.shape[2]
    if box == (int(left), int(top), int(left) + size[1], int(top) + size[0]):  # nothing to resize
        return pixels[int(top) : int(bottom), int(left) : int(right)]
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    if channels == 4:  # else Pillow would multiply colours by the opacity
        image = Image.merge("RGBX", image.split())
    kind = _FILTERS[interpolation]
    image = image.resize((size[1], height), kind, (left, 0, right, height), reducing_gap=None)
    image = image.resize((size[1], size[0]), kind, (0, top, size[1], bottom), reducing_gap=None)
    found = np.asarray(image)
    return found[..., None] if channels == 1 else found


def _pair(side):
    return (side, side) if isinstance(side, int) else tuple(side)


def _in_proportion(side, part, whole):
    """``side * part / whole``, rounded half up in integers."""
    return (2 * side * part + whole) // (2 * whole)


def _middle(side, resized, crop):
    """Edges of the middle along one axis, in pixels of the image before it is resized."""
    offset = (resized - crop) // 2
    return offset * side / resized, (offset + crop) * side / resized
