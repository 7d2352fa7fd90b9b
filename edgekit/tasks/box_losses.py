"""What detectors learn: which of their boxes answer for which objects, and how far they are off.

SSD matches anchors and objects by overlap and mines hard negatives (arXiv:1512.02325, section 2.2);
scores of which each class stands by itself learn by the focal loss (arXiv:1708.02002). YOLO lets
one box of the cell answer that the centre of an object lies in (arXiv:1506.02640, 1612.08242,
1804.02767); its newest line, without anchors, lets those answer that find the object best already
(task alignment, arXiv:2108.07755).

All of it works on a whole batch at once; images without any object, and objects that padding
stands for, take part in nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.boxes import VARIANCES
from edgekit.data.truths import BOX_TRUTH, BoxTruth
from edgekit.errors import ModelError
from edgekit.models.heads.coding import AnchorCoding, CellCoding, Coding, RegionCoding
from edgekit.tasks.box_tally import FoundBoxes
from edgekit.tasks.objectives import Objective

MATCHED = 0.5
"""Overlap from which on an anchor answers for an object (arXiv:1512.02325, section 2.2)."""

BETWEEN = 0.4
"""Of the focal loss: anchors that overlap an object by this to `MATCHED` are told nothing
(arXiv:1708.02002, section 4.1)."""

NEGATIVES = 3
"""Anchors that are told that there is nothing, for each that answers for an object
(arXiv:1512.02325, section 2.2)."""

ALPHA, GAMMA = 0.5, 1.5
"""Of the focal loss. arXiv:1708.02002, section 5.1, has 0.25 and 2 for 100,000 anchors an image and
80 classes; the more anchors are of nothing, the more has to be held back. SSDLite has 840 anchors
at 160 px: on digit-scenes, 10 epochs, mAP on validation images is 40.8 % with these and the weight
of boxes below; with those of the paper and a weight of 0.3 it is 32 % after 9 epochs."""

ANCHOR_BOX_WEIGHT = 0.5
"""Of smooth L1 beside the focal loss: places are learned sooner than classes."""

CANDIDATES, SCORE_POWER, OVERLAP_POWER = 10, 0.5, 6.0
"""Of task alignment: boxes that may answer for an object, and the powers of their score and their
overlap (those of the line's code; arXiv:2108.07755 has 13, 1 and 6)."""

BOX_WEIGHT, SCORE_WEIGHT = 7.5, 0.5
"""Of the aligned loss (the line's code)."""

CELL_BOX_WEIGHT, NOTHING_WEIGHT = 5.0, 0.5
"""Of the loss by cells (arXiv:1506.02640, equation 3)."""

CROWDED = 0.5
"""Share of an anchor inside of a crowd from which on it is told nothing."""

PAIRS_AT_ONCE = 1 << 24
"""Pairs of an object and a box that are looked at together; as float32 64 MiB a matrix."""

MOST_PADDING, FEW = 2, 32
"""Images are looked at together whose objects, padded, are at most so many times as many; and those
of few objects in any case."""

LEAST = 1e-7
"""Sides, areas and probabilities are at least this where they divide or have a logarithm."""


class Objects(NamedTuple):
    """Objects of some images, padded.

    Attributes:
        corners: (n, most, 4).
        classes: (n, most), 0 of what is none.
        there: (n, most), whether it is an object that is to be found.
        crowd: (n, most), whether it is a crowd.
    """

    corners: Tensor
    classes: Tensor
    there: Tensor
    crowd: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> Objects:
        """Of `edgekit.data.truths.BoxTruth.stacked`, cut to the image that has most."""
        known = labels[..., 4] >= 0
        last = known.any(0).nonzero()
        most = int(last[-1, 0]) + 1 if len(last) else 0
        if most == 0:  # no image has an object
            labels, most = labels.new_full((len(labels), 1, 6), -1), 1
        labels = labels[:, :most]
        known = labels[..., 4] >= 0
        crowd = known & (labels[..., 5] > 0)
        classes = labels[..., 4].clamp(min=0).long()
        return cls(labels[..., :4], classes, known & ~crowd, crowd)


class Assigned(NamedTuple):
    """What each box of some images is to learn.

    Attributes:
        object: (n, boxes), index of the object that it answers for; any where it does for none.
        positive: (n, boxes), whether it answers for one.
        ignored: (n, boxes), whether it is told neither.
        share: (n, boxes), of positive ones how sure they are to be.
    """

    object: Tensor
    positive: Tensor
    ignored: Tensor
    share: Tensor


@dataclass(frozen=True, slots=True)
class OfBoxes:
    """Boxes and scores of classes, by the coding of the network's head.

    Attributes:
        classes: of objects.
    """

    coding: Coding
    classes: int

    truth: ClassVar[BoxTruth] = BOX_TRUTH
    labelled: ClassVar = True

    @property
    def count(self) -> int:
        """Boxes that the network gives for an image."""
        coding = self.coding
        return len(coding.anchors if isinstance(coding, AnchorCoding) else coding.cells)

    def loss(
        self, outputs: Tensor, labels: Tensor, wanted: Tensor | None, *, training: bool
    ) -> Tensor:
        """That of the head's generation; in equal parts the distance from what is wanted.

        Args:
            outputs: (n, numbers): all boxes, then all scores; logits in training.
            labels: (n, most, 6), see `edgekit.data.truths.BoxTruth`.
            wanted: of a network with the same boxes; ``None`` without one.
            training: see `edgekit.tasks.objectives.Objective`.

        Raises:
            ModelError: ``wanted`` are other boxes.
        """
        corners, scores = self.parts(outputs)
        objects = Objects.of(labels.to(corners.dtype))
        logits = scores if training else self._logits(scores)
        if isinstance(self.coding, AnchorCoding):
            loss = _of_anchors(corners, logits, objects, self.coding)
        elif self.coding.aligned:
            loss = _of_aligned(corners, logits, objects, self.coding)
        else:
            loss = _of_cells(corners, logits, objects, self.coding, training=training)
        if wanted is None:
            return loss
        if wanted.shape[1] != self.count * (4 + self.classes):
            raise ModelError(
                f"the network that is followed gives {wanted.shape[1]} numbers and not "
                f"{self.count * (4 + self.classes)}: expected one with the same head, classes and "
                f"resolution, of any backbone"
            )
        return (loss + self._distance(corners, logits, wanted, training=training)) / 2

    def apart(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """How far scores, and boxes of what is sure, are from those of another network."""
        corners, scores = self.parts(outputs)
        return self._distance(corners, self._logits(scores), wanted, training=False)

    def parts(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (n, boxes, 4) and scores (n, boxes, columns) of rows of outputs."""
        corners, scores = outputs[:, : 4 * self.count], outputs[:, 4 * self.count :]
        n = len(outputs)
        return corners.reshape(n, self.count, 4), scores.reshape(n, self.count, -1)

    @property
    def _exclusive(self) -> bool:
        """Whether logits have a column for the background and classes exclude each other."""
        return isinstance(self.coding, AnchorCoding) and self.coding.background

    def _logits(self, scores: Tensor) -> Tensor:
        """What gives such probabilities."""
        if self._exclusive:
            nothing = 1 - scores.sum(-1, keepdim=True)
            return torch.cat((nothing, scores), -1).clamp(min=LEAST).log()
        return torch.logit(scores, LEAST)

    def _probabilities(self, logits: Tensor, *, training: bool) -> Tensor:
        """Of the classes, as in eval mode."""
        if self._exclusive:
            return logits.softmax(-1)[..., 1:]
        if isinstance(self.coding, CellCoding) and self.coding.objectness and training:
            return _products(logits, self.coding)
        return logits.sigmoid()

    def _distance(
        self, corners: Tensor, logits: Tensor, wanted: Tensor, *, training: bool
    ) -> Tensor:
        """How far scores, and boxes of what is sure, are from those of another network."""
        their_corners, their_scores = self.parts(wanted)
        sure = their_scores.amax(-1)
        whole = sure.sum().clamp(min=1)
        own = self._probabilities(logits, training=training).clamp(LEAST, 1 - LEAST)
        theirs = their_scores.clamp(LEAST, 1 - LEAST)
        # Less the entropy of what is wanted, so that nothing is left where both are equal.
        off = theirs * (theirs / own).log() + (1 - theirs) * ((1 - theirs) / (1 - own)).log()
        apart = 1 - _overlap(corners, their_corners)
        return (off.sum() + (apart * sure).sum()) / whole

    def effect(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of the labels."""
        return self.loss(outputs, labels, None, training=False)

    def tally(self) -> FoundBoxes:
        """Mean average precision, and the loss."""
        return FoundBoxes(self.parts, self.effect)

    def relative_to(self, reference: NDArray[Any], what: str) -> OfBoxes:
        """Boxes are in pixels, scores need no units."""
        return self


def objective_of(module: nn.Module, classes: int, source: str) -> Objective:
    """What a network with a detection head learns.

    Args:
        classes: of objects that it tells apart.
        source: names it in messages.

    Raises:
        ModelError: its head is none whose loss is here.
    """
    for layer in module.modules():
        coding = getattr(layer, "coding", None)
        if isinstance(coding, AnchorCoding | CellCoding):
            return OfBoxes(coding, classes)
        if isinstance(coding, RegionCoding):
            from edgekit.tasks.region_losses import OfRegions

            return OfRegions(coding, classes)
    raise ModelError(
        f"'{source}' cannot be trained here: its head has no loss in edgekit; train it with its "
        f"own code, or take a network such as mobilenetv3-small+ssdlite or +yolo"
    )


def _of_anchors(corners: Tensor, logits: Tensor, objects: Objects, coding: AnchorCoding) -> Tensor:
    """SSD's: smooth L1 of the differences from the anchors, and a loss of scores."""
    middles = torch.as_tensor(coding.anchors, dtype=corners.dtype, device=corners.device)
    anchors = torch.cat(
        (middles[:, :2] - middles[:, 2:] / 2, middles[:, :2] + middles[:, 2:] / 2), 1
    )
    with torch.no_grad():
        found = in_parts(_matched, objects, anchors, len(anchors))
    positive = found.positive
    whole = positive.sum().clamp(min=1)
    right = _own(objects.corners, found.object)[positive]
    own = middles.expand(len(corners), -1, -1)[positive]
    off = _encoded(corners[positive], own) - _encoded(right, own)
    place = F.smooth_l1_loss(off, torch.zeros_like(off), reduction="sum")
    classes = objects.classes.gather(1, found.object)
    if coding.background:
        return (place + _mined(logits, classes, found)) / whole
    score = _focal(logits, classes, positive)
    told = score[~(found.ignored | _hardly(found))].sum()
    return (ANCHOR_BOX_WEIGHT * place + told) / whole


def _hardly(found: Assigned) -> Tensor:
    """Boxes that overlap an object too much to be nothing, and too little to answer for it."""
    return (found.share >= BETWEEN) & ~found.positive


def _encoded(corners: Tensor, anchors: Tensor) -> Tensor:
    """Differences from anchors, as `edgekit.boxes.encode` has them."""
    first, last = corners.chunk(2, -1)
    centre = ((first + last) / 2 - anchors[..., :2]) / (anchors[..., 2:] * VARIANCES[0])
    growth = ((last - first).clamp(min=LEAST) / anchors[..., 2:]).log() / VARIANCES[2]
    return torch.cat((centre, growth), -1)


def _matched(objects: Objects, anchors: Tensor) -> Assigned:
    """Anchors that overlap an object by half, and the best one of each object."""
    shared, area = _shared(objects.corners[:, :, None], anchors[None, None])
    sides = (objects.corners[..., 2:] - objects.corners[..., :2]).clamp(min=0).prod(-1)
    overlap = shared / (sides[..., None] + area - shared).clamp(min=LEAST)
    overlap = overlap.masked_fill(~objects.there[..., None], -1.0)
    share, own = overlap.max(1)
    positive = share >= MATCHED
    # Of what is no object the best anchor is one behind the last, which is cut off again.
    best = overlap.argmax(2).masked_fill(~objects.there, len(anchors))
    positive = F.pad(positive, (0, 1)).scatter(1, best, value=True)[:, :-1]
    numbers = torch.arange(best.shape[1], device=best.device).expand_as(best)
    own = F.pad(own, (0, 1)).scatter(1, best, numbers)[:, :-1]
    inside = shared / area.clamp(min=LEAST) >= CROWDED
    crowded = (inside & objects.crowd[..., None]).any(1)
    return Assigned(own, positive, crowded & ~positive, share)


def _mined(logits: Tensor, classes: Tensor, found: Assigned) -> Tensor:
    """Cross-entropy of what answers for objects, and of the worst of the rest."""
    columns = torch.where(found.positive, classes + 1, 0)
    score = F.cross_entropy(logits.transpose(1, 2), columns, reduction="none")
    # What is neither is never among the worst.
    worst = score.detach().masked_fill(found.positive | found.ignored, -1.0)
    rank = worst.argsort(1, descending=True).argsort(1)
    # An image without an object, too, tells what nothing looks like.
    most = (NEGATIVES * found.positive.sum(1, keepdim=True)).clamp(min=NEGATIVES)
    hard = (rank < most) & (worst >= 0)
    return score[found.positive | hard].sum()


def _focal(logits: Tensor, classes: Tensor, positive: Tensor) -> Tensor:
    """Focal loss of each box, all classes added up, (n, boxes)."""
    right = F.one_hot(classes, logits.shape[-1]).to(logits.dtype) * positive[..., None]
    plain = F.binary_cross_entropy_with_logits(logits, right, reduction="none")
    probability = logits.sigmoid()
    missing = probability + right - 2 * probability * right
    weight = ALPHA * right + (1 - ALPHA) * (1 - right)
    return (weight * missing.pow(GAMMA) * plain).sum(-1)


def _of_aligned(corners: Tensor, logits: Tensor, objects: Objects, coding: CellCoding) -> Tensor:
    """Boxes answer for objects that they are inside of and find best; see `_aligned`."""
    cells = torch.as_tensor(coding.cells, dtype=corners.dtype, device=corners.device)
    with torch.no_grad():
        probabilities = logits.detach().sigmoid()
        found = in_parts(_aligned, objects, cells, len(cells), corners.detach(), probabilities)
    share = found.share * found.positive
    classes = objects.classes.gather(1, found.object)
    right = F.one_hot(classes, logits.shape[-1]).to(logits.dtype) * share[..., None]
    score = F.binary_cross_entropy_with_logits(logits, right, reduction="none").sum(-1)
    whole = share.sum().clamp(min=1)
    own = _own(objects.corners, found.object)[found.positive]
    apart = 1 - _complete(corners[found.positive], own)
    place = (apart * share[found.positive]).sum()
    return (BOX_WEIGHT * place + SCORE_WEIGHT * score[~found.ignored].sum()) / whole


def _aligned(objects: Objects, cells: Tensor, corners: Tensor, scores: Tensor) -> Assigned:
    """Task alignment: the ten best cells inside of each object, by score and overlap."""
    centre = cells[:, :2]
    first, last = objects.corners[:, :, None].chunk(2, -1)
    inside = ((centre > first) & (centre < last)).all(-1)
    # An object between all cells has the nearest one.
    far = ((first + last) / 2 - centre).square().sum(-1)
    inside = inside.scatter(2, far.argmin(2, keepdim=True), value=True)
    inside &= objects.there[..., None]
    overlap = _overlap(objects.corners[:, :, None], corners[:, None])
    columns = objects.classes[:, None].expand(-1, scores.shape[1], -1)
    score = scores.gather(2, columns).transpose(1, 2)
    fit = score.pow(SCORE_POWER) * overlap.pow(OVERLAP_POWER)
    ranked = torch.where(inside, fit, -1.0)
    best = ranked.topk(min(CANDIDATES, ranked.shape[2]), 2).indices
    chosen = torch.zeros_like(inside).scatter(2, best, value=True) & inside
    # A cell that several objects choose answers for the one that it overlaps most.
    overlap = torch.where(chosen, overlap, -1.0)
    own = overlap.argmax(1)
    positive = chosen.any(1)
    numbers = torch.arange(chosen.shape[1], device=own.device)[None, :, None]
    chosen &= own[:, None] == numbers
    fit, overlap = torch.where(chosen, fit, 0.0), torch.where(chosen, overlap, 0.0)
    most = fit.amax(2, keepdim=True).clamp(min=LEAST**2)
    share = (fit / most * overlap.amax(2, keepdim=True)).amax(1)
    return Assigned(own, positive, _crowded(centre, objects) & ~positive, share)


def _crowded(points: Tensor, objects: Objects) -> Tensor:
    """Which points lie in a crowd, (n, points)."""
    first, last = objects.corners[:, :, None].chunk(2, -1)
    held = ((points > first) & (points < last)).all(-1)
    return (held & objects.crowd[..., None]).any(1)


def _of_cells(
    corners: Tensor, logits: Tensor, objects: Objects, coding: CellCoding, *, training: bool
) -> Tensor:
    """One box of the cell that an object's centre lies in answers for it."""
    cells = torch.as_tensor(coding.cells, dtype=corners.dtype, device=corners.device)
    with torch.no_grad():
        found = in_parts(_by_cell, objects, cells, len(cells), corners.detach(), coding)
    positive = found.positive
    whole = positive.sum().clamp(min=1)
    own = cells.expand(len(corners), -1, -1)[positive]
    right = _own(objects.corners, found.object)[positive]
    off = _placed(corners[positive], own, coding) - _placed(right, own, coding)
    place = CELL_BOX_WEIGHT * off.square().sum()
    sure = found.share.clamp(0, 1) if coding.overlap else torch.ones_like(found.share)
    sure = torch.where(positive, sure, 0.0)
    weight = torch.where(positive, 1.0, NOTHING_WEIGHT) * ~found.ignored
    classes = objects.classes.gather(1, found.object)
    if not training:  # the product alone is known
        wanted = F.one_hot(classes, logits.shape[-1]) * sure[..., None]
        score = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return (place + (score.sum(-1) * weight).sum()) / whole
    there = F.binary_cross_entropy_with_logits(logits[..., 0], sure, reduction="none")
    kinds, classes = logits[..., 1:][positive], classes[positive]
    if coding.softmax:
        score = F.cross_entropy(kinds, classes, reduction="sum")
    else:
        wanted = F.one_hot(classes, kinds.shape[-1]).to(kinds.dtype)
        score = F.binary_cross_entropy_with_logits(kinds, wanted, reduction="sum")
    return (place + (there * weight).sum() + score) / whole


def _by_cell(objects: Objects, cells: Tensor, corners: Tensor, coding: CellCoding) -> Assigned:
    """The box of each object: of its cell the one of the likest sides, or the largest overlap."""
    first, last = objects.corners.chunk(2, -1)
    middle, sides = (first + last) / 2, (last - first).clamp(min=LEAST)
    centre, stride = cells[:, :2], cells[:, 2:3]
    low, high = centre - stride / 2, centre + stride / 2
    point = middle[:, :, None]
    held = ((point >= low) & (point < high)).all(-1)
    overlap = _overlap(objects.corners[:, :, None], corners[:, None])
    fit = overlap
    if coding.priors:
        common = torch.minimum(sides[:, :, None], cells[:, 3:5]).prod(-1)
        areas = sides.prod(-1)[..., None] + cells[:, 3:5].prod(-1)
        fit = common / (areas - common)
    ranked = torch.where(held & objects.there[..., None], fit, -1.0)
    best = ranked.argmax(2).masked_fill(~objects.there, len(cells))
    positive = torch.zeros(len(best), len(cells) + 1, dtype=torch.bool, device=best.device)
    positive = positive.scatter(1, best, value=True)[:, :-1]
    numbers = torch.arange(best.shape[1], device=best.device).expand_as(best)
    own = torch.zeros(len(best), len(cells) + 1, dtype=torch.long, device=best.device)
    own = own.scatter(1, best, numbers)[:, :-1]
    share = overlap.gather(1, own[:, None])[:, 0]
    near = torch.where(objects.there[..., None], overlap, 0.0).amax(1) > coding.ignored
    near |= _crowded(centre, objects)
    return Assigned(own, positive, near & ~positive, share)


def _placed(corners: Tensor, cells: Tensor, coding: CellCoding) -> Tensor:
    """A box as its cell learns it: the centre in cells, and its sides.

    Those are logarithms against the prior's, or without priors roots of shares of the image.
    """
    first, last = corners.chunk(2, -1)
    centre = ((first + last) / 2 - cells[:, :2]) / cells[:, 2:3]
    sides = (last - first).clamp(min=LEAST)
    if coding.priors:
        return torch.cat((centre, (sides / cells[:, 3:5]).log()), -1)
    height, width = coding.size
    return torch.cat((centre, (sides / sides.new_tensor((width, height))).sqrt()), -1)


def _products(logits: Tensor, coding: CellCoding) -> Tensor:
    """Probabilities of classes from logits with that of there being anything."""
    kinds = logits[..., 1:]
    return logits[..., :1].sigmoid() * (kinds.softmax(-1) if coding.softmax else kinds.sigmoid())


def in_parts(assign: Any, objects: Objects, cells: Tensor, count: int, *others: Any) -> Assigned:
    """Assigns images so many at once that memory suffices, those with as many objects together.

    So one image of a thousand objects does not make all others of its batch as wide.

    Args:
        assign: is given objects, ``cells`` and, of each image, ``others``.
        count: boxes of an image.
    """
    places = torch.arange(1, objects.there.shape[1] + 1, device=objects.there.device)
    widths = ((objects.there | objects.crowd) * places).amax(1).clamp(min=1)
    order = widths.argsort(stable=True)
    found = []
    for part, width in _packed(order.tolist(), widths[order].tolist(), count):
        own = torch.tensor(part, device=order.device)
        found.append(
            assign(
                Objects(*(one[own, :width] for one in objects)),
                cells,
                *(one[own] if isinstance(one, Tensor) else one for one in others),
            )
        )
    back = order.argsort()
    return Assigned(*(torch.cat(one)[back] for one in zip(*found, strict=True)))


def _packed(order: list[int], widths: list[int], count: int) -> Iterator[tuple[list[int], int]]:
    """Images to assign together, and the most objects of one.

    Args:
        order: of the images, those of few objects first.
        widths: objects of each, in this order.
        count: boxes of an image.
    """
    part: list[int] = []
    whole = 0
    for i, (image, width) in enumerate(zip(order, widths, strict=True)):
        padded = width * (len(part) + 1)
        much = padded > MOST_PADDING * (whole + width) and width > FEW
        if part and (much or padded * count > PAIRS_AT_ONCE):
            yield part, widths[i - 1]
            part, whole = [], 0
        part.append(image)
        whole += width
    yield part, widths[-1]


def _own(corners: Tensor, objects: Tensor) -> Tensor:
    """The box of the object of each, (n, boxes, 4)."""
    return corners.gather(1, objects[..., None].expand(-1, -1, 4))


def _shared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Area that boxes have in common, and that of the second ones."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    area = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    return (high - low).clamp(min=0).prod(-1), area


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4)."""
    shared, area = _shared(a, b)
    whole = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1) + area - shared
    return shared / whole.clamp(min=LEAST)


def _complete(a: Tensor, b: Tensor) -> Tensor:
    """Complete intersection over union (arXiv:1911.08287): with distance and proportions."""
    overlap = _overlap(a, b)
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    diagonal = (high - low).square().sum(-1).clamp(min=LEAST)
    apart = ((a[..., :2] + a[..., 2:]) - (b[..., :2] + b[..., 2:])).square().sum(-1) / 4
    turn = 4 / torch.pi**2 * (_slope(b) - _slope(a)).square()
    with torch.no_grad():
        weight = turn / (1 - overlap + turn).clamp(min=LEAST)
    return overlap - apart / diagonal - weight * turn


def _slope(corners: Tensor) -> Tensor:
    """Angle of the diagonal."""
    sides = (corners[..., 2:] - corners[..., :2]).clamp(min=LEAST)
    return torch.atan(sides[..., 0] / sides[..., 1])
