"""Inputs of networks: of one that takes one tensor, as targets take them of networks with several,
and files of images that nobody has put into classes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


def singly(inputs: Iterable[Any] | None) -> list[list[Any]] | None:
    """Each inference as a list of its one input."""
    return None if inputs is None else [[one] for one in inputs]


def save_images(folder: Path, *names: str, shape: tuple[int, int, int], count: int) -> Path:
    """Files of arrays with noise and waves in them, one array a name.

    Args:
        shape: of an image, (3, H, W).
    """
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    places = np.mgrid[: shape[1], : shape[2]] / shape[1]

    def image() -> np.ndarray:
        waves = [np.sin(6 * (rng.random(2)[:, None, None] * places).sum(0)) for _ in range(3)]
        return (np.stack(waves) + 0.2 * rng.standard_normal(shape))[None].astype(np.float32)

    for i in range(count):
        np.savez(folder / f"{i:02}.npz", **{name: image() for name in names})
    return folder
