"""RandAugment (arXiv:1909.13719) on batches of 8-bit images, without mirroring.

Each image goes through some operations, drawn from the 14 of the paper with equal odds; images that
drew the same one go through it together. Strength 10 is the far end of each range of AutoAugment
(arXiv:1805.09501, table 6). What has a direction or sign takes one at random. The colours come out
as Pillow's ``ImageOps`` and ``ImageEnhance`` give them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MAX_STRENGTH = 10

# At strength 10: degrees, tangent of the angle, share of the side, change of a factor around 1.
_ROTATION = 30.0
_SHEAR = 0.3
_TRANSLATION = 150 / 331  # of images of 331 px
_ENHANCEMENT = 0.9
_POSTERIZED_BITS = 4

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow


@dataclass(frozen=True, slots=True)
class Draw:
    """What some images of one operation need.

    Attributes:
        strength: from 0 to 1.
        signs: -1 or 1 for each image, float32 (N, 1, 1, 1).
    """

    strength: float
    signs: Tensor


def randaugment(pixels: Tensor, seed: Sequence[int], operations: int, strength: float) -> Tensor:
    """Applies random operations to each image.

    Args:
        pixels: 8-bit RGB, (N, height, width, 3).
        seed: everything that the choices depend on, such as seed, epoch and step.
        operations: per image, one after the other.
        strength: of all of them, 0 to `MAX_STRENGTH`.

    Returns:
        The same shape and type; what an operation uncovers repeats the image's edge.
    """
    rng = np.random.default_rng(seed)
    table = list(OPERATIONS.values())
    for _ in range(operations):
        chosen = rng.integers(len(table), size=len(pixels))
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], len(pixels)).astype(np.float32))
        pixels = pixels.clone()
        for index in np.unique(chosen):
            where = torch.from_numpy(np.flatnonzero(chosen == index)).to(pixels.device)
            drawn = signs.to(pixels.device)[where].view(-1, 1, 1, 1)
            draw = Draw(strength / MAX_STRENGTH, drawn)
            pixels[where] = table[int(index)](pixels[where], draw)
    return pixels


def _identity(pixels: Tensor, _: Draw) -> Tensor:
    return pixels


def _autocontrast(pixels: Tensor, _: Draw) -> Tensor:
    """Stretches each channel to the whole range."""
    values = pixels.double()  # as Pillow computes it; in float32 some values come out one lower
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    scale = torch.full_like(low, 255) / (high - low).clamp(min=1)  # 255 / x takes a reciprocal
    stretched = _rounded_down(values * scale - low * scale)
    return torch.where(high > low, stretched, pixels)


def _equalize(pixels: Tensor, _: Draw) -> Tensor:
    """Evens out the histogram of each channel, as ``ImageOps.equalize``."""
    n, height, width, channels = pixels.shape
    flat = pixels.permute(0, 3, 1, 2).reshape(n * channels, height * width).long()
    counts = torch.zeros(len(flat), 256, dtype=torch.int64, device=pixels.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    brightest = counts.gather(1, flat.amax(1, keepdim=True))
    step = (height * width - brightest) // 255
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    even = torch.where(step > 0, table.gather(1, flat), flat)
    return even.view(n, channels, height, width).permute(0, 2, 3, 1).to(torch.uint8)


def _posterize(pixels: Tensor, draw: Draw) -> Tensor:
    """Keeps the upper bits."""
    cleared = round(_POSTERIZED_BITS * draw.strength)
    return pixels & (256 - (1 << cleared))


def _solarize(pixels: Tensor, draw: Draw) -> Tensor:
    """Inverts what is bright."""
    return torch.where(pixels.int() >= round(256 * (1 - draw.strength)), 255 - pixels, pixels)


def _colour(pixels: Tensor, draw: Draw) -> Tensor:
    return _enhanced(_grey(pixels), pixels, draw)


def _contrast(pixels: Tensor, draw: Draw) -> Tensor:
    mean = (_grey(pixels).mean((1, 2), keepdim=True) + 0.5).floor()
    return _enhanced(mean, pixels, draw)


def _brightness(pixels: Tensor, draw: Draw) -> Tensor:
    return _enhanced(torch.zeros((), device=pixels.device), pixels, draw)


def _sharpness(pixels: Tensor, draw: Draw) -> Tensor:
    values = pixels.float().permute(0, 3, 1, 2)
    kernel = torch.ones(3, 1, 3, 3, device=pixels.device)
    kernel[:, :, 1, 1] = 5
    smooth = values.clone()
    inner = F.conv2d(values, kernel / 13, groups=3)
    smooth[:, :, 1:-1, 1:-1] = (inner + 0.5).floor()
    return _enhanced(smooth.permute(0, 2, 3, 1), pixels, draw)


def _enhanced(plain: Tensor, pixels: Tensor, draw: Draw) -> Tensor:
    """Goes from a plain version of each image towards it, or beyond; `ImageEnhance`."""
    factors = 1 + _ENHANCEMENT * draw.strength * draw.signs
    return _rounded_down(plain + (pixels.float() - plain) * factors)


def _grey(pixels: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA, device=pixels.device)
    return ((pixels.float() * weights).sum(-1, keepdim=True) + 0.5).floor()


def _rounded_down(values: Tensor) -> Tensor:
    return values.clamp(0, 255).to(torch.uint8)


def _rotate(pixels: Tensor, draw: Draw) -> Tensor:
    angle = math.radians(_ROTATION * draw.strength) * draw.signs.flatten()
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _warped(pixels, cosine, -sine, zero, sine, cosine, zero)


def _shear_x(pixels: Tensor, draw: Draw) -> Tensor:
    amount = _SHEAR * draw.strength * draw.signs.flatten()
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _warped(pixels, one, amount, zero, zero, one, zero)


def _shear_y(pixels: Tensor, draw: Draw) -> Tensor:
    amount = _SHEAR * draw.strength * draw.signs.flatten()
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _warped(pixels, one, zero, zero, amount, one, zero)


def _translate_x(pixels: Tensor, draw: Draw) -> Tensor:
    amount = 2 * _TRANSLATION * draw.strength * draw.signs.flatten()  # coordinates go from -1 to 1
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _warped(pixels, one, zero, amount, zero, one, zero)


def _translate_y(pixels: Tensor, draw: Draw) -> Tensor:
    amount = 2 * _TRANSLATION * draw.strength * draw.signs.flatten()
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _warped(pixels, one, zero, zero, zero, one, amount)


def _warped(pixels: Tensor, *rows: Tensor) -> Tensor:
    """Looks each pixel up at a place that depends on its own.

    Args:
        rows: the 2x3 matrices from places in the result to places in the image, row by row, as
            for a square.
    """
    matrices = torch.stack(rows, dim=1).view(-1, 2, 3)
    height, width = pixels.shape[1:3]
    # Either axis goes from -1 to 1, however long it is: without this, a turn would shear.
    matrices[:, 0, 1] *= height / width
    matrices[:, 1, 0] *= width / height
    values = pixels.float().permute(0, 3, 1, 2)
    grid = F.affine_grid(matrices, list(values.shape), align_corners=False)
    found = F.grid_sample(values, grid, padding_mode="border", align_corners=False)
    return _rounded_down(found + 0.5).permute(0, 2, 3, 1)


OPERATIONS: dict[str, Callable[[Tensor, Draw], Tensor]] = {
    "identity": _identity,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "rotate": _rotate,
    "solarize": _solarize,
    "colour": _colour,
    "posterize": _posterize,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear-x": _shear_x,
    "shear-y": _shear_y,
    "translate-x": _translate_x,
    "translate-y": _translate_y,
}
"""From 8-bit images (N, height, width, 3) to such images; the paper's section 3, in its order."""
