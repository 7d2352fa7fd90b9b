"""YOLO: detection by the cells of grids. One family, whose generations are rows.

V1 is Redmon et al. 2015, arXiv:1506.02640; V2 Redmon, Farhadi 2016, arXiv:1612.08242; V3 the same
2018, arXiv:1804.02767; what is called V8 is the line's newest form without anchors, with decoupled
branches for boxes and scores. On mobile backbones all 3x3 convolutions of heads are depthwise
separable, and all maps that are joined have the same number of channels. Distances are numbers
here, not distributions (V8's distribution focal loss is left out), and confidence and classes
learn by cross-entropy in all generations (V1 and V2 have squared errors).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit import boxes
from edgekit.boxes.coding import MOST_GROWTH
from edgekit.core import Parameter
from edgekit.models.blocks import ConvNormAct, Style
from edgekit.models.heads import Size
from edgekit.models.heads.coding import CellCoding
from edgekit.models.heads.ssdlite import by_anchor
from edgekit.models.heads.taps import Backbone
from edgekit.models.widths import Conv2d, Width

ACT = "relu6"
"""As in SSDLite: it has a fixed range, which integers like."""

CHANNELS = 128
"""Of all maps of a head, times the backbone's multiplier; `LEAST_CHANNELS` at least."""

LEAST_CHANNELS = 32

PRIOR = 0.01
"""Probability of an object that a fresh network gives (arXiv:1708.02002, section 4.1)."""

FIRST_DISTANCE = 2.0
"""Strides from a cell's middle to each edge that a fresh network without anchors gives."""

Priors = tuple[tuple[float, float], ...]
"""Widths and heights as shares of the image."""

# arXiv:1612.08242, section 2, by k-means on VOC's boxes; from the authors' yolov2-voc.cfg, whose
# unit is a cell of 13.
VOC_PRIORS: Priors = tuple(
    (width / 13, height / 13)
    for width, height in (
        (1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053),
        (11.2364, 10.0071),
    )
)  # fmt: skip

