"""What predictions look like on an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.core import Pixels

LEAST_WIDTH = 240
"""In pixels; smaller images are enlarged, so that text beside them can be read."""

_BACKGROUND, _TEXT, _BAR = (24, 24, 27), (244, 244, 245), (37, 99, 235)


def captioned(pixels: Pixels, lines: Sequence[str], shares: Sequence[float]) -> Pixels:
    """An image with lines of text below it, each on a bar of its share.

    Args:
        pixels: (height, width, channels), 8 bits; the first three channels are red, green and
            blue, a single one is grey.
        shares: from 0 to 1, one a line.

    Returns:
        (height + that of the lines, width, 3); enlarged by a whole number where it is small.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(rgb(pixels))
    times = -(-LEAST_WIDTH // image.width)
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    size = max(12, image.width // 28)
    font, height = ImageFont.load_default(size), round(size * 1.7)
    canvas = Image.new("RGB", (image.width, image.height + height * len(lines)), _BACKGROUND)
    canvas.paste(image, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for i, (line, share) in enumerate(zip(lines, shares, strict=True)):
        top = image.height + i * height
        if width := round(share * image.width):
            draw.rectangle((0, top, width - 1, top + height - 2), _BAR)
        draw.text((size // 2, top + height // 2), line, _TEXT, font, anchor="lm")
    return np.asarray(canvas)


def rgb(pixels: Pixels) -> Pixels:
    """Pixels of any number of channels as three, (height, width, 3)."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    channels = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, [0, 0, 0]]
    return np.ascontiguousarray(channels)
