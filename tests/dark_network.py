"""A network that gives numbers for some images only."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dark(nn.Module):
    """Gives numbers for images without a bright pixel only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 8)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.conv(x).mean((2, 3))
        return scores + torch.log(0.5 - x.amax((1, 2, 3)))[:, None]
