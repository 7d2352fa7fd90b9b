"""Channels of 8-bit images: transparency and grey, in integers that an app can repeat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BACKGROUNDS = {"black": 0, "white": 255}

# ITU-R BT.601, in units of 2 to the power of minus 16, as Pillow has it for its mode "L".
_GREY = (19595, 38470, 7471)


def without_alpha(image: NDArray[np.uint8], alpha: str) -> NDArray[np.uint8]:
    """RGB of RGBA.

    Args:
        image: shape (height, width, 4); colours are as stored, not multiplied by alpha.
        alpha: ``black`` or ``white``, which then lies behind the image, or ``drop``.

    Returns:
        Shape (height, width, 3): ``(colour * alpha + background * (255 - alpha) + 127) // 255``,
        or a view of the colours.
    """
    if alpha == "drop":
        return image[..., :3]
    opacity = image[..., 3:].astype(np.uint16)
    shown = image[..., :3] * opacity + (BACKGROUNDS[alpha] * (255 - opacity) + 127)
    return (shown // 255).astype(np.uint8)


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One channel of RGB.

    Args:
        image: shape (height, width, 3).

    Returns:
        Shape (height, width, 1): ``(19595 R + 38470 G + 7471 B + 32768) >> 16``.
    """
    red, green, blue = (image[..., i].astype(np.uint32) for i in range(3))
    total = _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue + 32768
    return (total >> 16).astype(np.uint8)[..., np.newaxis]
