"""Networks in which rounding grows until float32 says nothing, on all images or on most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image
from small_networks import network

from edgekit import tables

Module = Callable[[str], str]

# All but black images get something else in float64.
MOSTLY = (
    "y = self.scores(x); wild = torch.sigmoid(y)\n"
    "        for _ in range(32): wild = 1.5 - 1.9 * wild.abs()\n"
    "        light = (image.mean((1, 2, 3)).reshape(-1, 1) * 1e3 + 1.7e3).clamp(0, 1)\n"
    "        return y + wild * light"
)


def chaotic(end: str) -> str:
    made = network().replace("x = self.relu", "image = x; x = self.relu")
    return made.replace("return self.scores(x)", end)


@pytest.fixture
def photos(image_folder: Callable[..., Path]) -> Path:
    """Four classes of images, of which few are black, and differ hardly."""
    path = image_folder("photos", "a", "b", "c", "d", count=12)
    for i, file in enumerate(sorted((path / "b").iterdir())[:2]):
        Image.fromarray(np.full((20, 24, 3), i, np.uint8)).save(file)
    return path


@pytest.mark.parametrize("target", tables.TARGETS)
def test_a_few_images_that_are_steady_are_no_verdict(
    run: CommandLine, module: Module, photos: Path, target: str
) -> None:
    words = f"{module(chaotic(MOSTLY))}:Net"
    line = ["export", words, "-t", target, "--resolution", 32, "-o", "out"]
    result = run(*line, "--data", photos)
    assert result.code == 3, result.err
    assert f"PyTorch itself computes '{words}' in float32 otherwise than in float64" in (
        result.message
    )
    assert "give images like those" in result.message
    assert "of its batch" not in result.err  # rounding in another order is no influence
