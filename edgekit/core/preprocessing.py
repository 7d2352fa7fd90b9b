"""How an image becomes a network's input, as a record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Tuple, Union

Side = Union[int, Tuple[int, int]]
"""Height and width in pixels, or one number where they are equal."""

FITS = ("crop", "stretch", "letterbox")
CHANNEL_ORDERS = ("RGB", "BGR", "L", "RGBA", "BGRA")
ALPHAS = ("black", "white", "drop", "keep")
ORIENTATIONS = ("upright", "ignore")
LAYOUTS = ("NCHW", "NHWC")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area")


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    It is decoded to 8 bits, turned as ``exif`` says, and gets the channels of ``channel_order``,
    for which ``alpha`` says what becomes of transparency. ``fit`` brings it to the size ``crop``,
    and each value becomes ``(value * scale - mean) / std``. ``docs/preprocessing.md`` has the
    exact integers.

    Attributes:
        resize: for the fit ``crop`` the shorter side in pixels, or the least (height, width),
            after resizing in proportion; ``None``: no resizing. For ``stretch`` the (height,
            width) that it is resized to before the middle is cut out; ``None``: that of ``crop``
            itself. ``None`` for ``letterbox``.
        crop: (height, width) of the finished image; a number for a square.
        channel_order: ``RGB``, ``BGR``, ``L`` (grey), ``RGBA`` or ``BGRA``.
        mean: one for each channel, in the order of ``channel_order``; so is ``std``.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``area``; see
            `edgekit.data.resampling`.
        layout: ``NCHW`` or ``NHWC``, the axes of the finished array.
        fit: ``crop`` cuts out the middle, ``stretch`` gives up the proportions, ``letterbox``
            shows the whole image and pads it.
        pad: value from 0 to 255 of all channels around a letterboxed image.
        exif: ``upright`` turns the image as its EXIF orientation says, ``ignore`` does not.
        alpha: what transparency becomes: ``black`` or ``white`` lies behind the image, ``drop``
            shows colours as they are stored, ``keep`` makes it the fourth channel.
    """

    resize: Side | None
    crop: Side
    channel_order: str = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    layout: str = "NCHW"
    fit: str = "crop"
    pad: int = 0
    exif: str = "upright"
    alpha: str = "black"

    def __post_init__(self) -> None:
        """One spelling for squares, so that equal records are equal."""
        for name in ("resize", "crop"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1]:
                object.__setattr__(self, name, value[0])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the finished image in pixels."""
        return pair(self.crop)

    @property
    def side(self) -> int:
        """Side of a square image in pixels.

        Raises:
            ValueError: it is none.
        """
        height, width = self.size
        if height != width:
            raise ValueError(f"images of {height} x {width} px: expected square ones")
        return height

    @property
    def channels(self) -> int:
        """How many channels the finished image has."""
        return len(self.channel_order)

    def shape(self, batch: int = 1) -> tuple[int, ...]:
        """Of so many finished images in their layout."""
        size = self.size
        if self.layout == "NCHW":
            return (batch, self.channels, *size)
        return (batch, *size, self.channels)

    @property
    def of_pixels(self) -> Preprocessing:
        """What is left of it where a file does all that changes values and axes itself.

        Images of the finished size are bytes then, (height, width, channels), colours as RGB.
        """
        return dataclasses.replace(
            self,
            channel_order=self.channel_order.replace("BGR", "RGB"),
            scale=1.0,
            mean=(0.0,) * self.channels,
            std=(1.0,) * self.channels,
            layout="NHWC",
        )

    def describe(self) -> str:
        """What becomes of an image's size, in words."""
        if self.fit == "letterbox":
            return f"whole, within {_px(self.crop)}, padded with {self.pad}"
        if self.fit == "stretch" and self.resize in (None, self.crop):
            return f"stretched to {_px(self.crop)}"
        if self.resize is None:
            done = "not resized"
        elif self.fit == "stretch":
            done = f"stretched to {_px(self.resize)}"
        elif isinstance(self.resize, int):
            done = f"short side to {self.resize} px"
        else:
            done = f"resized to cover {_px(self.resize)}"
        return f"{done}, middle {_px(self.crop)}"

    def at(self, size: Side) -> Preprocessing:
        """The same for another size of the finished image; ``resize`` grows in proportion."""
        if pair(size) == self.size:
            return self
        resize: Side | None = None
        if self.resize is not None:
            (tall, wide), (height, width) = pair(self.resize), pair(size)
            old_height, old_width = (max(n, 1) for n in self.size)  # 0 is refused when it is used
            resize = (round(tall * height / old_height), round(wide * width / old_width))
        return dataclasses.replace(self, resize=resize, crop=size)


def pair(side: Side) -> tuple[int, int]:
    """Height and width."""
    return (side, side) if isinstance(side, int) else side


def _px(side: Side) -> str:
    """A size in words, height first."""
    return f"{side} px" if isinstance(side, int) else f"{side[0]} x {side[1]} px"
