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
        """Cross-entropy and what is missing to the overlap; in equal parts that of what is wanted.

        As a mean over pixels cross-entropy hardly minds a network which never finds poles: of the
        five rare classes of CamVid LR-ASPP-MobileNetV3-Small has 1 to 6 % after 20 epochs of it
        alone. So rare classes count for more in it, and the overlap is a mean over classes, as the
        figure is. Pixels of `IGNORE` count in the divergence from what is wanted only.
        """
        masks = labels.long()
        loss = self._balanced(outputs, masks) + self._apart(outputs, masks)
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

    def _balanced(self, outputs: Tensor, masks: Tensor) -> Tensor:
        """Cross-entropy, in which a class counts by the root of its pixels in the batch."""
        kept = masks != IGNORE
        if not kept.any():
            return outputs.sum() * 0
        counts = masks[kept].bincount(minlength=self.classes).to(outputs.dtype)
        weights = counts.clamp(min=1).rsqrt()
        return F.cross_entropy(self.maps(outputs), masks, weights, ignore_index=IGNORE)

    def _apart(self, outputs: Tensor, masks: Tensor) -> Tensor:
        """1 less the overlap of probabilities and masks, a mean over the classes of a batch.

        The soft Jaccard index: what both have in common over what either has, over all pixels of
        the batch.
        """
        kept = masks != IGNORE
        if not kept.any():
            return outputs.sum() * 0
        shares = self.maps(outputs).softmax(1) * kept[:, None]
        known = torch.where(kept, masks, 0)
        right = shares.gather(1, known[:, None])[:, 0]
        there, common = (
            torch.zeros(self.classes, dtype=right.dtype, device=right.device).index_add(
                0, known.flatten(), one.flatten()
            )
            for one in (kept.to(right.dtype), right)
        )
        whole = shares.sum((0, 2, 3)) + there - common
        return (1 - common / whole.clamp(min=1))[there > 0].mean()

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
