"""What networks learn whose outputs are points of a sphere: near each other for images of a class.

Triplets (FaceNet, Schroff et al. 2015, arXiv:1503.03832) compare images of a batch with each other.
Softmax with a margin compares them with a centre of each class, which the network has in training
mode (CosFace, Wang et al. 2018, arXiv:1801.09414; ArcFace, Deng et al. 2018, arXiv:1801.07698).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgekit.data.truths import CLASS_LABELS, Truth

MININGS = ("semi-hard", "hard")
MARGINS = ("cosface", "arcface")

TRIPLET_MARGIN = 0.2  # arXiv:1503.03832, section 5: alpha, of squared distances
COSFACE_MARGIN, ARCFACE_MARGIN = 0.35, 0.5  # arXiv:1801.09414, section 4.2; arXiv:1801.07698, 3.2


@dataclass(frozen=True, slots=True)
class OfEmbeddings:
    """Embeddings of length 1: classes, and the embeddings of a network that is followed.

    Attributes:
        dimensions: numbers of an embedding.
        mining: of the negatives of triplets, of `MININGS`: those farther than the positive, or the
            nearest ones whatever; empty for no triplets.
        margin: kind of the softmax over cosines to classes, of `MARGINS`; empty for none.
        scale: of the cosines in front of that softmax.
    """

    dimensions: int
    mining: str = "semi-hard"
    margin: str = "cosface"
    scale: float = 16.0

    truth: ClassVar[Truth] = CLASS_LABELS
    labelled: ClassVar = True

    def loss(
        self, outputs: Tensor, labels: Tensor, wanted: Tensor | None, *, training: bool
    ) -> Tensor:
        """The mean of softmax and triplets; in equal parts the distance from what is wanted.

        Args:
            outputs: (n, dimensions), or with the cosines to the centres of classes behind. Images
                of classes without a centre learn by triplets alone.
        """
        found, cosines = outputs[:, : self.dimensions], outputs[:, self.dimensions :]
        losses = []
        if self.margin and cosines.shape[1]:
            known = labels < cosines.shape[1]  # a network may see other data than at first
            if known.any():
                own = cosines[known], labels[known]
                losses.append(margin_softmax(*own, self.margin, self.scale))
        if self.mining or not losses:  # without centres only triplets are left
            losses.append(triplets(found, labels, self.mining or "semi-hard"))
        loss = torch.stack(losses).mean()
        if wanted is None:
            return loss
        return (loss + self.apart(outputs, wanted)) / 2

    def apart(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """The square of the distance, a mean over samples."""
        own, theirs = (rows[:, : self.dimensions] for rows in (outputs, wanted))
        return (own - theirs).square().sum(1).mean()

    def effect(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """How much nearer images of the same class are than others, a softmax over a batch."""
        return neighbours(outputs[:, : self.dimensions], labels, self.scale)

    def tally(self) -> _Nearest:
        """Recall at 1, and the loss of triplets of the hardest negatives."""
        return _Nearest(self)

    def relative_to(self, reference: NDArray[Any], what: str) -> OfEmbeddings:
        """All are of length 1."""
        return self


def squared_distances(points: Tensor) -> Tensor:
    """Of each point (n, D) of length 1 from each, (n, n)."""
    return (2 - 2 * points @ points.T).clamp(min=0)


def triplets(points: Tensor, labels: Tensor, mining: str, margin: float = TRIPLET_MARGIN) -> Tensor:
    """How much farther positives are than negatives, plus a margin, a mean over triplets.

    Each pair of a class is an anchor and a positive, and gets a negative of the batch. Semi-hard is
    the nearest that is farther than the positive, and the farthest of all where none is: hard ones
    draw all points together at the start (arXiv:1503.03832, section 3.2). Hard takes the farthest
    positive and the nearest negative of each anchor (arXiv:1703.07737).

    Args:
        points: (n, D), of length 1.
        labels: (n,).

    Returns:
        0 for a batch without a triplet.
    """
    distances = squared_distances(points)
    alike = labels[:, None] == labels[None, :]
    positive = alike & ~torch.eye(len(points), dtype=torch.bool, device=points.device)
    has = positive.any(1) & ~alike.all(1)
    if not has.any():
        return distances.sum() * 0
    distances, alike, positive = distances[has], alike[has], positive[has]
    if mining == "hard":
        far = distances.masked_fill(~positive, -1.0).amax(1)
        near = distances.masked_fill(alike, math.inf).amin(1)
        return F.relu(far - near + margin).mean()
    anchors, others = positive.nonzero(as_tuple=True)
    pairs = distances[anchors, others]
    negatives = distances[anchors].masked_fill(alike[anchors], math.inf)
    beyond = negatives.masked_fill(negatives <= pairs[:, None], math.inf).amin(1)
    farthest = distances[anchors].masked_fill(alike[anchors], -1.0).amax(1)
    negative = torch.where(beyond.isfinite(), beyond, farthest)
    return F.relu(pairs - negative + margin).mean()


def margin_softmax(cosines: Tensor, labels: Tensor, kind: str, scale: float) -> Tensor:
    """Cross-entropy of cosines, of which that of the right class has to win by a margin.

    Args:
        cosines: to the centre of each class, (n, classes).
        kind: of `MARGINS`: the margin is taken off the cosine, or added to the angle.
    """
    own = cosines.gather(1, labels[:, None])
    if kind == "cosface":
        lessened = own - COSFACE_MARGIN
    else:
        # Beyond pi the cosine would rise again; from there on it falls with the slope of the sine.
        limit = math.cos(math.pi - ARCFACE_MARGIN)
        bounded = own.clamp(-1 + 1e-6, 1 - 1e-6)
        turned = torch.cos(torch.acos(bounded) + ARCFACE_MARGIN)
        past = own - math.sin(ARCFACE_MARGIN) * ARCFACE_MARGIN
        lessened = torch.where(own > limit, turned, past)
    logits = scale * cosines.scatter(1, labels[:, None], lessened)
    return F.cross_entropy(logits, labels)


def neighbours(points: Tensor, labels: Tensor, scale: float) -> Tensor:
    """Cross-entropy of whether the neighbours of an image in its batch are of its class.

    A softmax over the other images (neighbourhood components, Goldberger et al. 2004).
    """
    n = len(points)
    itself = torch.eye(n, dtype=torch.bool, device=points.device)
    logits = (scale * points @ points.T).masked_fill(itself, -math.inf)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    has = positive.any(1)
    if not has.any():
        return points.sum() * 0
    right = logits.masked_fill(~positive, -math.inf)[has]
    return (logits[has].logsumexp(1) - right.logsumexp(1)).mean()


class _Nearest:
    """The figure needs all embeddings, as neighbours may be in any part."""

    def __init__(self, objective: OfEmbeddings) -> None:
        self._dimensions = objective.dimensions
        self._points: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, outputs: Tensor, labels: Tensor, wanted: Tensor | None) -> None:
        self._points.append(outputs[:, : self._dimensions].detach())
        self._labels.append(labels)

    @property
    def figure(self) -> float:
        points, labels = torch.cat(self._points), torch.cat(self._labels)
        found = labels[_nearest(points)] == labels
        return float(found.float().mean())

    @property
    def loss(self) -> float:
        points, labels = torch.cat(self._points), torch.cat(self._labels)
        parts = zip(*(torch.split(one, _AT_ONCE) for one in (points, labels)), strict=True)
        return float(torch.stack([triplets(p, one, "hard") for p, one in parts]).mean())


_AT_ONCE = 1024
"""Points that are compared with all others together."""


def _nearest(points: Tensor) -> Tensor:
    """Place of the nearest other point of each, (n,)."""
    found = []
    for start in range(0, len(points), _AT_ONCE):
        cosines = points[start : start + _AT_ONCE] @ points.T
        rows = torch.arange(len(cosines), device=points.device)
        cosines[rows, rows + start] = -math.inf
        found.append(cosines.argmax(1))
    return torch.cat(found)
