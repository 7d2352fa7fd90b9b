"""What a training reports while it runs. Training itself never prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """A line of ``metrics.jsonl``, where the figures go by their name, as ``train_top1``.

    Attributes:
        epoch: counted from 1.
        lr: learning rate of the epoch's last step.
        train_loss: mean over the augmented training images.
        train_figure: the task's headline figure of the network in training, on augmented images;
            ``None`` of tasks whose figures take long.
        validation_loss: mean of the averaged weights.
        validation_figure: the headline figure of the averaged weights; ``None`` where the images
            do not tell it.
        seconds: of the whole epoch.
        images_per_s: of the training steps alone.
        title: what people call the figure; the file does not have it.
    """

    epoch: int
    lr: float
    train_loss: float
    train_figure: float | None
    validation_loss: float
    validation_figure: float | None
    seconds: float
    images_per_s: float
    title: str = "top-1"


class Progress(Protocol):
    """Callbacks of a training, in the order in which they are first called."""

    def note(self, text: str) -> None:
        """Something that people should know, in a sentence; comes before all others, or never."""

    def images(self, text: str) -> None:
        """What there is to learn from, in a sentence."""

    def warn(self, text: str) -> None:
        """Something that makes the results doubtful; comes behind the images, or never."""

    def loading(self, done: int, total: int) -> None:
        """Images were read into memory; not called when they are decoded on access."""

    def start(self, step: int, steps: int) -> None:
        """Training begins at ``step``, which is above 0 when resumed, of ``steps``."""

    def step(self, step: int, loss: float) -> None:
        """``step`` steps are done, the last with this loss; not called for every step."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done and its state is on disk."""


class Silent:
    """Reports nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def images(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""

    def loading(self, done: int, total: int) -> None:
        """Nothing."""

    def start(self, step: int, steps: int) -> None:
        """Nothing."""

    def step(self, step: int, loss: float) -> None:
        """Nothing."""

    def epoch(self, record: EpochRecord) -> None:
        """Nothing."""
