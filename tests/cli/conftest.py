"""Small inputs for the command line: networks of the user's own, folders of images."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SMALL = "mobilenetv1@0.25"
_numbers = itertools.count()


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], str]:
    """Writes a Python module into the working folder; gives its name, never used before."""

    def write(text: str) -> str:
        name = f"own_network_{next(_numbers)}"
        header = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
        (tmp_path / f"{name}.py").write_text(header + text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``DIR/class/NN.png``: random greys around a level of each class."""

    def write(name: str, *classes: str, count: int = 10) -> Path:
        rng = np.random.default_rng(7)
        for level, kind in enumerate(classes):
            folder = tmp_path / name / kind
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(60 * level, 60 * level + 60, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:02d}.png")
        return tmp_path / name

    return write


@pytest.fixture
def png(tmp_path: Path) -> Callable[..., Path]:
    """Writes an image of random pixels."""

    def write(name: str = "image.png", width: int = 40, height: int = 30) -> Path:
        pixels = np.random.default_rng(8).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    return write
