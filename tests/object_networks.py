"""Networks that need no training: they find bright cells of an image of 32 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.core import Boxes

SIDE, CELL = 32, 8
PER_SIDE = SIDE // CELL
UNCHANGED = ("--mean", "0", "--std", "1", "--scale", "1/255", "--resize", "none")
"""Options by which pixels come to them from 0 to 1."""


def cells() -> NDArray[np.float32]:
    """Corners of all cells, row after row."""
    rows, columns = np.divmod(np.arange(PER_SIDE**2), PER_SIDE)
    corners = np.stack([columns, rows, columns + 1, rows + 1], axis=1) * CELL
    return corners.astype(np.float32)


class Cells(nn.Module):
    """Boxes of all cells; red ones are of the first class, green ones of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("corners", torch.from_numpy(cells()))
        self.mean = nn.Conv2d(3, 2, CELL, CELL)
        with torch.no_grad():
            self.mean.weight.zero_()
            assert self.mean.bias is not None
            self.mean.bias.fill_(-9)
            for k in range(2):
                self.mean.weight[k, k] = 18 / CELL**2

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Boxes (n, cells, 4) and scores (n, cells, 2)."""
        scores = self.mean(image).flatten(2).transpose(1, 2).sigmoid()
        # Of as many rows as images.
        boxes = self.corners + 0 * scores[..., :1]
        return {"boxes": boxes, "scores": scores}


class Crowds(nn.Module):
    """Three boxes around each cell that overlap, the likelier the brighter it is."""

    SHIFTS, GAINS = (0, 1, 5), (6.0, 5.0, 4.5)

    def __init__(self) -> None:
        super().__init__()
        corners = np.concatenate([cells() + shift for shift in self.SHIFTS])
        self.register_buffer("corners", torch.from_numpy(corners))
        self.mean = nn.Conv2d(3, 2 * len(self.GAINS), CELL, CELL)
        with torch.no_grad():
            self.mean.weight.zero_()
            assert self.mean.bias is not None
            self.mean.bias.fill_(-3)
            for i, gain in enumerate(self.GAINS):
                for k in range(2):
                    self.mean.weight[2 * i + k, k] = gain / CELL**2

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Boxes (n, 3 * cells, 4) and scores (n, 3 * cells, 2)."""
        found = self.mean(image).reshape(-1, len(self.GAINS), 2, PER_SIDE**2)
        scores = found.transpose(2, 3).reshape(-1, len(self.corners), 2).sigmoid()
        return {"boxes": self.corners + scores[..., :1], "scores": scores}


class Turned(Crowds):
    """The same with the scores first."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Scores, then boxes."""
        return dict(reversed(super().forward(image).items()))


class Pixels(nn.Module):
    """Scores of three classes for each pixel: dark, red, green."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.colours.weight.copy_(
                torch.tensor([[0.0, 0, 0], [9, -9, 0], [-9, 9, 0]])[..., None, None]
            )
            assert self.colours.bias is not None
            self.colours.bias.copy_(torch.tensor([3.0, 0, 0]))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"scores": self.colours(image)}


class Likeness(nn.Module):
    """The mean colour of each half, as an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.halves = nn.AvgPool2d((SIDE, SIDE // 2))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        found = self.halves(image).flatten(1)
        return {"embedding": found / found.norm(dim=1, keepdim=True).clamp(min=1e-6)}


def scene(where: Mapping[int, int]) -> NDArray[np.uint8]:
    """An image with bright cells.

    Args:
        where: 0 for red or 1 for green, by the number of the cell.
    """
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for cell, colour in where.items():
        x0, y0, x1, y1 = cells()[cell].astype(int)
        image[y0:y1, x0:x1, colour] = 255
    return image


@dataclass
class Scenes:
    """A source of such images, with boxes, masks and the first one's colour as a label."""

    seen: list[dict[int, int]] = field(
        default_factory=lambda: [{0: 0, 5: 1}, {3: 1}, {7: 0, 8: 0, 9: 1}, {12: 0}, {}]
    )
    name: str = "scenes"
    classes: tuple[str, ...] = ("red", "green")
    mask_classes: tuple[str, ...] = ("dark", "red", "green")
    flippable: bool = True
    splits: tuple[str, ...] = ("all",)
    keeps_test: bool = False

    def size(self, split: str) -> int:
        return len(self.seen)

    def image(self, split: str, index: int) -> NDArray[np.uint8]:
        return scene(self.seen[index])

    def boxes(self, split: str, index: int) -> Boxes:
        own = self.seen[index]
        classes = np.array([*own.values()], np.int64)
        corners = cells()[[*own]]
        return Boxes(corners, classes, (SIDE, SIDE), np.zeros(len(own), bool))

    def mask(self, split: str, index: int) -> NDArray[np.uint8]:
        image = self.image(split, index)
        return (image[..., 0] // 255 + image[..., 1] // 255 * 2).astype(np.uint8)
