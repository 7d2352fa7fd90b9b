"""What a network is trained to do: how images are changed, what is made smaller, what is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.core import ImageSource
from edgekit.data.finite import check_finite
from edgekit.errors import UsageError
from edgekit.tasks import Metric, Task
from edgekit.tasks.confusions import Confusions
from edgekit.tasks.details import NO_DETAILS, Details, details_of
from edgekit.tasks.losses import Kinds, class_logits, label_loss
from edgekit.tasks.objectives import Objective
from edgekit.training.augmentation import augmented
from edgekit.training.distillation import Teacher
from edgekit.training.images import augment
from edgekit.training.mixing import mix
from edgekit.training.options import TrainingOptions
from edgekit.training.randaugment import randaugment

EVALUATION_BATCH = 256
"""Images that are evaluated at once where their outputs are small."""

# Tells the uses of a seed apart.
AUGMENTATION, RANDAUGMENT, MIXING = 0, 3, 4


class Scored(Protocol):
    """Outputs of an evaluation, scored as they come."""

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """Takes some more.

        Args:
            outputs: (n, numbers), all finite.
            labels: of the same samples.
        """

    def figures(self) -> Mapping[str, float | None]:
        """By name."""

    def details(self) -> Details:
        """What they hide."""


class Lesson(Protocol):
    """What a network is trained to do.

    Attributes:
        headline: name of the figure that the training goes by.
        title: what people call it.
        shares: whether each of several processes evaluates its share of the images, so that their
            figures are added up; else each evaluates all.
        at_once: images whose outputs are computed together in an evaluation.
    """

    headline: str
    title: str
    shares: bool
    at_once: int

    def augmented(
        self, pixels: Tensor, labels: Tensor, where: Sequence[int], process: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Changed images, and what is right of them.

        Args:
            pixels: 8-bit, (N, height, width, channels).
            labels: as the task's truth stacks them.
            where: seed, epoch and step.
            process: what tells this process from the first.
        """

    def loss(self, outputs: Tensor, targets: Tensor, pixels: Tensor) -> Tensor:
        """What is made smaller, a mean over samples.

        Args:
            outputs: of the network in training, (n, numbers).
            targets: of `augmented`.
            pixels: that they are of.
        """

    def told(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """The loss that people are told; ``None`` where that is the one that is made smaller."""

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """How many samples of a batch are right, where that is cheap to say."""

    def sum_of_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of labels, of a network in eval mode, added up."""

    def scored(self) -> Scored:
        """Begins to score an evaluation."""


class OfClasses:
    """Scores of classes.

    Args:
        kinds: what the scores are.
        classes: of the images.
    """

    headline, title, shares, at_once = "top1", "top-1", True, EVALUATION_BATCH

    def __init__(
        self, kinds: Kinds, classes: int, options: TrainingOptions, teacher: Teacher | None
    ) -> None:
        self.kinds, self._classes = kinds, classes
        self._options, self._teacher = options, teacher

    def augmented(
        self, pixels: Tensor, labels: Tensor, where: Sequence[int], process: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Labels become shares of the classes where images are mixed."""
        o = self._options
        seed = (*where, AUGMENTATION, *process)
        pixels = augment(pixels, seed, flip=bool(o.flip), crop=o.crop)
        if o.randaugment is not None:
            pixels = randaugment(pixels, (*where, RANDAUGMENT, *process), *o.randaugment)
        if o.mixup == o.cutmix == 0:
            return pixels, labels
        seed = (*where, MIXING, *process)
        return mix(pixels, labels, seed, classes=self._classes, mixup=o.mixup, cutmix=o.cutmix)

    def loss(self, outputs: Tensor, targets: Tensor, pixels: Tensor) -> Tensor:
        """Cross-entropy, and the divergence from the teacher."""
        o, kind = self._options, self.kinds.training
        loss = label_loss(outputs, targets, kind, label_smoothing=o.label_smoothing)
        if self._teacher is None:
            return loss
        taught = self._teacher.loss(outputs, pixels, kind)
        return (1 - o.teacher_weight) * loss + o.teacher_weight * taught

    def told(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of labels that are not smoothed."""
        return label_loss(outputs, targets, self.kinds.training)

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Images whose class has the highest score; of mixed ones that of the larger share."""
        main = targets if targets.ndim == 1 else targets.argmax(1)
        return (class_logits(outputs, self.kinds.training).argmax(1) == main).sum()

    def sum_of_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy."""
        return label_loss(outputs, labels, self.kinds.evaluation, reduction="sum")

    def scored(self) -> Ranks:
        """Top-1, and top-5 of more than five classes."""
        return Ranks(self.kinds.evaluation, self._classes)


class Ranks:
    """Shares of images whose class is the likeliest one, or among the five likeliest.

    Attributes:
        confusions: counts the images, where somebody has set it.
    """

    def __init__(self, kind: str, classes: int) -> None:
        self._kind, self._classes = kind, classes
        self.counts = torch.zeros(3, dtype=torch.float64)
        """Images with the class first, among the first five, and all."""
        self.confusions: Confusions | None = None

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """See `Scored`."""
        scores = class_logits(outputs, self._kind) if outputs.shape[1] == 1 else outputs
        likeliest = scores.topk(min(5, scores.shape[1])).indices
        if self.confusions is not None:
            self.confusions.update(labels.cpu().numpy(), likeliest[:, 0].cpu().numpy())
        ranked = likeliest == labels[:, None]
        found = (ranked[:, 0].sum(), ranked.any(1).sum(), len(labels))
        self.counts += torch.tensor([float(one) for one in found], dtype=torch.float64)

    def figures(self) -> Mapping[str, float | None]:
        """``top1`` and ``top5``."""
        top1, top5, n = self.counts.tolist()
        return {"top1": top1 / n, "top5": top5 / n if self._classes > 5 else None}

    def details(self) -> Details:
        """Nothing: `confusions` has more."""
        return NO_DETAILS


class OfTask:
    """Anything else: the task's own loss and figures.

    Args:
        source: of the labels.
        at_once: see `Lesson`.

    Raises:
        UsageError: options that go with classes of images.
    """

    shares = False

    def __init__(
        self,
        task: Task,
        objective: Objective,
        source: ImageSource,
        options: TrainingOptions,
        teacher: Teacher | None,
        at_once: int,
    ) -> None:
        check_options(options, task)
        self.at_once = at_once
        self.headline, self.title = task.headline, task.title
        self._task, self._objective, self._source = task, objective, source
        self._options, self._teacher = options, teacher

    def augmented(
        self, pixels: Tensor, labels: Tensor, where: Sequence[int], process: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Boxes and masks move with their images."""
        o, seed = self._options, (*where, AUGMENTATION, *process)
        truth = self._task.truth
        return augmented(truth, pixels, labels, seed, flip=bool(o.flip), crop=o.crop)

    def loss(self, outputs: Tensor, targets: Tensor, pixels: Tensor) -> Tensor:
        """That of the task, in equal parts of labels and teacher where there is one."""
        wanted = None if self._teacher is None else self._teacher.rows(pixels)
        return self._objective.loss(outputs, targets, wanted, training=True)

    def told(self, outputs: Tensor, targets: Tensor) -> None:
        """The whole loss: to compute it again without a teacher takes long."""
        return

    def right(self, outputs: Tensor, targets: Tensor) -> None:
        """Nothing: the figures of other tasks take longer than a step."""
        return

    def sum_of_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """That of the labels, times the samples."""
        return self._objective.loss(outputs, labels, None, training=False) * len(outputs)

    def scored(self) -> _Measured:
        """The task's figures."""
        return _Measured(self._task.metric(self._source))


class _Measured:
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        self._metric.update(_numbers(outputs), _numbers(labels))

    def figures(self) -> Mapping[str, float | None]:
        return self._metric.figures()

    def details(self) -> Details:
        return details_of(self._metric)


def check_options(options: TrainingOptions, task: Task) -> None:
    """Refuses what makes sense for classes of images only.

    Raises:
        UsageError: names the option.
    """
    usual = TrainingOptions()
    for field in (
        "randaugment", "mixup", "cutmix", "scores", "label_smoothing", "teacher_weight",
        "teacher_temperature",
    ):  # fmt: skip
        if getattr(options, field) != getattr(usual, field):
            raise UsageError(
                f"--{field.replace('_', '-')} goes with classes of images, and this network is of "
                f"the task {task.name}: leave it out"
            )


def check_rows(rows: Tensor, first: int) -> None:
    """Refuses outputs of an evaluation that are no numbers: a loss can be finite all the same.

    Raises:
        ModelError: names the image.
    """
    if not torch.isfinite(rows).all():
        check_finite(
            _numbers(rows),
            "the training diverged: the network",
            lambda i: f"image {first + i} of the evaluation",
        )


def _numbers(tensor: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = tensor.cpu().numpy()
    return found.astype(np.float32) if found.dtype == np.float64 else found
