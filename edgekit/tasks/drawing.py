"""What predictions look like on an image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import IGNORE

if TYPE_CHECKING:
    from edgekit.core import Pixels

LEAST_WIDTH = 240
"""In pixels; smaller images are enlarged, so that text beside them can be read."""

LONGEST_SIDE = 2048
"""In pixels; larger images are reduced, since pictures are there to be looked at."""

_BACKGROUND, _TEXT, _BAR = (24, 24, 27), (244, 244, 245), (37, 99, 235)


def captioned(pixels: Pixels, lines: Sequence[str], shares: Sequence[float]) -> Pixels:
    """An image with lines of text below it, each on a bar of its share.

    Args:
        pixels: (height, width, channels), 8 bits; the first three channels are red, green and
            blue, a single one is grey.
        shares: from 0 to 1, one a line.

    Returns:
        (height + that of the lines, width, 3); see `sized`.
    """
    from PIL import Image, ImageDraw, ImageFont

    image, _ = sized(pixels)
    size = max(12, image.width // 28)
    font, height = ImageFont.load_default(size), round(size * 1.7)
    whole = max(LEAST_WIDTH, image.width)
    canvas = Image.new("RGB", (whole, image.height + height * len(lines)), _BACKGROUND)
    canvas.paste(image, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for i, (line, share) in enumerate(zip(lines, shares, strict=True)):
        top = image.height + i * height
        if width := round(share * whole):
            draw.rectangle((0, top, width - 1, top + height - 2), _BAR)
        draw.text((size // 2, top + height // 2), line, _TEXT, font, anchor="lm")
    return np.asarray(canvas)


def rgb(pixels: Pixels) -> Pixels:
    """Pixels of any number of channels as three, (height, width, 3)."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    channels = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, [0, 0, 0]]
    return np.ascontiguousarray(channels)


def framed(
    pixels: Pixels,
    boxes: Sequence[Sequence[float]],
    lines: Sequence[str],
    classes: Sequence[int],
) -> Pixels:
    """An image with a frame in the colour of its class around each object, and a line on it.

    Args:
        pixels: as for `captioned`.
        boxes: left, upper, right and lower edge in pixels, the surest first.
        lines: of text, one a box.
        classes: whose colours the frames have.

    Returns:
        (height, width, 3); see `sized`.
    """
    from PIL import ImageDraw, ImageFont

    image, times = sized(pixels)
    draw = ImageDraw.Draw(image)
    size, width = max(12, image.width // 45), max(2, image.width // 240)
    font = ImageFont.load_default(size)
    # The surest lies on top.
    for box, line, index in reversed([*zip(boxes, lines, classes, strict=True)]):
        x0, y0, x1, y1 = (round(edge * times) for edge in box)
        colour = colour_of(index)
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=width)
        left, _, right, _ = draw.textbbox((0, 0), line, font)
        tall = round(size * 1.3)
        top = y0 - tall if y0 >= tall else y0
        start = max(0, min(x0, image.width - round(right - left) - 6))
        draw.rectangle((start, top, start + round(right - left) + 6, top + tall), colour)
        draw.text((start + 3, top + tall / 2), line, _text_on(colour), font, anchor="lm")
    return np.asarray(image)


def coloured(pixels: Pixels, mask: Pixels, lines: Sequence[str], classes: Sequence[int]) -> Pixels:
    """An image under the colours of its classes, with lines below that say which is which.

    Args:
        pixels: as for `captioned`.
        mask: a class for each pixel, of any size; `edgekit.core.IGNORE` has no colour.
        lines: of text, one a class.
        classes: whose colours stand beside the lines.
    """
    from PIL import Image, ImageDraw, ImageFont

    shown = np.asarray(sized(pixels)[0])
    height, width = shown.shape[:2]
    whole = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    index = np.asarray(whole)
    palette = np.array([colour_of(i) for i in range(256)], np.float32)
    blended = 0.5 * shown + 0.5 * palette[index]
    blended = np.where((index == IGNORE)[..., None], shown, np.rint(blended)).astype(np.uint8)
    image = Image.fromarray(blended)
    size = max(12, image.width // 28)
    font, tall = ImageFont.load_default(size), round(size * 1.7)
    size_of_all = max(LEAST_WIDTH, image.width), image.height + tall * len(lines)
    canvas = Image.new("RGB", size_of_all, _BACKGROUND)
    canvas.paste(image, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for i, (line, own) in enumerate(zip(lines, classes, strict=True)):
        middle = image.height + i * tall + tall // 2
        draw.rectangle((size // 2, middle - size // 2, size * 3 // 2, middle + size // 2),
                       colour_of(own))  # fmt: skip
        draw.text((size * 2, middle), line, _TEXT, font, anchor="lm")
    return np.asarray(canvas)


def side_by_side(images: Sequence[Pixels], lines: Sequence[str]) -> Pixels:
    """Images of one height beside each other, a line below each."""
    from PIL import Image, ImageDraw, ImageFont

    side, size = LEAST_WIDTH, 14
    font, gap, tall = ImageFont.load_default(size), 4, 26
    canvas = Image.new("RGB", ((side + gap) * len(images) - gap, side + tall), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for i, (pixels, line) in enumerate(zip(images, lines, strict=True)):
        image = Image.fromarray(rgb(pixels))
        scale = side / max(image.size)
        small = image.resize([max(1, round(edge * scale)) for edge in image.size])
        left = i * (side + gap)
        canvas.paste(small, (left + (side - small.width) // 2, (side - small.height) // 2))
        draw.text((left + 4, side + tall // 2), line[:30], _TEXT, font, anchor="lm")
    return np.asarray(canvas)


def colour_of(index: int) -> tuple[int, int, int]:
    """A colour for a class; those of neighbours in a list are far from each other."""
    hue = index * 0.618034 % 1  # the golden section spreads any number of them evenly
    value = (0.95, 0.75, 0.6)[index // 8 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _text_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Dark on light colours, by their luminance."""
    red, green, blue = colour
    return _BACKGROUND if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _TEXT


def sized(pixels: Pixels) -> tuple[Any, float]:
    """An image of Pillow's as large as it is drawn, and by how many times that is enlarged.

    Small ones are enlarged by a whole number, so that text beside them can be read.
    """
    from PIL import Image

    image = Image.fromarray(rgb(pixels))
    longest = max(image.size)
    times = float(max(1, min(-(-LEAST_WIDTH // image.width), LONGEST_SIDE // longest)))
    how = Image.Resampling.NEAREST
    if longest > LONGEST_SIDE:
        times, how = LONGEST_SIDE / longest, Image.Resampling.BOX
    if times == 1:
        return image, times
    return image.resize([max(1, round(side * times)) for side in image.size], how), times
