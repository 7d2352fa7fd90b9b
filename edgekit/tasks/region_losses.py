"""What two-stage detectors learn: where objects may be, and then what each region is.

A network that follows another one learns of each of its regions what the other one says of the
region that lies there, and that there is nothing where that one has none.

Both stages learn at once, as by the authors' approximate joint training (arXiv:1506.01497, section
3.2). Of what is nothing the worst takes part (arXiv:1604.03540), rather than a sample that is
drawn. Regions are matched by the boxes that the second stage makes of them, which are near to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgekit.data.truths import BOX_TRUTH, BoxTruth
from edgekit.errors import ModelError
from edgekit.models.heads.coding import RegionCoding
from edgekit.models.heads.regions import areas, chosen, overlaps
from edgekit.tasks.box_losses import CROWDED, NEGATIVES, Assigned, Objects, in_parts
from edgekit.tasks.box_tally import FoundBoxes

OBJECT, NOTHING = 0.7, 0.3
"""Overlap from which on an anchor answers for an object, and up to which it does for nothing
(arXiv:1506.01497, section 3.1.2)."""

REGION = 0.5  # the same of regions, for both (arXiv:1504.08083, section 2.3)

PLACE, GROWTH = 10.0, 5.0
"""Weights of differences of the second stage (the authors' code); those of the first have none."""

LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class OfRegions:
    """Boxes and scores of regions, and in training those of the anchors behind them.

    Attributes:
        classes: of objects.
    """

    coding: RegionCoding
    classes: int

    truth: ClassVar[BoxTruth] = BOX_TRUTH
    labelled: ClassVar = True

    def loss(
        self, outputs: Tensor, labels: Tensor, wanted: Tensor | None, *, training: bool
    ) -> Tensor:
        """That of both stages in training, of the second one alone in eval mode.

        Args:
            outputs: (n, numbers): all boxes, then all scores.
            labels: (n, most, 6), see `edgekit.data.truths.BoxTruth`.
            wanted: of a network with the same outputs in eval mode; ``None`` without one.
            training: see `edgekit.tasks.objectives.Objective`.

        Raises:
            ModelError: ``wanted`` are other outputs.
        """
        corners, scores = self._split(outputs, training=training)
        objects = Objects.of(labels.to(corners.dtype))
        count, each = self.coding.regions, self.coding.each
        boxes = corners[:, : count * each].reshape(len(corners), count, each, 4)
        if training:
            logits = scores[:, :count]
        else:  # of the boxes of a region each has a score of its own class
            logits = _logits(scores.reshape(len(scores), count, each, -1).sum(2))
        loss = _second(boxes, logits, objects)
        if training and len(self.coding.anchors):
            loss = loss + self._proposals(corners, scores, objects)
        if wanted is None:
            return loss
        return (loss + self._distance(boxes, logits.softmax(-1)[..., 1:], wanted)) / 2

    def _proposals(self, corners: Tensor, scores: Tensor, objects: Objects) -> Tensor:
        """The loss of the first stage."""
        count, each = self.coding.regions, self.coding.each
        anchors = torch.as_tensor(self.coding.anchors, dtype=corners.dtype, device=corners.device)
        return _first(corners[:, count * each :], -scores[:, count:, 0], anchors, objects)

    def apart(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """How far scores, and boxes of what is sure, are from those of another network."""
        return self._distance(*self._regions(outputs), wanted)

    def _regions(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (n, regions, each, 4) and scores (n, regions, classes) of rows in eval mode."""
        corners, scores = self._split(outputs, training=False)
        shape = (len(outputs), self.coding.regions, self.coding.each, -1)
        return corners.reshape(shape), scores.reshape(shape).sum(2)

    def _distance(self, boxes: Tensor, scores: Tensor, wanted: Tensor) -> Tensor:
        """See `apart`.

        Args:
            boxes: (n, regions, each, 4).
            scores: (n, regions, classes), from 0 to 1.
        """
        expected = self.coding.regions * self.coding.each * (4 + self.classes)
        if wanted.shape[1] != expected:
            raise ModelError(
                f"the network that is followed gives {wanted.shape[1]} numbers and not {expected}: "
                f"expected one with the same head, classes and resolution, of any backbone"
            )
        their_boxes, their_scores = self._regions(wanted)
        several = boxes.shape[2] > 1
        corners = _of_class(boxes, scores.argmax(-1) * several)
        others = _of_class(their_boxes, their_scores.argmax(-1) * several)
        with torch.no_grad():
            share, places = overlaps(corners, others).max(2)
            theirs = chosen(their_scores, places) * (share >= REGION)[..., None]
            sure = theirs.amax(-1)
            whole = sure.sum().clamp(min=1)
        own, theirs = scores.clamp(LEAST, 1 - LEAST), theirs.clamp(LEAST, 1 - LEAST)
        # Less the entropy of what is wanted, so that nothing is left where both are equal.
        off = theirs * (theirs / own).log() + (1 - theirs) * ((1 - theirs) / (1 - own)).log()
        right = chosen(others, places)
        low, high = (
            torch.maximum(corners[..., :2], right[..., :2]),
            torch.minimum(corners[..., 2:], right[..., 2:]),
        )
        shared = (high - low).clamp(min=0).prod(-1)
        overlap = shared / (areas(corners) + areas(right) - shared).clamp(min=LEAST)
        return (off.sum() + ((1 - overlap) * sure).sum()) / whole

    def parts(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (n, boxes, 4) and scores (n, boxes, classes) of rows in eval mode."""
        return self._split(outputs, training=False)

    def _split(self, outputs: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        more = len(self.coding.anchors) if training else 0
        count = self.coding.regions * self.coding.each + more
        corners, scores = outputs[:, : 4 * count], outputs[:, 4 * count :]
        n, columns = len(outputs), self.classes + training
        return corners.reshape(n, count, 4), scores.reshape(n, -1, columns)

    def effect(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of the labels."""
        return self.loss(outputs, labels, None, training=False)

    def tally(self) -> FoundBoxes:
        """Mean average precision, and the loss."""
        return FoundBoxes(self.parts, self.effect)

    def relative_to(self, reference: NDArray[Any], what: str) -> OfRegions:
        """Boxes are in pixels, scores need no units."""
        return self


def _first(corners: Tensor, logits: Tensor, anchors: Tensor, objects: Objects) -> Tensor:
    """Of region proposals: whether an anchor has an object, and its box.

    Args:
        corners: of the boxes of all anchors, (n, anchors, 4).
        logits: of an object, (n, anchors).
        anchors: (anchors, 4).
    """
    every = anchors.expand(len(corners), -1, -1)
    with torch.no_grad():
        found = in_parts(_answers, objects, anchors, len(anchors), every)
    positive = found.positive
    score = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    own = chosen(objects.corners, found.object)[positive]
    off = _from(corners[positive], every[positive]) - _from(own, every[positive])
    place = F.smooth_l1_loss(off, torch.zeros_like(off), reduction="sum", beta=1 / 9)
    return (score[_taken(score, found)].sum() + place) / positive.sum().clamp(min=1)


def _second(corners: Tensor, logits: Tensor, objects: Objects) -> Tensor:
    """Of regions: their class, or that they are of nothing, and their box.

    Args:
        corners: (n, regions, 1, 4), or a box for each class, (n, regions, classes, 4).
        logits: (n, regions, 1 + classes), that of nothing first.
    """
    each = corners.shape[2] > 1
    with torch.no_grad():
        likeliest = logits[..., 1:].argmax(-1) * each
        own = _of_class(corners, likeliest)
        found = in_parts(_near, objects, own[:0], own.shape[1], own)
    positive = found.positive
    classes = objects.classes.gather(1, found.object)
    columns = torch.where(positive, classes + 1, 0)
    score = F.cross_entropy(logits.transpose(1, 2), columns, reduction="none")
    own = chosen(objects.corners, found.object)[positive]
    off = _from(_of_class(corners, classes * each)[positive], own)
    off = off * off.new_tensor((PLACE, PLACE, GROWTH, GROWTH))
    place = F.smooth_l1_loss(off, torch.zeros_like(off), reduction="sum")
    return (score[_taken(score, found)].sum() + place) / positive.sum().clamp(min=1)


def _of_class(corners: Tensor, classes: Tensor) -> Tensor:
    """The box of each region (n, regions, boxes, 4) for a class of its own (n, regions)."""
    places = classes[..., None, None].expand(-1, -1, 1, 4)
    return corners.gather(2, places)[:, :, 0]


def _answers(objects: Objects, anchors: Tensor, corners: Tensor) -> Assigned:
    return _assigned(objects, corners, OBJECT, NOTHING, best=True)


def _near(objects: Objects, anchors: Tensor, corners: Tensor) -> Assigned:
    return _assigned(objects, corners, REGION, REGION, best=False)


def _assigned(
    objects: Objects, corners: Tensor, high: float, low: float, *, best: bool
) -> Assigned:
    """Which boxes answer for which objects.

    Args:
        corners: (n, boxes, 4).
        high: overlap from which on one does.
        low: up to which one answers for nothing.
        best: whether the one that overlaps an object most does anyway.
    """
    count = corners.shape[1]
    overlap = overlaps(objects.corners, corners).masked_fill(~objects.there[..., None], -1.0)
    share, own = overlap.max(1)
    positive = share >= high
    if best:
        # Of what is no object the best one is behind the last, which is cut off again.
        most, places = overlap.max(2)
        places = places.masked_fill(~objects.there | (most <= 0), count)
        positive = F.pad(positive, (0, 1)).scatter(1, places, value=True)[:, :-1]
        numbers = torch.arange(places.shape[1], device=places.device).expand_as(places)
        own = F.pad(own, (0, 1)).scatter(1, places, numbers)[:, :-1]
    crowded = (_inside(corners, objects.corners) >= CROWDED) & objects.crowd[:, None]
    ignored = crowded.any(2) | (share > low) & (share < high)
    return Assigned(own, positive, ignored & ~positive, share)


def _inside(corners: Tensor, others: Tensor) -> Tensor:
    """Share of each box (n, boxes, 4) that lies in each of others (n, m, 4)."""
    one, other = corners[:, :, None], others[:, None]
    low, high = (
        torch.maximum(one[..., :2], other[..., :2]),
        torch.minimum(one[..., 2:], other[..., 2:]),
    )
    area = (one[..., 2:] - one[..., :2]).clamp(min=0).prod(-1)
    return (high - low).clamp(min=0).prod(-1) / area.clamp(min=LEAST)


def _taken(score: Tensor, found: Assigned) -> Tensor:
    """What counts: all that answers for objects, and of each image the worst of the rest."""
    worst = score.detach().masked_fill(found.positive | found.ignored, -1.0)
    rank = worst.argsort(1, descending=True).argsort(1)
    most = (NEGATIVES * found.positive.sum(1, keepdim=True)).clamp(min=NEGATIVES)
    return found.positive | ((rank < most) & (worst >= 0))


def _from(corners: Tensor, others: Tensor) -> Tensor:
    """Differences of boxes from others, both (n, 4), in sides of these."""
    sides = (others[:, 2:] - others[:, :2]).clamp(min=LEAST)
    own = (corners[:, 2:] - corners[:, :2]).clamp(min=LEAST)
    middles = (corners[:, :2] + own / 2 - others[:, :2] - sides / 2) / sides
    return torch.cat((middles, (own / sides).log()), 1)


def _logits(scores: Tensor) -> Tensor:
    """What gives such probabilities."""
    nothing = 1 - scores.sum(-1, keepdim=True)
    return torch.cat((nothing, scores), -1).clamp(min=LEAST).log()
