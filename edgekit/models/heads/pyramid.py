"""Faster R-CNN with a feature pyramid, as torchvision builds it on mobile networks.

Ren et al. 2015, arXiv:1506.01497; Lin et al. 2016, arXiv:1612.03144. Two maps of the backbone's
last stage are joined, and a third one is every other pixel of the second. Regions come from all
three; their parts are cut from the first. Each region has a box for each class. Numbers are those
of torchvision's ``fasterrcnn_mobilenet_v3_large_320_fpn``, whose weights load by structure.

A fixed number of regions stands for any number of them; see `edgekit.models.heads.twostage`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.core import Parameter
from edgekit.models.heads import Size
from edgekit.models.heads.coding import RegionCoding
from edgekit.models.heads.layers import divided
from edgekit.models.heads.regions import (
    NO_WEIGHTS,
    WEIGHTS,
    aligned,
    chosen,
    clipped,
    covered,
    decoded,
    kept,
    remaining,
)
from edgekit.models.heads.taps import Backbone

CHANNELS, HIDDEN = 256, 1024
"""Of all maps, and of the layers behind a region (arXiv:1612.03144, section 5)."""

SIDES = (32, 64, 128, 256, 512)
"""Of square anchors in pixels, on each map."""

RATIOS = (0.5, 1.0, 2.0)  # height over width

EACH = 150
"""Candidates of each map, and regions of an image."""

OVERLAP = 0.7  # of suppression of regions

LEAST_SCORE, LEAST_SIDE = 0.05, 1e-3
"""Probability of an object, and pixels of a side, below which a region does not count."""

CELLS = 7


class Pyramid(nn.Module):
    """Maps of several depths with the same channels; a deep one is added to the one before it.

    Args:
        inputs: channels of the maps, the shallow ones first.
    """

    def __init__(self, inputs: Sequence[int]) -> None:
        super().__init__()
        self.inner = nn.ModuleList(nn.Conv2d(n, CHANNELS, 1) for n in inputs)
        self.layer = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in inputs)
        for conv in (*self.inner, *self.layer):
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (N, channels, h, w), and one more: every other pixel of the last."""
        found = [conv(x) for conv, x in zip(self.inner, maps, strict=True)]
        for i in reversed(range(len(found) - 1)):
            size = found[i].shape[2:]
            deep = found[i + 1]
            found[i] = found[i] + (
                deep if deep.shape[2:] == size else F.interpolate(deep, size=size, mode="nearest")
            )
        found = [conv(x) for conv, x in zip(self.layer, found, strict=True)]
        return [*found, F.max_pool2d(found[-1], 1, 2)]


