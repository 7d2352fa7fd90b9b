"""Real image files for the tests of the data sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Writes ``DIR/class/NN.png``, each image of one grey level of its own."""

    def make(counts: Mapping[str, int], name: str = "images") -> Path:
        level = 0
        for kind, count in counts.items():
            folder = tmp_path / name / kind
            folder.mkdir(parents=True)
            for index in range(count):
                level += 1
                pixels = np.full((6, 5, 3), level % 256, np.uint8)
                pixels[0, 0] = level // 256
                Image.fromarray(pixels).save(folder / f"{index:02d}.png")
        return tmp_path / name

    return make
