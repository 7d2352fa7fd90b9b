"""Two-stage detection: regions first, then a class and a better box for each of them.

===============  =====================================================================
``fasterrcnn``   regions from the map, by anchors: Ren et al., arXiv:1506.01497
``maskrcnn``     the same, and a mask of each box: He et al., arXiv:1703.06870
``fastrcnn``     given regions, cut out of the map: Girshick, arXiv:1504.08083
``rcnn``         given regions, cut out of the image: Girshick et al., arXiv:1311.2524
===============  =====================================================================

Light, as two stages are on phones: one map of stride 16, to which that of stride 32 is added
(ThunderNet, arXiv:1903.11752, section 3.2, without its mean of the whole map), of few channels
(arXiv:1711.07264). Boxes are those of an object of any class, as in R-FCN (arXiv:1605.06409).

The number of regions is fixed: those that suppression leaves come with others that count for
nothing, whose scores are 0. Given regions are windows of several sizes where none are given; in
Python others go in as ``module(images, regions)``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.core import Parameter
from edgekit.models.heads import Size
from edgekit.models.heads.coding import RegionCoding
from edgekit.models.heads.layers import conv_norm_act, divided, resized, separable
from edgekit.models.heads.regions import (
    NO_WEIGHTS,
    WEIGHTS,
    aligned,
    chosen,
    clipped,
    covered,
    decoded,
    kept,
    region_anchors,
    remaining,
    windows,
)
from edgekit.models.heads.taps import Backbone

STRIDE = 16

CHANNELS = 128
"""Of the map that regions are cut from. ThunderNet has 245, for larger networks."""

HIDDEN = 512  # of the layers behind a region; half of arXiv:1612.03144's, for the same reason

SIDES = (0.04, 0.08, 0.16, 0.32, 0.64)
"""Of square anchors, as shares of the shorter side: 32 to 512 px at 800 (arXiv:1612.03144)."""

RATIOS = (0.5, 1.0, 2.0)  # height over width; arXiv:1506.01497, section 3.1.1

CANDIDATES, REGIONS = 256, 100
"""Regions of an image before suppression, and behind it. The authors' networks for servers have
6000 and 300, torchvision's for phones 150 and 150."""

OVERLAP = 0.7  # of suppression of regions; arXiv:1506.01497, section 3.3

CELLS, MASK_CELLS = 7, 14  # of a region; arXiv:1504.08083 and 1703.06870, figure 4
MASK_CHANNELS = 64
"""Of the mask of a box, in separable convolutions: the published ones, of 256 channels and all of
them together, take 100 times the operations."""

CROP = 64
"""Side in pixels that R-CNN brings regions to; 227 in the paper."""

PARTS = (1, 2, 4)
"""Of given regions: windows of the whole image, and of halves and quarters of its sides, 59."""


class Together(nn.Module):
    """The map of stride 16 with that of stride 32 added to it."""

    def __init__(self, backbone: Backbone, size: Size) -> None:
        super().__init__()
        self.size = divided(size, STRIDE)
        self.last = max(backbone.strides)
        self.near = nn.Conv2d(backbone.channels[STRIDE], CHANNELS, 1)
        self.far = nn.Conv2d(backbone.channels[self.last], CHANNELS, 1)
        self.smooth = conv_norm_act(CHANNELS, CHANNELS, 3)

    def forward(self, maps: dict[int, Tensor]) -> Tensor:
        """Maps of `Backbone.maps` to (N, `CHANNELS`, h, w)."""
        far = resized(self.far(maps[self.last]), self.size)
        found: Tensor = self.smooth(self.near(maps[STRIDE]) + far)
        return found