class PyramidProposals(nn.Module):
    """Regions that may hold an object, from several maps by the same layers.

    Args:
        size: height and width of the image.
        grids: of the maps.

    Attributes:
        anchors: (anchors, 4), corners in pixels, of all maps one behind the other.
    """

    anchors: Tensor

    def __init__(self, size: Size, grids: Sequence[Size]) -> None:
        super().__init__()
        self.size = size
        each = len(SIDES) * len(RATIOS)
        self.counts = tuple(each * rows * columns for rows, columns in grids)
        self.shared = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.objectness = nn.Conv2d(CHANNELS, each, 1)
        self.deltas = nn.Conv2d(CHANNELS, 4 * each, 1)
        for layer in (self.shared, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)  # arXiv:1506.01497, section 3.1.3
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        whole = covered(size, 32)
        anchors = np.concatenate([pyramid_anchors(whole, grid) for grid in grids])
        self.register_buffer("anchors", torch.from_numpy(anchors), persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """A box of each anchor, (N, anchors, 4), and the logit of an object in it, (N, anchors)."""
        objects, deltas = [], []
        for one in maps:
            x = F.relu(self.shared(one))
            objects.append(self.objectness(x).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.deltas(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4))
        corners = decoded(torch.cat(deltas, 1), self.anchors, NO_WEIGHTS)
        return clipped(corners, self.size), torch.cat(objects, 1)

    def best(self, corners: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
        """The regions that go on, and which of them count; those of a map suppress each other only.

        Returns:
            Corners (N, R, 4) in the order of their anchors, and 1 or 0 for each, (N, R).
        """
        begin, places, levels = 0, [], []
        for level, count in enumerate(self.counts):
            own = objects[:, begin : begin + count].topk(min(EACH, count), 1).indices
            places.append(own + begin)
            levels.append(torch.full_like(own, level))
            begin += count
        every, of = torch.cat(places, 1), torch.cat(levels, 1)
        order = objects.gather(1, every).topk(every.shape[1], 1).indices
        every, of = every.gather(1, order), of.gather(1, order)
        boxes = chosen(corners, every)
        # Boxes of different maps are moved apart.
        apart = of[..., None].to(boxes.dtype) * (2.0 * max(self.size))
        sides = boxes[..., 2:] - boxes[..., :2]
        counts = kept(boxes + apart, OVERLAP)
        counts = counts * (objects.gather(1, every).sigmoid() >= LEAST_SCORE).to(counts.dtype)
        counts = counts * (sides.amin(-1) >= LEAST_SIDE).to(counts.dtype)
        taken, counts = remaining(every, counts, self.regions)
        return chosen(corners, taken), counts

    @property
    def regions(self) -> int:
        """Of an image."""
        return min(EACH, sum(min(EACH, count) for count in self.counts))


class PyramidDetector(nn.Module):
    """A backbone, a feature pyramid and two stages."""

    eye: Tensor

    def __init__(self, backbone: Backbone, classes: int, size: Size) -> None:
        super().__init__()
        self.backbone, self.size, self.classes = backbone, size, classes
        last = max(backbone.strides)
        self.cell = float(last)
        self.pyramid = Pyramid((backbone.first_channels[last], backbone.channels[last]))
        grid = divided(size, last)
        self.proposals = PyramidProposals(size, (grid, grid, divided(grid, 2)))
        self.hidden = nn.Sequential(
            OrderedDict(
                first=nn.Linear(CHANNELS * CELLS * CELLS, HIDDEN),
                act=nn.ReLU(),
                second=nn.Linear(HIDDEN, HIDDEN),
                last=nn.ReLU(),
            )
        )
        self.scores = nn.Linear(HIDDEN, classes + 1)
        self.deltas = nn.Linear(HIDDEN, 4 * (classes + 1))
        nn.init.normal_(self.scores.weight, std=0.01)  # arXiv:1504.08083, section 3.1
        nn.init.normal_(self.deltas.weight, std=0.001)
        for layer in (self.scores, self.deltas):
            nn.init.zeros_(layer.bias)
        self.register_buffer("eye", torch.eye(classes), persistent=False)
        anchors = self.proposals.anchors.numpy()
        self.coding = RegionCoding(self.proposals.regions, anchors, each=classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores of images (N, 3, H, W).

        Returns:
            Corners in pixels of the image, (N, R * classes, 4): the boxes of a region one behind
            the other, each with a score of its own class only, (N, R * classes, classes).

            In training mode boxes of all anchors stand behind them, and scores are logits of the
            regions, those of the background first, then of all anchors, (N, R + anchors, 1 +
            classes): that of the background is minus that of an object, all others are 0.
        """
        batch, classes = image.shape[0], self.classes
        maps = self.pyramid(self.backbone.deepest(image))
        found, objects = self.proposals(maps)
        regions, counts = self.proposals.best(found.detach(), objects.detach())
        whole = covered(self.size, int(self.cell))
        parts = aligned(maps[0], regions, whole, CELLS, cell=self.cell)
        hidden = self.hidden(parts.flatten(1))
        logits = self.scores(hidden).reshape(batch, -1, classes + 1)
        deltas = self.deltas(hidden).reshape(batch, -1, classes + 1, 4)[:, :, 1:]
        corners = decoded(deltas, regions[:, :, None], WEIGHTS)
        corners = clipped(corners, self.size).reshape(batch, -1, 4)
        if self.training:
            none = objects.new_zeros(1).expand(batch, objects.shape[1], classes)
            first = torch.cat((-objects[..., None], none), -1)
            return torch.cat((corners, found), 1), torch.cat((logits, first), 1)
        scores = logits.softmax(-1)[..., 1:] * counts[..., None]
        return corners, (scores[..., None] * self.eye).reshape(batch, -1, classes)


def pyramid_anchors(size: Size, grid: Size) -> NDArray[np.float32]:
    """Anchors of a map as the authors' code and torchvision have them: in whole pixels.

    Args:
        size: height and width that all maps cover, in pixels.
        grid: height and width of the map.

    Returns:
        Corners, (anchors, 4), about the upper left corner of each cell: row after row, in each
        cell by ratio, then by area.
    """
    shapes = [
        (side / math.sqrt(ratio), side * math.sqrt(ratio)) for ratio in RATIOS for side in SIDES
    ]
    half = np.array(shapes) / 2
    own = np.concatenate((-half, half), 1).round()
    y, x = np.meshgrid(
        np.arange(grid[0]) * (size[0] // grid[0]),
        np.arange(grid[1]) * (size[1] // grid[1]),
        indexing="ij",
    )
    middles = np.stack((x, y, x, y), -1).reshape(-1, 1, 4)
    return (middles + own).reshape(-1, 4).astype(np.float32)


@dataclass(frozen=True, slots=True)
class PyramidHead:
    """See `PyramidDetector`."""

    name: str = "fasterrcnn-fpn"
    task: str = "detect"
    classes: int = 90  # of COCO with those that no box has, as in published weights
    outputs: tuple[str, ...] = ("boxes", "scores")
    stride: int = 32

    def network(self, backbone: Backbone, classes: int, size: Size) -> nn.Module:
        """See `edgekit.models.heads.Head`."""
        return PyramidDetector(backbone, classes, size)

    def parameters(self, network: nn.Module) -> Mapping[str, Parameter]:
        """Nothing: its boxes are decoded."""
        return {}


HEAD = PyramidHead()
