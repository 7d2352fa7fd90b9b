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

from edgekit.data.finite import check_finite
from edgekit.errors import ModelError
from edgekit.foreign import explained
from edgekit.tasks.confusions import Confusions
from edgekit.tasks.losses import Kinds, class_logits, kinds_of, label_loss
from edgekit.training import processes
from edgekit.training.distillation import Teacher
from edgekit.training.images import (
    Batch,
    Batches,
    Loader,
    SplitImages,
    augment,
    changed_image,
    normalize,
)
from edgekit.training.initial import torch_seed
from edgekit.training.layout import fit_for_training
from edgekit.training.mixing import mix
from edgekit.training.optimization import make_average, make_optimizer, make_schedule
from edgekit.training.options import machine
from edgekit.training.progress import EpochRecord
from edgekit.training.randaugment import randaugment
from edgekit.training.run_folder import Plan

# The standard error of a mean over so many images is 2 % of their spread.
STATISTICS_IMAGES = 2048
EVALUATION_BATCH = 256
_REPORT_EVERY = 10
# Tells the uses of a seed apart; epochs are counted from 0.
_AUGMENTATION, _DROPOUT, _STATISTICS, _RANDAUGMENT, _MIXING = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Scores:
    """Result of an evaluation; fractions, top-5 only of more than five classes."""

    n: int
    loss: float
    top1: float
    top5: float | None


