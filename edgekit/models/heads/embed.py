"""Embeddings: images as points of a sphere, near each other where they show the same.

Schroff et al. 2015, arXiv:1503.03832: the mean of the last map, a linear layer, length 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.core import Parameter
from edgekit.models.heads.layers import Size
from edgekit.models.heads.taps import Backbone

DIMENSIONS = 128  # arXiv:1503.03832, table 5: more are no better


class Embedder(nn.Module):
    """A backbone with the head.

    Args:
        classes: of the training, each with a centre on the sphere, of which losses with a margin
            learn; nothing of them is computed in eval mode.
    """

    def __init__(self, backbone: Backbone, classes: int, dimensions: int = DIMENSIONS) -> None:
        super().__init__()
        self.backbone = backbone
        self.last = backbone.strides[-1]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.embed = nn.Linear(backbone.channels[self.last], dimensions)
        self.centres = nn.Linear(dimensions, classes, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings (N, D) of length 1 of images (N, 3, H, W).

        In training mode the cosines to the centre of each class stand behind them, (N, D +
        classes).
        """
        x = self.flatten(self.pool(self.backbone.maps(image)[self.last]))
        found = F.normalize(self.embed(x), dim=1)
        if not self.training:
            return found
        return torch.cat([found, F.linear(found, F.normalize(self.centres.weight, dim=1))], 1)


class _Head:
    name, task = "embed", "embed"
    classes = 10
    outputs = ("embedding",)
    stride = 32

    def network(self, backbone: Backbone, classes: int, size: Size) -> Embedder:
        return Embedder(backbone, classes)

    def parameters(self, network: nn.Module) -> Mapping[str, Parameter]:
        return {}


HEAD = _Head()
