"""One network in training: its steps, its state, its evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from edgekit.errors import ModelError
from edgekit.foreign import explained
from edgekit.models.rows import flattened
from edgekit.tasks.confusions import Confusions
from edgekit.tasks.details import Details
from edgekit.training import processes
from edgekit.training.distillation import Teacher
from edgekit.training.images import (
    Batch,
    Batches,
    Loader,
    SplitImages,
    changed_image,
    normalize,
)
from edgekit.training.initial import torch_seed
from edgekit.training.layout import fit_for_training
from edgekit.training.lesson import EVALUATION_BATCH, Lesson, Ranks, check_rows
from edgekit.training.optimization import make_average, make_optimizer, make_schedule
from edgekit.training.options import machine
from edgekit.training.progress import EpochRecord
from edgekit.training.run_folder import Plan

# The standard error of a mean over so many images is 2 % of their spread.
STATISTICS_IMAGES = 2048
# After an epoch, which is itself no longer than a few times that, 4 % have to do: of SSDLite on
# 2,000 scenes of 160 px the statistics would take as long as two thirds of the training.
_EPOCH_STATISTICS_IMAGES = 512
_EPOCH_STATISTICS_SHARE = 1 / 4
_REPORT_EVERY = 10
# Tells the uses of a seed apart, beside those of `edgekit.training.lesson`; epochs are counted
# from 0.
_DROPOUT, _STATISTICS = 1, 2


@dataclass(frozen=True, slots=True)
class Scores:
    """Result of an evaluation.

    Attributes:
        n: images.
        figures: of the task, by name.
        details: what they hide; nothing of classes of images, which are counted by
            `edgekit.tasks.confusions`.
    """

    n: int
    loss: float
    figures: Mapping[str, float | None]
    details: Details


class Trainer:
    """A network with all that changes while it is trained.

    Everything random is drawn from (seed, epoch, step), so `state` need not hold a generator.

    Of several processes, each takes its share of every batch; gradients are averaged over them, so
    that all have the same weights, and so do averaged weights, statistics and scores.

    Args:
        model: on the CPU; it is taken over.
        lesson: what it is trained to do.
        teacher: on the CPU; it is taken over.
        first: epoch that the training begins with, of a run that is extended; rate and average
            begin anew with it.
    """

    def __init__(
        self,
        plan: Plan,
        model: nn.Module,
        train: SplitImages,
        lesson: Lesson,
        teacher: Teacher | None = None,
        first: int = 0,
    ) -> None:
        options = self.options = plan.options
        assert options.batch_size is not None
        self.source, self.preprocessing, self.lesson = plan.model, plan.preprocessing, lesson
        device, amp = machine(options)
        # Accelerate keeps device and precision for the whole process; this run has its own.
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision=amp,
            # Batches are shared out here, so that the schedule takes one step for all processes.
            dataloader_config=DataLoaderConfiguration(split_batches=True),
        )
        self.device = self.accelerator.device
        self.batches = Batches(
            len(train), options.batch_size, options.seed, share=processes.share()
        )
        self.images = train
        self.loader = Loader(train, self.batches, self.device)
        self.first, epochs = first, options.known_epochs - first
        steps = self.steps = epochs * len(self.batches)
        fit_for_training(model.to(self.device))
        self.teacher = teacher
        if teacher is not None:
            fit_for_training(teacher.module.to(self.device))
        self.network, self.average = model, make_average(model, options, steps)
        optimizer = make_optimizer(model, options)
        schedule = make_schedule(optimizer, replace(options, epochs=epochs), steps)
        self.model, self.optimizer, self.schedule = self.accelerator.prepare(
            model, optimizer, schedule
        )
        # Norms need more than a few images at once, whatever the outputs take.
        together = (
            max(lesson.at_once, options.batch_size)
            if lesson.at_once < EVALUATION_BATCH
            else EVALUATION_BATCH
        )
        brief = max(_EPOCH_STATISTICS_IMAGES, round(len(train) * _EPOCH_STATISTICS_SHARE))
        self.statistics, self.epoch_statistics = (
            Loader(train, Batches(len(train), together, options.seed, count), self.device)
            for count in (STATISTICS_IMAGES, min(brief, STATISTICS_IMAGES))
        )

    def state(self) -> dict[str, Any]:
        """All that a later session needs, as plain data and tensors."""
        scaler = self.accelerator.scaler
        return {
            "model": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to a `state`."""
        self.network.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def epoch(
        self, epoch: int, validation: Loader, report: Callable[[int, float], None]
    ) -> EpochRecord:
        """Trains for one epoch and evaluates the averaged weights.

        Args:
            epoch: counted from 0.
            report: is given the number of steps done and the loss.

        Raises:
            ModelError: the loss is not finite.
            DataError: an image that cannot be decoded.
        """
        begin = time.perf_counter()
        loss, right, lr = self._steps(epoch, report)
        trained = time.perf_counter()
        scores = self.evaluate(validation, brief=True)
        images = self.batches.images
        return EpochRecord(
            epoch=epoch + 1,
            lr=lr,
            train_loss=loss / images,
            train_figure=None if right is None else right / images,
            validation_loss=scores.loss,
            validation_figure=scores.figures[self.lesson.headline],
            seconds=time.perf_counter() - begin,
            images_per_s=images / (trained - begin),
            title=self.lesson.title,
        )

    def _steps(
        self, epoch: int, report: Callable[[int, float], None]
    ) -> tuple[float, int | None, float]:
        self.model.train()
        self.batches.epoch = epoch
        done = (epoch - self.first) * len(self.batches)
        loss_sum = torch.zeros((), device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        told_right, lr, unchecked = True, 0.0, list[Tensor]()
        for step, (pixels, labels) in enumerate(self.loader):
            lr = self.schedule.get_last_lr()[0]
            rows, targets, minimized = self._step(pixels, labels, epoch, step)
            told = self.lesson.told(rows, targets)
            loss = minimized if told is None else told
            loss_sum += loss * len(labels)
            found = self.lesson.right(rows, targets)
            if found is None:
                told_right = False
            else:
                right += found
            unchecked.append(minimized)
            if step % _REPORT_EVERY == 0 or step + 1 == len(self.batches):
                self._check_steps(unchecked, done + step + 1)
                unchecked.clear()
                report(done + step + 1, float(loss))
        loss_sum, right = self.accelerator.reduce((loss_sum, right), "sum")
        whole = self._finite(float(loss_sum), f"in epoch {epoch + 1}")
        return whole, int(right) if told_right else None, lr

    def _step(
        self, pixels: Tensor, labels: Tensor, epoch: int, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Trains on a batch; gives its outputs, its targets, and what was made smaller."""
        where = (self.options.seed, epoch, step)
        pixels, targets = self.lesson.augmented(pixels, labels, where, self._process())
        torch.manual_seed(torch_seed(*where, _DROPOUT, *self._process()))
        parts = self.options.accumulate
        size = self.batches.size(step)
        found, minimized = [], torch.zeros((), device=self.device)
        for i, (images, wanted) in enumerate(
            zip(pixels.tensor_split(parts), targets.tensor_split(parts), strict=True)
        ):
            last = i + 1 == parts
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self._running(
                    f"at step {(epoch - self.first) * len(self.batches) + step + 1}"
                ):
                    rows = flattened(self.model(normalize(images, self.preprocessing)))
                loss = self.lesson.loss(rows, wanted, images)
                # The mean over the whole batch, of which the parts need not be equal.
                share = len(images) * processes.count() / size
                with self._running(
                    f"at step {(epoch - self.first) * len(self.batches) + step + 1}"
                ):
                    self.accelerator.backward(loss * share)
            found.append(rows.detach())
            minimized += loss.detach() * share
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.network)
        return torch.cat(found), targets, minimized

    def _process(self) -> tuple[int, ...]:
        """What tells the random choices of this process from those of the first."""
        rank = processes.rank()
        return (rank,) if rank else ()

    def evaluate(
        self, loader: Loader, confusions: Confusions | None = None, *, brief: bool = False
    ) -> Scores:
        """Evaluates the averaged weights in fp32.

        Their batch-norm statistics are computed anew from training images without augmentation:
        those of the training lag behind the weights, and no average of them fits averaged
        weights.

        Args:
            confusions: counts the images, where it is given.
            brief: statistics of fewer images, for the figures of an epoch.

        Raises:
            ModelError: the loss is not finite.
        """
        statistics = self.epoch_statistics if brief else self.statistics
        network = self.average.module
        torch.manual_seed(torch_seed(self.options.seed, _STATISTICS))  # dropout is active there
        scored, loss, n = self.lesson.scored(), 0.0, 0
        if confusions is not None:
            assert isinstance(scored, Ranks)
            scored.confusions = confusions
        with torch.no_grad():
            with self._running("in the evaluation"):
                update_bn(self._inputs(statistics), network)
            self.average.eval()
            for pixels, labels in loader:
                with self._running("in the evaluation"):
                    rows = flattened(network(normalize(pixels, self.preprocessing)))
                check_rows(rows, n)
                loss += float(self.lesson.sum_of_losses(rows, labels))
                scored.update(rows, labels)
                n += len(labels)
        if isinstance(scored, Ranks):
            sums = torch.tensor([loss, n], dtype=torch.float64, device=self.device)
            loss, count = self.accelerator.reduce(sums, "sum").tolist()
            n = int(count)
            self._add_up(scored)
        loss = self._finite(loss / n, "in the evaluation")
        return Scores(n, loss, scored.figures(), scored.details())

    def _add_up(self, ranks: Ranks) -> None:
        """Counts of all processes, each of which has seen its share of the images."""
        counts = ranks.counts.to(self.device)
        ranks.counts = self.accelerator.reduce(counts, "sum").cpu()
        if ranks.confusions is not None:
            counts = torch.from_numpy(ranks.confusions.counts).to(self.device)
            ranks.confusions.counts = self.accelerator.reduce(counts, "sum").cpu().numpy()

    def _inputs(self, loader: Iterable[Batch]) -> Iterable[Tensor]:
        for pixels, _ in loader:
            yield normalize(pixels, self.preprocessing)

    def _running(self, when: str) -> AbstractContextManager[None]:
        """A block that runs the network, whose code may raise anything."""
        return explained(lambda reason: f"'{self.source}' fails {when}: {reason}")

    def _check_steps(self, losses: Sequence[Tensor], last: int) -> None:
        """Names the first of the steps up to ``last`` whose loss is not finite, or its teacher."""
        for step, loss in enumerate(torch.stack(tuple(losses)).tolist(), last - len(losses) + 1):
            if not math.isfinite(loss):
                self._check_teacher(step)
            self._finite(loss, f"at step {step} of {self.steps}")

    def _check_teacher(self, step: int) -> None:
        """Shows the teacher the images of a step again, to tell its faults from the network's."""
        if self.teacher is None:
            return
        past, number = divmod(step - 1, len(self.batches))
        epoch = self.batches.epoch = self.first + past
        indices = self.batches.step(number)
        pixels, labels = (part.to(self.device) for part in self.images.fetch(indices))
        where = (self.options.seed, epoch, number)
        pixels, _ = self.lesson.augmented(pixels, labels, where, self._process())
        self.teacher.check(pixels, partial(changed_image, indices))

    def _finite(self, loss: float, when: str) -> float:
        if not math.isfinite(loss):
            raise ModelError(
                f"the training diverged {when}: the loss is {loss}; lower --lr (now "
                f"{self.options.lr:g})"
                + ("" if self.options.amp in ("off", "auto") else " or use --amp off")
            )
        return loss
