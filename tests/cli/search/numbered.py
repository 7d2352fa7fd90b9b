"""A task from another package: which number an image shows, as one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from edgekit.core import ImageSource
from edgekit.data.truths import CLASS_LABELS
from edgekit.models.model import Model
from edgekit.tasks.tensors import Tensors


class Near:
    """Share of images whose number is off by less than two."""

    def __init__(self) -> None:
        self.right = self.n = 0
        self.off = 0.0

    def update(self, rows: Any, labels: Any, wanted: object = None) -> None:
        off = np.abs(np.asarray(rows)[:, 0] - np.asarray(labels))
        self.right, self.n = self.right + int((off < 2).sum()), self.n + len(off)
        self.off += float(off.sum())

    def figures(self) -> dict[str, float | None]:
        return {"near": self.figure}

    def ci95(self) -> None:
        return None

    @property
    def figure(self) -> float:
        return self.right / self.n

    @property
    def loss(self) -> float:
        return self.off / self.n


@dataclass(frozen=True)
class OfNumbers:
    truth, labelled = CLASS_LABELS, True

    def loss(
        self, outputs: Tensor, labels: Tensor, wanted: Tensor | None, *, training: bool
    ) -> Tensor:
        return (outputs[:, 0] - labels).square().mean()

    def apart(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        return (outputs - wanted).square().mean()

    def effect(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return self.loss(outputs, labels, None, training=False)

    def tally(self) -> Near:
        return Near()

    def relative_to(self, reference: object, what: str) -> OfNumbers:
        return self


class Number(Tensors):
    name = "number"
    headline, title, labelled = "near", "near numbers", True  # type: ignore[assignment]
    truth = CLASS_LABELS  # type: ignore[assignment]

    def check_meaning(self) -> None:  # type: ignore[override]
        pass

    def metric(self, source: ImageSource) -> Near:
        return Near()

    def objective(self, model: Model) -> OfNumbers:  # type: ignore[override]
        return OfNumbers()
