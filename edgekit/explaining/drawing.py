"""A map over its image, with a scale of its colours and a caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.core import printable
from edgekit.tasks import drawing

if TYPE_CHECKING:
    from edgekit.core import Pixels
    from edgekit.explaining import Explanation

COLOURS = "inferno"
"""Of matplotlib: even steps for the eye, also for colour-blind readers and in grey."""

LEAST, MOST = 0.1, 0.75
"""How much of the map's colour is seen over the image, where it is 0 and where it is greatest."""

BRIGHT = {"saliency": 99.0}
"""Percentile of the evidence that has the brightest colour already, where not the greatest has:
gradients of a few single pixels are far above all others."""

UNSEEN = 0.35
"""Brightness of what the network did not see."""

_BACKGROUND, _TEXT, _RING = (24, 24, 27), (244, 244, 245), (255, 255, 255)


def laid_out(explanation: Explanation, size: tuple[int, int]) -> NDArray[np.float32]:
    """The evidence over the image in a height and width, 0 where nothing was seen."""
    from PIL import Image

    place = explanation.place
    left, top, right, bottom = _edges(explanation, size)
    part = explanation.evidence[
        place.top : place.top + place.height, place.left : place.left + place.width
    ]
    found = np.zeros(size, np.float32)
    own = (max(1, right - left), max(1, bottom - top))
    grown = np.asarray(Image.fromarray(part).resize(own, Image.Resampling.BILINEAR))
    target = found[top : top + own[1], left : left + own[0]]
    target[...] = grown[: target.shape[0], : target.shape[1]]
    return found


def _edges(explanation: Explanation, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What the network saw, left, top, right and bottom in an image of a height and width."""
    height, width = explanation.pixels.shape[:2]
    down, across = size[0] / height, size[1] / width
    left, top, right, bottom = explanation.place.box
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


def draw(explanation: Explanation) -> Pixels:
    """The map over the image, dark where the network did not see it; 8-bit RGB.

    It is as large as `edgekit.tasks.drawing.sized` says.
    """
    import matplotlib

    picture, times = drawing.sized(explanation.pixels)
    image = np.asarray(picture).astype(np.float32)
    size = (picture.height, picture.width)
    values = laid_out(explanation, size)
    evidence = explanation.evidence
    most = float(np.percentile(evidence, BRIGHT.get(explanation.method, 100.0)))
    share = np.minimum(values / most, 1) if most > 0 else np.sign(values)
    steps = matplotlib.colormaps[COLOURS](np.arange(256))[:, :3].astype(np.float32) * 255
    colours = steps[np.minimum(share * 256, 255).astype(np.uint8)]
    cover = (LEAST + (MOST - LEAST) * share)[..., None]
    seen = image * (1 - cover) + colours * cover
    left, top, right, bottom = _edges(explanation, size)
    drawn = image * UNSEEN
    drawn[top:bottom, left:right] = seen[top:bottom, left:right]
    return _captioned(_marked(drawn.round().astype(np.uint8), explanation, times), explanation)


def _marked(drawn: Pixels, explanation: Explanation, times: float) -> Pixels:
    """The same with a ring around the peak, and the box where there is one."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(drawn)
    pen = ImageDraw.Draw(picture)
    thick = max(1, picture.width // 240)
    if explanation.box is not None:
        x0, y0, x1, y1 = (edge * times for edge in explanation.box)
        pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=_RING, width=thick)
    if explanation.peak is not None:
        x, y = (value * times for value in explanation.peak)
        radius = max(4, picture.width // 60)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=_RING, width=thick)
    return np.asarray(picture)


def _captioned(drawn: Pixels, explanation: Explanation) -> Pixels:
    """The picture with the class, the method and a scale below it."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    share = explanation.probability
    head = printable(explanation.name)
    lines = [head if share is None else f"{share:.1%}  {head}", _fitting(explanation, drawn)]
    picture = Image.fromarray(drawing.captioned(drawn, lines, [share or 0, 0]))
    size = max(12, picture.width // 28)
    font, height = ImageFont.load_default(size), round(size * 1.7)
    canvas = Image.new("RGB", (picture.width, picture.height + height), _BACKGROUND)
    canvas.paste(picture, (0, 0))
    pen = ImageDraw.Draw(canvas)
    low, high = ("no evidence", "most") if explanation.peak is not None else ("no evidence", "")
    middle = picture.height + height // 2
    begin = size // 2 + round(pen.textlength(low, font)) + size // 2
    end = picture.width - size - round(pen.textlength(high, font))
    pen.text((size // 2, middle), low, _TEXT, font, anchor="lm")
    pen.text((picture.width - size // 2, middle), high, _TEXT, font, anchor="rm")
    if end > begin:
        steps = matplotlib.colormaps[COLOURS](np.linspace(0, 1, end - begin))[:, :3] * 255
        bar = np.broadcast_to(steps.round().astype(np.uint8), (size, end - begin, 3))
        canvas.paste(Image.fromarray(np.ascontiguousarray(bar)), (begin, middle - size // 2))
    return np.asarray(canvas)


def _fitting(explanation: Explanation, drawn: Pixels) -> str:
    """The caption, with as many last parts of the layer's path as there is room for."""
    from PIL import ImageFont

    width = max(drawing.LEAST_WIDTH, drawn.shape[1])
    size = max(12, width // 28)
    font, line = ImageFont.load_default(size), caption(explanation)
    parts = printable(explanation.layer or "").split(".")
    for i in range(1, len(parts)):
        if font.getlength(line) <= width - size:
            break
        line = caption(explanation, f"...{'.'.join(parts[i:])}")
    return line


def caption(explanation: Explanation, layer: str | None = None) -> str:
    """The method, and of Grad-CAM the layer with the size of its map.

    Args:
        layer: in place of its whole path.
    """
    if explanation.layer is None or explanation.layer_size is None:
        return explanation.method
    height, width = explanation.layer_size
    path = layer or printable(explanation.layer)
    return f"{explanation.method}, {path} ({height} x {width})"