class Trainer:
    """A network with all that changes while it is trained.

    Everything random is drawn from (seed, epoch, step), so `state` need not hold a generator.

    Of several processes, each takes its share of every batch; gradients are averaged over them, so
    that all have the same weights, and so do averaged weights, statistics and scores.

    Args:
        model: on the CPU; it is taken over.
        teacher: on the CPU; it is taken over.
        first: epoch that the training begins with, of a run that is extended; rate and average
            begin anew with it.
    """

    def __init__(
        self,
        plan: Plan,
        model: nn.Module,
        train: SplitImages,
        teacher: Teacher | None = None,
        first: int = 0,
    ) -> None:
        options = self.options = plan.options
        assert options.batch_size is not None
        self.source, self.preprocessing = plan.model, plan.preprocessing
        self.classes = len(plan.labels)
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
        self.first, epochs = first, options.epochs - first
        steps = self.steps = epochs * len(self.batches)
        self.kinds = (
            Kinds()
            if plan.spec is not None
            else kinds_of(model, plan.image, plan.model, options.scores)
        )
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
        statistics = Batches(len(train), EVALUATION_BATCH, options.seed, STATISTICS_IMAGES)
        self.statistics = Loader(train, statistics, self.device)

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
        loss, correct, lr = self._steps(epoch, report)
        trained = time.perf_counter()
        scores = self.evaluate(validation)
        images = self.batches.images
        return EpochRecord(
            epoch=epoch + 1,
            lr=lr,
            train_loss=loss / images,
            train_top1=correct / images,
            validation_loss=scores.loss,
            validation_top1=scores.top1,
            seconds=time.perf_counter() - begin,
            images_per_s=images / (trained - begin),
        )

    def _steps(self, epoch: int, report: Callable[[int, float], None]) -> tuple[float, int, float]:
        self.model.train()
        self.batches.epoch = epoch
        done = (epoch - self.first) * len(self.batches)
        loss_sum = torch.zeros((), device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        lr, unchecked = 0.0, list[Tensor]()
        for step, (pixels, labels) in enumerate(self.loader):
            lr = self.schedule.get_last_lr()[0]
            scores, targets, minimized = self._step(pixels, labels, epoch, step)
            loss = label_loss(scores, targets, self.kinds.training)
            loss_sum += loss * len(labels)
            main = targets if targets.ndim == 1 else targets.argmax(1)
            correct += (class_logits(scores, self.kinds.training).argmax(1) == main).sum()
            unchecked.append(minimized)
            if step % _REPORT_EVERY == 0 or step + 1 == len(self.batches):
                self._check_steps(unchecked, done + step + 1)
                unchecked.clear()
                report(done + step + 1, float(loss))
        loss_sum, correct = self.accelerator.reduce((loss_sum, correct), "sum")
        return self._finite(float(loss_sum), f"in epoch {epoch + 1}"), int(correct), lr

    def _step(
        self, pixels: Tensor, labels: Tensor, epoch: int, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Trains on a batch; gives its scores, its targets, and what was made smaller."""
        where = (self.options.seed, epoch, step)
        pixels, targets = self._augmented(pixels, labels, where)
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
                    scores = self.model(normalize(images, self.preprocessing))
                loss = self._loss(scores, wanted, images)
                # The mean over the whole batch, of which the parts need not be equal.
                share = len(images) * processes.count() / size
                with self._running(
                    f"at step {(epoch - self.first) * len(self.batches) + step + 1}"
                ):
                    self.accelerator.backward(loss * share)
            found.append(scores.detach())
            minimized += loss.detach() * share
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.network)
        return torch.cat(found), targets, minimized

    def _augmented(
        self, pixels: Tensor, labels: Tensor, where: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Changed images, and their labels or, where they are mixed, the shares of the classes."""
        o, process = self.options, self._process()
        seed = (*where, _AUGMENTATION, *process)
        pixels = augment(pixels, seed, flip=bool(o.flip), crop=o.crop)
        if o.randaugment is not None:
            pixels = randaugment(pixels, (*where, _RANDAUGMENT, *process), *o.randaugment)
        if o.mixup == o.cutmix == 0:
            return pixels, labels
        seed = (*where, _MIXING, *process)
        return mix(pixels, labels, seed, classes=self.classes, mixup=o.mixup, cutmix=o.cutmix)

    def _process(self) -> tuple[int, ...]:
        """What tells the random choices of this process from those of the first."""
        rank = processes.rank()
        return (rank,) if rank else ()

    def _loss(self, scores: Tensor, targets: Tensor, pixels: Tensor) -> Tensor:
        """What is made smaller: cross-entropy, and the divergence from the teacher."""
        o = self.options
        kind = self.kinds.training
        loss = label_loss(scores, targets, kind, label_smoothing=o.label_smoothing)
        if self.teacher is None:
            return loss
        taught = self.teacher.loss(scores, pixels, kind)
        return (1 - o.teacher_weight) * loss + o.teacher_weight * taught

    def evaluate(self, loader: Loader, confusions: Confusions | None = None) -> Scores:
        """Evaluates the averaged weights in fp32.

        Their batch-norm statistics are computed anew from training images without augmentation:
        those of the training lag behind the weights, and no average of them fits averaged
        weights.

        Args:
            confusions: counts the images, where it is given.

        Raises:
            ModelError: the loss is not finite.
        """
        network = self.average.module
        torch.manual_seed(torch_seed(self.options.seed, _STATISTICS))  # dropout is active there
        with torch.no_grad():
            with self._running("in the evaluation"):
                update_bn(self._inputs(self.statistics), network)
            self.average.eval()
            loss, top1, top5, n = 0.0, 0, 0, 0
            for pixels, labels in loader:
                with self._running("in the evaluation"):
                    scores = network(normalize(pixels, self.preprocessing))
                self._check_scores(scores, n)
                kind = self.kinds.evaluation
                loss += float(label_loss(scores, labels, kind, reduction="sum"))
                scores = class_logits(scores, kind) if scores.shape[1] == 1 else scores
                likeliest = scores.topk(min(5, scores.shape[1])).indices
                if confusions is not None:
                    confusions.update(labels.cpu().numpy(), likeliest[:, 0].cpu().numpy())
                ranked = likeliest == labels[:, None]
                top1 += int(ranked[:, 0].sum())
                top5 += int(ranked.any(1).sum())
                n += len(labels)
        sums = torch.tensor([loss, top1, top5, n], dtype=torch.float64, device=self.device)
        loss, top1, top5, n = self.accelerator.reduce(sums, "sum").tolist()
        if confusions is not None:
            counts = torch.from_numpy(confusions.counts).to(self.device)
            confusions.counts = self.accelerator.reduce(counts, "sum").cpu().numpy()
        share5 = top5 / n if self.classes > 5 else None
        return Scores(int(n), self._finite(loss / n, "in the evaluation"), top1 / n, share5)

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
        pixels, _ = self._augmented(pixels, labels, (self.options.seed, epoch, number))
        self.teacher.check(pixels, partial(changed_image, indices))

    def _check_scores(self, scores: Tensor, first: int) -> None:
        """Of an evaluation: a loss can be finite where scores are not."""
        if not torch.isfinite(scores).all():
            check_finite(
                scores.cpu().numpy(),
                "the training diverged: the network",
                lambda i: f"image {first + i} of the evaluation",
            )

    def _finite(self, loss: float, when: str) -> float:
        if not math.isfinite(loss):
            raise ModelError(
                f"the training diverged {when}: the loss is {loss}; lower --lr (now "
                f"{self.options.lr:g})"
                + ("" if self.options.amp in ("off", "auto") else " or use --amp off")
            )
        return loss
