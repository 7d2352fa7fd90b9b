"""Which class an image is of: one row of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Agreement, class_count
from edgekit.data.scores import class_names, likeliest, probabilities
from edgekit.data.truths import CLASS_LABELS
from edgekit.tasks import (
    Aim,
    Described,
    Frame,
    Prediction,
    agreement,
    class_named,
    classes,
    drawing,
)
from edgekit.tasks.confusions import Confusions
from edgekit.tasks.details import Details, OfClass, confusion
from edgekit.tasks.shares import share_interval

if TYPE_CHECKING:
    from edgekit.core import ImageSource, Pixels
    from edgekit.models.model import Model
    from edgekit.tasks.objectives import OfClasses

BAR = 30
"""Characters of a bar that stands for certainty."""


@dataclass(frozen=True, slots=True)
class Label:
    """A class, its name where it has one, and how sure the network is, from 0 to 1."""

    index: int
    label: str | None
    probability: float

    @property
    def name(self) -> str:
        """The class as people call it."""
        return self.label or f"class {self.index}"


@dataclass(frozen=True, slots=True)
class Labels(Prediction):
    """The likeliest classes of one image."""

    labels: tuple[Label, ...]


class Accuracy:
    """Shares of images whose class is the likeliest one, or among the five likeliest.

    Args:
        kind: what the scores are, of `edgekit.core.SCORES`.
        outputs: for each label of the source the class that stands for it.
        names: of the network's classes.
    """

    def __init__(self, kind: str, outputs: Sequence[int], names: Sequence[str]) -> None:
        self._kind, self._outputs = kind, np.array(outputs, np.intp)
        self._confusions = Confusions(names)
        self._hits1 = self._hits5 = self._n = 0

    def update(self, rows: NDArray[Any], labels: NDArray[Any]) -> None:
        """Takes scores (n, columns) and the labels of the source."""
        scores = rows
        if rows.shape[1] == 1:
            scores = probabilities(rows, self._kind).astype(np.float32)
        truth = self._outputs[np.asarray(labels, np.intp)]
        ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        self._confusions.update(truth, ranked[:, 0])
        hits = ranked == truth[:, None]
        self._hits1 += int(hits[:, 0].sum())
        self._hits5 += int(hits.any(axis=1).sum())
        self._n += len(labels)

    def figures(self) -> dict[str, float | None]:
        """``top1``, and ``top5`` of more than five classes."""
        top5 = self._hits5 / self._n if len(self._confusions.names) > 5 else None
        return {"top1": self._hits1 / self._n, "top5": top5}

    def ci95(self) -> tuple[float, float]:
        """That of a share of images."""
        return share_interval(self._hits1 / self._n, self._n)

    def details(self) -> Details:
        """Top-1 of each class, and which is taken for which."""
        names, counts = self._confusions.names, self._confusions.counts
        per_class = (OfClass(one.label, one.n, {"top1": one.top1}) for one in
                     self._confusions.classes())  # fmt: skip
        return Details(tuple(per_class), confusion(names, names, counts))


class Classify:
    """The task of networks with one score for each class.

    Args:
        described: what its scores are must be known by the time that outputs are compared.
    """

    name = "classify"
    headline, title, labelled, truth = "top1", "top-1", True, CLASS_LABELS
    gradients = True

    def __init__(self, described: Described) -> None:
        self._kind = described.scores or "logits"
        self._source = described.source
        columns = self._columns = described.interface.outputs[0].shape[-1]
        self._classes = class_count(columns)
        self._labels = class_names(described.labels, columns)

    def roles(self) -> tuple[str, ...]:
        """The only output has scores."""
        return ("scores",)

    def check_meaning(self) -> None:
        """Scores of classes are understood."""

    def metric(self, source: ImageSource) -> Accuracy:
        """Top-1 and top-5.

        Raises:
            DataError: a class of the source is none of the network's.
        """
        names = self._labels or tuple(source.classes)
        outputs = classes.outputs_of(
            self._labels, self._classes, source.classes, self._source, source.name
        )
        return Accuracy(self._kind, outputs, names)

    def decode(self, rows: NDArray[Any], image: str, frame: Frame, most: int) -> Labels:
        """The likeliest classes."""
        shares = probabilities(rows, self._kind)[0]
        names = self._labels
        found = (
            Label(int(i), names[i] if names else None, float(shares[i]))
            for i in np.argsort(-shares, kind="stable")[:most]
        )
        return Labels(image, tuple(found))

    def aim(self, rows: NDArray[Any], frame: Frame, wanted: str | None) -> Aim:
        """The score of a class; of one column, what speaks for the first class speaks against it.

        Raises:
            UnknownNameError: there is no such class.
        """
        shares = probabilities(rows, self._kind)[0]
        if wanted is None:
            index = int(np.argsort(-shares, kind="stable")[0])
        else:
            index = class_named(wanted, self._labels, self._classes)
        weights = np.zeros(self._columns, np.float32)
        if self._columns == 1:
            weights[0] = 1 if index else -1
        else:
            weights[index] = 1
        label = self._labels[index] if self._labels else None
        return Aim(weights, index, label, float(shares[index]))

    def shown(self, prediction: Labels) -> list[str]:
        """The image, and a line with a bar for each class."""
        lines = [prediction.image]
        for label in prediction.labels:
            bar = "█" * round(label.probability * BAR)
            lines.append(f"  {label.probability:7.2%}  {label.name:20.40}  {bar}".rstrip())
        return lines

    def draw(self, pixels: Pixels, prediction: Labels) -> Pixels:
        """The image with the classes below it."""
        lines = [f"{label.probability:.1%}  {label.name}" for label in prediction.labels]
        return drawing.captioned(pixels, lines, [label.probability for label in prediction.labels])

    def objective(self, model: Model) -> OfClasses:
        """Labels, by what the network gives in either mode; those of the zoo give logits."""
        from edgekit.tasks.losses import kinds_of
        from edgekit.tasks.objectives import OF_LOGITS, OfClasses

        if model.of_zoo:
            return OF_LOGITS
        return OfClasses(kinds_of(model.module, model.shape, model.source, model.scores))

    def said(self, scores: str | None, model: Model) -> str | None:
        """See `edgekit.tasks.losses.check_said`."""
        from edgekit.tasks.losses import check_said

        check_said(scores, model.classes, model.source, of_zoo=model.of_zoo)
        return scores or model.scores

    def labels_for(self, source: ImageSource) -> tuple[str, ...]:
        """The network's, or those of the source where it has none, as from a plain state dict."""
        return classes.labels_for(
            self._labels, self._classes, source.classes, self._source, source.name, self._columns
        )

    def check_reference(self, rows: NDArray[Any], what: str, zeros: Sequence[str] = ()) -> None:
        """See `edgekit.tasks.agreement.check_reference`."""
        agreement.check_reference(rows, what, zeros)

    def agreement(
        self, reference: NDArray[Any], outputs: NDArray[Any], precision: str
    ) -> Agreement:
        """Signal to noise, and the share of images with the same likeliest class."""
        tolerance = agreement.TOLERANCES[precision]
        return agreement.compare(reference, outputs, tolerance, self._kind)

    def followed(self, reference: NDArray[Any], outputs: NDArray[Any]) -> float:
        """Share of images with the same likeliest class."""
        return float(self.decided_alike(reference, outputs).mean())

    def decided_alike(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the likeliest class is the same."""
        same: NDArray[np.bool_] = likeliest(a, self._kind) == likeliest(b, self._kind)
        return same

    def sqnr_db(
        self, reference: NDArray[Any], outputs: NDArray[Any], indices: Sequence[int]
    ) -> NDArray[Any]:
        """See `edgekit.tasks.agreement.image_sqnr_db`."""
        return agreement.image_sqnr_db(reference, outputs, indices)
