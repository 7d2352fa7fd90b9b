"""What networks learn that tell the class of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgekit.core.objects import IGNORE
from edgekit.data.truths import MASK_TRUTH, Truth
from edgekit.tasks.overlaps import confusions, mean_iou


@dataclass(frozen=True, slots=True)
class OfMasks:
    """Logits of classes for each pixel: masks, and the scores of a network that is followed.

    Attributes:
        classes: of pixels.
        size: height and width of the scores, and of the masks.
    """

    classes: int
    size: tuple[int, int]

    truth: ClassVar[Truth] = MASK_TRUTH
    labelled: ClassVar = True

    def maps(self, outputs: Tensor) -> Tensor:
        """Rows (n, numbers) as scores (n, classes, height, width)."""
        return outputs.reshape(-1, self.classes, *self.size)

    def loss(
        self, outputs: Tensor, labels: Tensor, wanted: Tensor | None, *, training: bool
    ) -> Tensor:
        """Cross-entropy, a mean over pixels; in equal parts the divergence from what is wanted.

        Pixels of `IGNORE` count in the second part only.
        """
        loss = self.effect(outputs, labels)
        if wanted is None:
            return loss
        return (loss + self.apart(outputs, wanted)) / 2

    def apart(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """The divergence of probabilities, a mean over pixels."""
        own, taught = (F.log_softmax(self.maps(scores), 1) for scores in (outputs, wanted))
        return F.kl_div(own, taught, reduction="none", log_target=True).sum(1).mean()

    def effect(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the masks."""
        masks = labels.long()
        kept = (masks != IGNORE).sum().clamp(min=1)  # a batch may have no pixel that counts
        return _cross_entropy(self.maps(outputs), masks) / kept

    def tally(self) -> _Overlap:
        """Mean IoU, and cross-entropy."""
        return _Overlap(self)

    def relative_to(self, reference: NDArray[Any], what: str) -> OfMasks:
        """Scores need no units."""
        return self


def _cross_entropy(scores: Tensor, masks: Tensor) -> Tensor:
    """The sum over pixels."""
    return F.cross_entropy(scores, masks, ignore_index=IGNORE, reduction="sum")


class _Overlap:
    def __init__(self, objective: OfMasks) -> None:
        self._objective = objective
        self._confusions = torch.zeros(2 * (objective.classes,), dtype=torch.int64).numpy()
        self._loss, self._pixels = 0.0, 0

    def update(self, outputs: Tensor, labels: Tensor, wanted: Tensor | None) -> None:
        scores, masks = self._objective.maps(outputs), labels.long()
        found = scores.argmax(1).cpu().numpy()
        self._confusions += confusions(masks.cpu().numpy(), found, self._objective.classes)
        self._loss += float(_cross_entropy(scores, masks))
        self._pixels += int((masks != IGNORE).sum())

    @property
    def figure(self) -> float:
        return mean_iou(self._confusions)

    @property
    def loss(self) -> float:
        return self._loss / max(1, self._pixels)
