"""The images in ``golden``, with what belongs to them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).resolve().parent.parent / "golden"
GOLDEN = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
IMAGES = {each["file"]: each for each in GOLDEN["images"]}

CASES = {f"made {i}": each for i, each in enumerate(GOLDEN["vectors"])}
CASES.update({name: each["case"] for name, each in IMAGES.items() if "case" in each})
"""Outputs, with what they come to: made ones, and those of images."""


def mask_of(name):
    """A mask in the folder."""
    return np.asarray(Image.open(FOLDER / name))


def pixels_of(image):
    """The finished pixels of an image."""
    pixels = mask_of(image["pixels"])
    return pixels if pixels.ndim == 3 else pixels[..., None]


def same(image):
    """Least share of what an image comes to that has to be as expected: rounding decides where two
    classes are near to each other.
    """
    return 0.999 if min(one["least_db"] for one in image["outputs"]["file"].values()) > 50 else 0.98


def signal_to_noise_db(found, expected, power):
    """A power over that of the difference."""
    noise = float(np.square(found - expected).mean())
    return 10 * np.log10(max(power, 1e-30) / max(noise, 1e-30)) if noise > 0 else 200.0