# arXiv:1804.02767, section 2.3, by k-means on COCO's boxes, in pixels of 416; three a map.
COCO_PRIORS: Priors = tuple(
    (width / 416, height / 416)
    for width, height in (
        (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198),
        (373, 326),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Generation:
    """A line of the family's history.

    Attributes:
        strides: of the maps that boxes come from.
        boxes: of a cell.
        priors: of all maps, the finest first; none where boxes come from cells alone.
        joined: how maps of several strides are joined: ``none``, ``passthrough`` (the finer one is
            folded into the coarse one), ``down`` (coarse ones are added to finer ones), ``both``.
        decoupled: whether boxes and scores have branches of their own, and no objectness.
        shared: whether the boxes of a cell have one class.
        softmax: whether classes exclude each other.
        overlap: whether objectness learns the overlap.
        ignored: see `CellCoding`.
    """

    strides: tuple[int, ...]
    boxes: int
    priors: Priors
    joined: str
    decoupled: bool = False
    shared: bool = False
    softmax: bool = False
    overlap: bool = False
    ignored: float = 1.0


GENERATIONS = {
    "yolov1": Generation((32,), 2, (), "none", shared=True, softmax=True, overlap=True),
    "yolov2": Generation((32,), 5, VOC_PRIORS, "passthrough", softmax=True, overlap=True,
                         ignored=0.6),
    "yolov3": Generation((8, 16, 32), 3, COCO_PRIORS, "down", ignored=0.5),
    "yolov8": Generation((8, 16, 32), 1, (), "both", decoupled=True),
}  # fmt: skip


class Separable(nn.Sequential):
    """A 3x3 convolution in two: depthwise, 1x1."""

    def __init__(self, inputs: Width, outputs: Width, style: Style, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(inputs, None, style, ACT, kernel=3, stride=stride)
        self.pointwise = ConvNormAct(inputs, outputs, style, ACT)


class Branch(nn.Sequential):
    """Two separable convolutions and the numbers of each cell."""

    def __init__(self, name: str, inputs: Width, columns: int, style: Style) -> None:
        super().__init__()
        inner = Width(f"{name}.inner", inputs.n)
        self.first = Separable(inputs, inner, style)
        self.second = Separable(inner, inner, style)
        self.predict = Conv2d(inner, Width(f"{name}.columns", columns), bias=True)


class Neck(nn.Module):
    """Maps of several strides, joined; all have the same channels.

    Args:
        joined: see `Generation`.
    """

    def __init__(self, backbone: Backbone, row: Generation, width: Width) -> None:
        super().__init__()
        style, count = backbone.style, len(row.strides)
        self.strides, self.joined = row.strides, row.joined
        self.lateral = nn.ModuleList(
            ConvNormAct(Width(f"map{s}", backbone.channels[s]), width, style, ACT)
            for s in row.strides
        )
        twice = Width("joined", 2 * width.n, parts=(width, width))
        if row.joined == "passthrough":
            fold = Width("folded", width.n // 2)
            finer = Width("map16", backbone.channels[16])
            self.fine = ConvNormAct(finer, fold, style, ACT)
            # A convolution of stride 2 in place of the paper's reordering of pixels.
            self.folded = Separable(fold, width, style, stride=2)
            self.merge = Separable(twice, width, style)
        elif row.joined in ("down", "both"):
            self.down = nn.ModuleList(Separable(twice, width, style) for _ in range(count - 1))
        if row.joined == "both":
            self.step = nn.ModuleList(
                Separable(width, width, style, stride=2) for _ in range(count - 1)
            )
            self.up = nn.ModuleList(Separable(twice, width, style) for _ in range(count - 1))

    def forward(self, found: dict[int, Tensor]) -> list[Tensor]:
        """Maps of the strides, the finest first."""
        maps = [layer(found[s]) for layer, s in zip(self.lateral, self.strides, strict=True)]
        if self.joined == "passthrough":
            folded = self.folded(self.fine(found[16]))
            return [self.merge(torch.cat((folded, maps[0]), 1))]
        if self.joined in ("down", "both"):
            for i in reversed(range(len(maps) - 1)):
                larger = F.interpolate(maps[i + 1], size=maps[i].shape[2:], mode="nearest")
                maps[i] = self.down[i](torch.cat((larger, maps[i]), 1))
        if self.joined == "both":
            for i in range(1, len(maps)):
                smaller = self.step[i - 1](maps[i - 1])
                maps[i] = self.up[i - 1](torch.cat((smaller, maps[i]), 1))
        return maps


class YOLONetwork(nn.Module):
    """A backbone, a neck, and predictions of each cell.

    Attributes:
        priors: widths and heights as shares of the image, (boxes of all maps, 2): a state dict
            keeps them, since they may be those of a training's own boxes; see `fit`.
    """

    priors: Tensor
    points: Tensor
    which: Tensor
    sides: Tensor

    def __init__(self, backbone: Backbone, classes: int, size: Size, row: Generation) -> None:
        super().__init__()
        self.backbone, self.row, self.classes, self.size = backbone, row, classes, size
        style = backbone.style
        scaled = max(LEAST_CHANNELS, int(CHANNELS * backbone.spec.width) // 8 * 8)
        width = Width("neck", scaled)
        self.neck = Neck(backbone, row, width)
        count = len(row.strides)
        if row.decoupled:
            self.distances = nn.ModuleList(
                Branch(f"boxes{i}", width, 4, style) for i in range(count)
            )
            self.scores = nn.ModuleList(
                Branch(f"scores{i}", width, classes, style) for i in range(count)
            )
        else:
            kinds = classes if row.shared else classes * row.boxes
            self.predictors = nn.ModuleList(
                Branch(f"cells{i}", width, 5 * row.boxes + kinds, style) for i in range(count)
            )
        priors = row.priors or ((1.0, 1.0),) * (row.boxes * count)
        self.register_buffer("priors", torch.tensor(priors))
        grids = [(-(-size[0] // s), -(-size[1] // s)) for s in row.strides]
        points = torch.from_numpy(boxes.grid_points(grids, row.strides))
        self.register_buffer("points", points.repeat_interleave(row.boxes, 0), persistent=False)
        own = torch.split(torch.arange(len(priors)), row.boxes)
        which = [one.repeat(tall * wide) for one, (tall, wide) in zip(own, grids, strict=True)]
        self.register_buffer("which", torch.cat(which), persistent=False)
        self.register_buffer("sides", torch.zeros(len(self.points), 2), persistent=False)
        _take_priors(self, None)
        # Without types in PyTorch.
        self.register_load_state_dict_post_hook(_take_priors)  # type: ignore[no-untyped-call]
        self._begin()

    @torch.no_grad()
    def _begin(self) -> None:
        """Fresh predictions: nothing anywhere, boxes of the size of a few cells or the priors."""
        nothing = -math.log((1 - PRIOR) / PRIOR)
        for name, module in self.named_modules():
            if isinstance(module, Conv2d) and not name.startswith("backbone."):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.normal_(module.weight, std=0.01)
                    nn.init.zeros_(module.bias)
        if self.row.decoupled:
            for own, scores in zip(self.distances, self.scores, strict=True):
                _bias(own).fill_(FIRST_DISTANCE)
                _bias(scores).fill_(nothing)
            return
        for bias in map(_bias, self.predictors):
            for i in range(self.row.boxes):
                bias[4 * self.row.boxes + i] = nothing
                if not self.row.priors:
                    bias[4 * i + 2 : 4 * i + 4] = 0.5

    @property
    def coding(self) -> CellCoding:
        """What a loss has to know."""
        row = self.row
        cells = torch.cat((self.points, self.sides), 1)
        return CellCoding(
            cells.cpu().numpy(),
            aligned=row.decoupled,
            priors=bool(row.priors),
            objectness=not row.decoupled,
            overlap=row.overlap,
            softmax=row.softmax,
            ignored=row.ignored,
            size=self.size,
        )

    def fit(self, sides: Tensor, seed: int = 0) -> None:
        """Takes priors that fit boxes, by k-means (arXiv:1612.08242, section 2).

        Args:
            sides: widths and heights as shares of the image, (n, 2).
        """
        if self.row.priors:
            found = boxes.kmeans_anchors(sides.numpy(), len(self.priors), seed=seed)
            self.priors.copy_(torch.from_numpy(found))
            _take_priors(self, None)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores of images (N, 3, H, W).

        Returns:
            Corners in pixels of the image, (N, boxes, 4), and of each class its probability,
            (N, boxes, classes); in training mode logits, the first one that of there being
            anything where the generation has that.
        """
        found = self.predictions(image)
        if self.row.decoupled:
            first = len(self.distances)
            distances, scores = by_anchor(found[:first], 4), by_anchor(found[first:], self.classes)
            return self._around(distances), scores if self.training else scores.sigmoid()
        count = self.row.boxes
        numbers = by_anchor([one[:, : 4 * count] for one in found], 4)
        there = by_anchor([one[:, 4 * count : 5 * count] for one in found], 1)
        kinds = by_anchor([one[:, 5 * count :] for one in found], self.classes)
        if self.row.shared:
            kinds = kinds.repeat_interleave(count, 1)
        corners = self._placed(numbers)
        if self.training:
            return corners, torch.cat((there, kinds), -1)
        shares = kinds.softmax(-1) if self.row.softmax else kinds.sigmoid()
        return corners, there.sigmoid() * shares

    def predictions(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps of all numbers, those of boxes first: all that weights have a part in."""
        maps = self.neck(self.backbone.maps(image))
        parts = (self.distances, self.scores) if self.row.decoupled else (self.predictors,)
        return tuple(one(x) for part in parts for one, x in zip(part, maps, strict=True))

    def _around(self, distances: Tensor) -> Tensor:
        """Boxes from the distances of their edges to the middle of the cell, in strides."""
        centre, stride = self.points[:, :2], self.points[:, 2:]
        reach = F.relu(distances) * stride
        return torch.cat((centre - reach[..., :2], centre + reach[..., 2:]), -1)

    def _placed(self, numbers: Tensor) -> Tensor:
        """Boxes whose centre is within the cell, and whose sides are in units of the priors."""
        centre = self.points[:, :2] + (numbers[..., :2].sigmoid() - 0.5) * self.points[:, 2:]
        if self.row.priors:
            half = numbers[..., 2:].clamp(max=MOST_GROWTH).exp() * (self.sides / 2)
        else:  # roots of shares (arXiv:1506.02640, section 2.2)
            half = numbers[..., 2:].square() * (self.sides / 2)
        return torch.cat((centre - half, centre + half), -1)


def _take_priors(network: nn.Module, loaded: object) -> None:
    """Sides of the prior of each box in pixels; after a state dict was loaded, too."""
    assert isinstance(network, YOLONetwork)
    height, width = network.size
    scale = network.priors.new_tensor((width, height))
    network.sides = network.priors.detach()[network.which] * scale


def _bias(branch: nn.Module) -> Tensor:
    assert isinstance(branch, Branch)
    assert branch.predict.bias is not None
    return branch.predict.bias


@dataclass(frozen=True, slots=True)
class YOLO:
    """A generation as a head."""

    name: str
    row: Generation
    task: str = "detect"
    classes: int = 80  # of COCO
    outputs: tuple[str, ...] = ("boxes", "scores")
    stride: int = 32

    def network(self, backbone: Backbone, classes: int, size: Size) -> nn.Module:
        """See `edgekit.models.heads.Head`."""
        return YOLONetwork(backbone, classes, size, self.row)

    def parameters(self, network: nn.Module) -> Mapping[str, Parameter]:
        """Nothing: its boxes are decoded."""
        return {}


YOLOV1, YOLOV2, YOLOV3, YOLOV8 = (YOLO(name, row) for name, row in GENERATIONS.items())
NEWEST = YOLO("yolo", GENERATIONS["yolov8"])