class Proposals(nn.Module):
    """Regions that may hold an object: by anchors, of which the best ones that do not overlap stay.

    Attributes:
        anchors: (anchors, 4), corners in pixels.
    """

    anchors: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        each = len(SIDES) * len(RATIOS)
        self.shared = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1), nn.ReLU())
        self.objectness = nn.Conv2d(CHANNELS, each, 1)
        self.deltas = nn.Conv2d(CHANNELS, 4 * each, 1)
        for layer in (self.shared[0], self.objectness, self.deltas):
            assert isinstance(layer, nn.Conv2d)
            nn.init.normal_(layer.weight, std=0.01)  # arXiv:1506.01497, section 3.1.3
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        found = torch.from_numpy(region_anchors(size, STRIDE, SIDES, RATIOS))
        self.register_buffer("anchors", found, persistent=False)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """A box of each anchor, (N, anchors, 4), and the logit of an object in it, (N, anchors)."""
        x = self.shared(maps)
        objects = self.objectness(x).permute(0, 2, 3, 1).flatten(1)
        deltas = self.deltas(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
        return clipped(decoded(deltas, self.anchors, NO_WEIGHTS), self.size), objects

    def best(self, corners: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
        """The regions that go on, and which of them count.

        Returns:
            Corners (N, R, 4) in the order of their anchors, and 1 or 0 for each, (N, R).
        """
        places = objects.topk(min(CANDIDATES, objects.shape[1]), 1).indices
        stays = kept(chosen(corners, places), OVERLAP)
        taken, counts = remaining(places, stays, min(REGIONS, places.shape[1]))
        return chosen(corners, taken), counts


class TwoStage(nn.Module):
    """A backbone and two stages.

    Args:
        regions: whether they come from the map; else they are given.
        whole: whether given ones are cut out of the image, which the backbone then sees each of.
        masks: whether boxes have masks.
    """

    windows: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        size: Size,
        *,
        regions: bool,
        whole: bool = False,
        masks: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.size, self.classes = backbone, size, classes
        self.whole, self.last = whole, max(backbone.strides)
        channels, cells = CHANNELS, CELLS * CELLS
        if whole:
            channels, cells = backbone.channels[self.last], 1
        else:
            self.together = Together(backbone, size)
        self.proposals = Proposals(size) if regions else None
        self.hidden = nn.Sequential(
            OrderedDict(
                first=nn.Linear(channels * cells, HIDDEN),
                act=nn.ReLU(),
                second=nn.Linear(HIDDEN, HIDDEN),
                last=nn.ReLU(),
            )
        )
        self.scores, self.deltas = nn.Linear(HIDDEN, classes + 1), nn.Linear(HIDDEN, 4)
        nn.init.normal_(self.scores.weight, std=0.01)  # arXiv:1504.08083, section 3.1
        nn.init.normal_(self.deltas.weight, std=0.001)
        for layer in (self.scores, self.deltas):
            nn.init.zeros_(layer.bias)
        self.masks = Masks(classes) if masks else None
        given = torch.from_numpy(windows(size, PARTS))
        self.register_buffer("windows", given, persistent=False)
        if self.masks is None:  # boxes do not say what a mask learns from
            self.coding = self._coding()

    def forward(self, image: Tensor, regions: Tensor | None = None) -> tuple[Tensor, ...]:
        """Boxes, scores, and masks where there are any, of images (N, 3, H, W).

        Args:
            regions: given ones, corners in pixels, (N, R, 4); `windows` if ``None``.

        Returns:
            Corners in pixels of the image (N, R, 4), probabilities (N, R, classes), and of each
            box the mask of its likeliest class as probabilities (N, R, 28, 28).

            In training mode scores and masks are logits, those of the background first. Behind the
            regions then stand all anchors, with their boxes; the logit of the background is minus
            that of an object, and all others are 0.
        """
        batch = image.shape[0]
        maps: Tensor | None = None
        counts: Tensor | None = None
        found: tuple[Tensor, Tensor] | None = None
        if not self.whole:
            maps = self.together(self.backbone.maps(image))
        if self.proposals is not None:
            assert maps is not None
            found = self.proposals(maps)
            # What is learned of a region does not change where it lies (section 3.2).
            regions, counts = self.proposals.best(found[0].detach(), found[1].detach())
        elif regions is None:
            regions = self.windows.expand(batch, -1, -1)
        hidden = self.hidden(self._cut(image, maps, regions))
        logits = self.scores(hidden).reshape(batch, -1, self.classes + 1)
        deltas = self.deltas(hidden).reshape(batch, -1, 4)
        corners = clipped(decoded(deltas, regions, WEIGHTS), self.size)
        masks: tuple[Tensor, ...] = ()
        if self.masks is not None:
            assert maps is not None
            likeliest = logits[..., 1:].argmax(-1)
            masks = (self.masks(maps, corners.detach(), likeliest, covered(self.size, STRIDE)),)
        if self.training:
            if found is not None:
                objects = found[1][..., None]
                none = objects.new_zeros(1).expand(batch, objects.shape[1], self.classes)
                logits = torch.cat((logits, torch.cat((-objects, none), -1)), 1)
                corners = torch.cat((corners, found[0]), 1)
            return corners, logits, *masks
        scores = logits.softmax(-1)[..., 1:]
        if counts is not None:
            scores = scores * counts[..., None]
        return corners, scores, *(one.sigmoid() for one in masks)

    def _coding(self) -> RegionCoding:
        if self.proposals is None:
            return RegionCoding(len(self.windows), np.zeros((0, 4), np.float32))
        anchors = self.proposals.anchors.numpy()
        return RegionCoding(min(REGIONS, CANDIDATES, len(anchors)), anchors)

    def _cut(self, image: Tensor, maps: Tensor | None, regions: Tensor) -> Tensor:
        """Numbers of each region, (N * R, k)."""
        if maps is not None:
            return aligned(maps, regions, covered(self.size, STRIDE), CELLS).flatten(1)
        crops = aligned(image, regions, self.size, CROP)
        return self.backbone.maps(crops)[self.last].mean((2, 3))


class Masks(nn.Module):
    """Which pixels of a box are the object's, by class: four convolutions, then twice the size."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(separable(CHANNELS if i == 0 else MASK_CHANNELS, MASK_CHANNELS) for i in range(4))
        )
        self.grow = nn.ConvTranspose2d(MASK_CHANNELS, MASK_CHANNELS, 2, 2)
        self.act = nn.ReLU()
        self.masks = nn.Conv2d(MASK_CHANNELS, classes, 1)

    def forward(self, maps: Tensor, corners: Tensor, classes: Tensor, size: Size) -> Tensor:
        """Logits of the mask of one class of each box, (N, R, 28, 28)."""
        x = self.act(self.grow(self.body(aligned(maps, corners, size, MASK_CELLS))))
        every = self.masks(x).flatten(2)  # (N * R, classes, cells)
        places = classes.reshape(-1, 1, 1).expand(-1, 1, every.shape[2])
        side = 2 * MASK_CELLS
        found: Tensor = every.gather(1, places).reshape(*classes.shape, side, side)
        return found


@dataclass(frozen=True, slots=True)
class TwoStageHead:
    """One kind of two stages; see `TwoStage`."""

    name: str
    regions: bool
    whole: bool = False
    masks: bool = False
    task: str = "detect"
    classes: int = 80  # of COCO
    stride: int = 32

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `edgekit.models.heads.Head`."""
        return ("boxes", "scores", "masks") if self.masks else ("boxes", "scores")

    def network(self, backbone: Backbone, classes: int, size: Size) -> nn.Module:
        """See `edgekit.models.heads.Head`."""
        return TwoStage(
            backbone, classes, size, regions=self.regions, whole=self.whole, masks=self.masks
        )

    def parameters(self, network: nn.Module) -> Mapping[str, Parameter]:
        """Nothing: its boxes are decoded."""
        return {}


FASTER = TwoStageHead("fasterrcnn", regions=True)
MASK = TwoStageHead("maskrcnn", regions=True, masks=True)
FAST = TwoStageHead("fastrcnn", regions=False)
RCNN = TwoStageHead("rcnn", regions=False, whole=True)
