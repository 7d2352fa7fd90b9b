"""What trainings and searches make smaller and go by, for each kind of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.core import Interface
from edgekit.data.truths import CLASS_LABELS, Truth
from edgekit.errors import ModelError
from edgekit.tasks.agreement import LEAST_RELATIVE_SPREAD, is_float, pieces
from edgekit.tasks.losses import LOGITS, Kinds, class_logits, divergence, label_loss

LABEL_SMOOTHING = 0.1


class Tally(Protocol):
    """How good outputs are, of samples that come in parts."""

    def update(self, outputs: Tensor, labels: Tensor, wanted: Tensor | None) -> None:
        """Takes note of some samples.

        Args:
            outputs: (n, numbers), all finite.
            labels: (n,).
            wanted: what the network that is followed gives for them; ``None`` without one.
        """

    @property
    def figure(self) -> float:
        """The task's headline figure of all of them: higher is better, 1 is the most there is."""

    @property
    def loss(self) -> float:
        """Tells networks apart whose figures are equal: lower is better."""


class Objective(Protocol):
    """What networks of one task learn; plain data, which can be sent to other processes.

    Attributes:
        truth: makes the labels that they learn from. Without, they learn from the outputs of
            another network alone, which is always there then.
        labelled: whether there is such a truth.
    """

    @property
    def truth(self) -> Truth | None: ...

    @property
    def labelled(self) -> bool: ...

    def loss(
        self, outputs: Tensor, labels: Tensor, wanted: Tensor | None, *, training: bool
    ) -> Tensor:
        """What a training makes smaller, a mean over samples.

        Args:
            outputs: (n, numbers).
            labels: (n,); they mean nothing where `labelled` is false.
            wanted: what the network that is followed gives in eval mode; ``None`` without one.
            training: the mode of the network whose outputs these are.
        """

    def apart(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """How far outputs of a network in eval mode are from those of one that is followed.

        Args:
            wanted: see `loss`.
        """

    def effect(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """What the outputs of a network in eval mode come to, where none is followed.

        Channels that it does not depend on matter least.
        """

    def tally(self) -> Tally:
        """Begins to score samples."""

    def relative_to(self, reference: NDArray[Any], what: str) -> Objective:
        """The same, where outputs are followed: in units of how much these differ.

        Args:
            reference: outputs of the network that is followed, (n, numbers).
            what: names it in messages.

        Raises:
            ModelError: there is nothing in them to follow.
        """


@dataclass(frozen=True, slots=True)
class OfClasses:
    """Scores of classes: labels, and the scores of a network that is followed.

    Attributes:
        kinds: what the outputs of all networks are.
    """

    kinds: Kinds = LOGITS

    truth: ClassVar[Truth] = CLASS_LABELS
    labelled: ClassVar = True

    def loss(
        self, outputs: Tensor, labels: Tensor, wanted: Tensor | None, *, training: bool
    ) -> Tensor:
        """Cross-entropy; in equal parts the divergence from what is wanted."""
        kind = self.kinds.training if training else self.kinds.evaluation
        loss = label_loss(outputs, labels, kind, label_smoothing=LABEL_SMOOTHING)
        if wanted is None:
            return loss
        return (loss + divergence(outputs, wanted, (kind, self.kinds.evaluation))) / 2

    def apart(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """The divergence of probabilities."""
        return divergence(outputs, wanted, (self.kinds.evaluation, self.kinds.evaluation))

    def effect(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the labels."""
        return label_loss(outputs, labels, self.kinds.evaluation)

    def tally(self) -> Tally:
        """Top-1, and cross-entropy."""
        return _Right(self.kinds.evaluation)

    def relative_to(self, reference: NDArray[Any], what: str) -> OfClasses:
        """Scores need no units."""
        return self


OF_LOGITS = OfClasses()
"""For networks of the zoo."""


class _Right:
    def __init__(self, kind: str) -> None:
        self._kind, self._right, self._loss, self._count = kind, 0, 0.0, 0

    def update(self, outputs: Tensor, labels: Tensor, wanted: Tensor | None) -> None:
        self._right += int((class_logits(outputs, self._kind).argmax(1) == labels).sum())
        self._loss += float(label_loss(outputs, labels, self._kind, reduction="sum"))
        self._count += len(outputs)

    @property
    def figure(self) -> float:
        return self._right / self._count

    @property
    def loss(self) -> float:
        return self._loss / self._count


@dataclass(frozen=True, slots=True)
class OfTensors:
    """Any outputs: those of a network that is followed are what is right.

    Attributes:
        powers: mean squares of each output of floats, or of each part of one, about its mean over
            samples, by name; of one that hardly differs between samples, about zero. `relative_to`
            finds them.
        parts: see `edgekit.tasks.agreement.pieces`.
    """

    interface: Interface
    powers: tuple[tuple[str, float], ...] = ()
    parts: Sequence[NDArray[np.intp] | None] = field(default=(), compare=False)

    truth: ClassVar[None] = None
    labelled: ClassVar = False

    @property
    def columns(self) -> dict[str, slice | NDArray[np.intp]]:
        """Where what is judged by itself stands in a row, by name."""
        whole = self.interface.columns
        return {
            f"{spec.name} {part}".strip(): places if part else whole[spec.name]
            for spec, part, places in pieces(self.interface, self.parts)
        }

    @property
    def floats(self) -> dict[str, bool]:
        """By the same names, whether it holds floats."""
        return {
            f"{spec.name} {part}".strip(): is_float(spec)
            for spec, part, _ in pieces(self.interface, self.parts)
        }

    def loss(
        self, outputs: Tensor, labels: Tensor, wanted: Tensor | None, *, training: bool
    ) -> Tensor:
        """Mean square of the difference over the output's power, a mean over outputs of floats.

        So an output of small units counts as much as one of large ones. Integers, which have no
        gradient, are left out.
        """
        assert wanted is not None, "nothing to follow"
        return self.apart(outputs, wanted)

    def apart(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """See `loss`."""
        return self._relative(outputs - wanted)

    def effect(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean square of each output over its power: what is left where a channel is gone."""
        return self._relative(outputs)

    def _relative(self, values: Tensor) -> Tensor:
        columns = self.columns
        shares = [values[:, columns[name]].square().mean() / power for name, power in self.powers]
        return torch.stack(shares).mean()

    def tally(self) -> Tally:
        """See `_Followed`."""
        return _Followed(self)

    def relative_to(self, reference: NDArray[Any], what: str) -> OfTensors:
        """See `Objective`."""
        powers = []
        floats = self.floats
        for name, columns in self.columns.items():
            if not floats[name]:
                continue
            own = reference[:, columns].astype(np.float64)
            power = float(np.square(own - _centre(own)).mean())
            if power > 0:  # one that is zero always has nothing to learn
                powers.append((name, power))
        if not powers:
            listed = ", ".join(f"'{spec.name}'" for spec in self.interface.outputs)
            raise ModelError(
                f"{what} gives no floats that differ from zero ({listed}): there is nothing that "
                f"another network could learn; of classes give the scores that they come from"
            )
        return OfTensors(self.interface, tuple(powers), self.parts)


def _centre(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What samples share, (numbers,), or zeros where that is nearly all that there is."""
    mean: NDArray[np.float64] = values.mean(axis=0)
    if (values - mean).std() > LEAST_RELATIVE_SPREAD * np.abs(values).max(initial=0.0):
        return mean
    return np.zeros_like(mean)


class _Followed:
    """How closely outputs follow those of another network: the worst output, or part, counts.

    Of floats it is the share of the variance over samples that is explained, 1 less the squares of
    the differences over those of the spread: the coefficient of determination. Of an output that
    hardly differs between samples, such as the places of anchors, squares are about zero. Of
    integers it is the share of equal ones, of those that are not the commonest one in both.
    """

    def __init__(self, objective: OfTensors) -> None:
        self._columns = objective.columns
        self._sums: dict[str, _Squares | _Alike] = {
            name: _Squares() if floats else _Alike() for name, floats in objective.floats.items()
        }

    def update(self, outputs: Tensor, labels: Tensor, wanted: Tensor | None) -> None:
        assert wanted is not None, "nothing to follow"
        found, right = (
            one.detach().numpy().astype(np.float64, copy=False) for one in (outputs, wanted)
        )
        for name, columns in self._columns.items():
            self._sums[name].update(found[:, columns], right[:, columns])

    @property
    def figures(self) -> dict[str, float]:
        """By output."""
        return {name: own.figure for name, own in self._sums.items()}

    @property
    def figure(self) -> float:
        return min(self.figures.values())

    @property
    def loss(self) -> float:
        return 1 - float(np.mean(list(self.figures.values())))


class _Squares:
    def __init__(self) -> None:
        self._off, self._whole, self._most, self._count = 0.0, 0.0, 0.0, 0
        self._sum: Any = 0.0

    def update(self, values: NDArray[np.float64], right: NDArray[np.float64]) -> None:
        self._off += float(np.square(values - right).sum())
        self._whole += float(np.square(right).sum())
        self._most = max(self._most, float(np.abs(right).max(initial=0.0)))
        self._sum = self._sum + right.sum(axis=0)
        self._count += len(right)

    @property
    def figure(self) -> float:
        numbers = np.size(self._sum) * self._count
        spread = self._whole - float(np.square(self._sum).sum()) / self._count
        shared = spread <= numbers * (LEAST_RELATIVE_SPREAD * self._most) ** 2
        power = self._whole if shared else spread
        if power == 0:  # nothing but zeros
            return float(self._off == 0)
        return 1 - self._off / power


class _Alike:
    """Counts of pairs, as `edgekit.tasks.agreement.share_alike` needs them."""

    def __init__(self) -> None:
        self._equal: dict[float, int] = {}
        self._right: dict[float, int] = {}
        self._found: dict[float, int] = {}
        self._count = 0

    def update(self, scores: NDArray[np.float64], right: NDArray[np.float64]) -> None:
        self._count += right.size
        for counts, values in (
            (self._equal, right[scores == right]), (self._right, right), (self._found, scores)
        ):  # fmt: skip
            for value, count in zip(*np.unique(values, return_counts=True), strict=True):
                counts[float(value)] = counts.get(float(value), 0) + int(count)

    @property
    def figure(self) -> float:
        equal, told = sum(self._equal.values()), self._count
        if len(self._right) > 1:
            common = max(sorted(self._right), key=lambda value: self._right[value])
            both = self._equal.get(common, 0)
            equal, told = equal - both, told - both
        return equal / told if told else 1.0
