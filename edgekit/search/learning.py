"""Short trainings and scores of networks in a search, on samples that stay in memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.data.finite import check_finite
from edgekit.errors import ModelError
from edgekit.models.copying import own_copy
from edgekit.search.inputs import ON_IMAGES, SELECTION, Inputs, Running
from edgekit.tasks.objectives import Objective
from edgekit.training.images import Batches
from edgekit.training.layout import fit_for_training

BATCH = 64
STATISTICS_BATCHES = 8
CHECKED_BATCHES = 2
"""Of those, batches that say whether new statistics are any better."""

LEAST_BATCH, LEAST_EPOCH = 4, 16
"""Samples that a batch has at least, and batches that an epoch has before a batch has more. An
epoch of 32 inputs in one batch would be one step: a U-Net with 0.7 of its channels explained less
than nothing after ten of those, and 76 % after ten epochs of eight batches."""

WARM_UP = 0.2
"""Share of a training in which the rate rises. The first steps of AdamW are as long for weights
that are right as for others: 80 batches took a network that followed the start by 98 % to 92 %,
and with a rise to 99.7 %."""

SCORED_AT_ONCE = 256

UNITS_SAMPLES = 64
"""Samples that say how much outputs differ, where they are followed."""

KEPT_NUMBERS = 1 << 26
"""Outputs of the network that is followed which are kept for the scores of others: 256 MiB."""


def batch_of(samples: int, run: Running = ON_IMAGES) -> int:
    """Samples of a batch in a training on so many: fewer where there are few, for more steps."""
    return min(samples, run.at_once(max(LEAST_BATCH, min(BATCH, samples // LEAST_EPOCH))))


def epoch_steps(samples: int, run: Running = ON_IMAGES) -> int:
    """Batches of one epoch over so many samples."""
    return max(1, samples // batch_of(samples, run))


def _share_of_rate(done: int, steps: int) -> float:
    """Of the learning rate, from 0 to 1, after some steps of a training."""
    return min(1.0, (done + 1) / (WARM_UP * steps)) * (1 + math.cos(math.pi * done / steps)) / 2


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Those of a network."""
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


class Learner:
    """Trains and scores networks of one search; equal arguments give equal results.

    Args:
        inputs: that are trained on and chosen by.
        objective: what is learned.
        teacher: whose outputs are learned; ``None`` for labels alone. It is taken over.
        selection: samples that networks are usually scored on, at most; a part that is drawn once.
        run: how networks are run on samples.

    Raises:
        DataError: a sample cannot be used.
        ModelError: the teacher gives nothing to learn.
    """

    def __init__(
        self,
        inputs: Inputs,
        objective: Objective,
        seed: int,
        teacher: nn.Module | None,
        selection: int = 10**9,
        run: Running = ON_IMAGES,
    ) -> None:
        self._inputs, self._seed, self._teacher, self._run = inputs, seed, teacher, run
        if teacher is not None:
            fit_for_training(teacher)
        inputs.load()
        self.epoch_steps = epoch_steps(inputs.size("train"), run)
        count = inputs.size(SELECTION)
        order = np.random.default_rng(seed).permutation(count)
        self._selection = np.sort(order[: min(count, selection)]).tolist()
        self._kept: dict[int, Tensor] = {}
        self._numbers = 0
        self.objective = objective
        if not objective.labelled:
            self.objective = objective.relative_to(self._units(), "the network that is searched")

    def _units(self) -> NDArray[np.float32]:
        some = self._selection[: self._run.at_once(UNITS_SAMPLES)]
        return self._wanted(self._inputs.ready(self._inputs.fetch(SELECTION, some)[0]), some)

    def _wanted(self, samples: Tensor, indices: Sequence[int]) -> NDArray[np.float32]:
        assert self._teacher is not None, "nothing to follow"
        with torch.no_grad():
            wanted = self._run(self._teacher, samples).numpy()
        self._check(wanted, "the network that is searched", SELECTION, indices)
        return wanted

    def _check(
        self,
        outputs: NDArray[np.float32],
        what: str,
        split: str,
        indices: Sequence[int],
        *,
        changed: bool = False,
    ) -> None:
        check_finite(
            outputs,
            what,
            lambda row: self._inputs.named(split, indices[row], changed=changed),
            self._run.output,
        )

    def batches(self, epoch: int, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of one epoch, in its own order: samples and labels.

        Args:
            most: samples of a batch; as trainings have them if ``None``.
        """
        yield from self._inputs.batches(self._order(epoch, most))

    def _order(self, epoch: int, most: int | None = None) -> Batches:
        count = self._inputs.size("train")
        size = batch_of(count, self._run) if most is None else min(self._run.at_once(most), count)
        batches = Batches(count, size, self._seed)
        batches.epoch = epoch
        return batches

    def effect(self, module: nn.Module) -> Tensor:
        """What a network's outputs come to on a batch, for importances of channels."""
        samples, labels = next(self.batches(0, BATCH))
        outputs = self._run(module, self._inputs.ready(samples))
        return self.objective.effect(outputs, labels)

    @torch.no_grad()
    def recalibrate(self, module: nn.Module) -> None:
        """Sets the statistics of batch norms anew, as taking channels out has changed them.

        Where trainings leave them as they are, they stay so if new ones make the loss larger: of a
        network that has seen other inputs than these, for one, or where there are few.

        Where samples are computed one by one, norms keep theirs: one may be of a single number.
        """
        norms = [norm for norm in batch_norms(module) if norm.running_mean is not None]
        if not self._run.batched or not norms:
            return
        batches = list(itertools.islice(self.batches(0, BATCH), STATISTICS_BATCHES))
        before = [own_copy(norm).state_dict() for norm in norms]
        labelled, checked = self.objective.labelled, batches[:CHECKED_BATCHES]
        loss = math.inf if labelled else self._loss_of(module, checked)
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
        module.train()
        for samples, _ in batches:
            self._run(module, self._inputs.ready(samples))
        module.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        if not labelled and not self._loss_of(module, checked) <= loss:
            for norm, state in zip(norms, before, strict=True):
                norm.load_state_dict(state)

    def _loss_of(self, module: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
        """A network's loss in eval mode, which it is in then."""
        module.eval()
        losses = [self._loss(module, self._inputs.ready(x), labels) for x, labels in batches]
        return float(torch.stack(losses).mean())

    def tune(
        self, module: nn.Module, steps: int, rate: float, epoch: int = 0, *, fresh: bool = False
    ) -> None:
        """Trains for some steps, with a rate that rises quickly and falls to 0.

        Args:
            epoch: whose order of samples comes first.
            fresh: whether its weights are new.

        Raises:
            ModelError: the loss is no longer finite.
        """
        self._to_train(module, fresh=fresh)
        optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=1e-4, fused=True)
        done = 0
        torch.manual_seed(self._seed)
        while done < steps:
            for step, (samples, labels) in enumerate(self.batches(epoch)):
                if done == steps:
                    break
                optimizer.param_groups[0]["lr"] = rate * _share_of_rate(done, steps)
                seed = (self._seed, epoch, done)
                changed, targets = self._inputs.changed(samples, labels, seed)
                given = self._inputs.ready(changed)
                loss = self._loss(module, given, targets)
                if not torch.isfinite(loss):
                    self._check_teacher(given, self._order(epoch).step(step))
                    raise ModelError(
                        f"the training of a candidate diverges at step {done + 1} of {steps}: the "
                        f"loss is {float(loss)}"
                    )
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                done += 1
            epoch += 1
        module.eval()

    def _to_train(self, module: nn.Module, *, fresh: bool) -> None:
        """Training mode; norms keep their statistics where those of a batch would mislead.

        That is where samples are computed one by one, and where outputs of another network are
        followed: those are of its eval mode, and with the statistics of a batch this one would
        learn to follow it in a mode that nobody uses. Fresh weights have no statistics to keep.
        """
        module.train()
        if not self._run.batched or not (self.objective.labelled or fresh):
            for norm in batch_norms(module):
                norm.eval()

    def _loss(self, module: nn.Module, given: Tensor, labels: Tensor) -> Tensor:
        outputs = self._run(module, given)
        wanted = None
        if self._teacher is not None:
            with torch.no_grad():
                wanted = self._run(self._teacher, given)
        return self.objective.loss(outputs, labels, wanted, training=module.training)

    @torch.no_grad()
    def _check_teacher(self, given: Tensor, indices: Sequence[int]) -> None:
        """Tells a fault of the network that is learned from from those of a candidate."""
        if self._teacher is not None:
            wanted = self._run(self._teacher, given).numpy()
            self._check(wanted, "the network that is searched", "train", indices, changed=True)

    @torch.no_grad()
    def score(self, module: nn.Module, *, thorough: bool = False) -> tuple[float, float]:
        """The task's headline figure, and a loss, on the samples that candidates are chosen by.

        Args:
            thorough: take all samples of the split.
        """
        module.eval()
        count = self._inputs.size(SELECTION)
        chosen = list(range(count)) if thorough else self._selection
        tally = self.objective.tally()
        step = self._run.at_once(SCORED_AT_ONCE)
        for start in range(0, len(chosen), step):
            part = chosen[start : start + step]
            samples, labels = self._inputs.fetch(SELECTION, part)
            given = self._inputs.ready(samples)
            outputs = self._run(module, given)
            self._check(outputs.numpy(), "a candidate", SELECTION, part)
            wanted = None if self.objective.labelled else self._followed(given, part)
            tally.update(outputs, labels, wanted)
        return tally.figure, tally.loss

    def _followed(self, given: Tensor, indices: Sequence[int]) -> Tensor:
        """What the network that is followed gives; kept for the next one, where that fits."""
        if all(index in self._kept for index in indices):
            return torch.stack([self._kept[index] for index in indices])
        wanted = torch.from_numpy(self._wanted(given, indices))
        if self._numbers + wanted.numel() <= KEPT_NUMBERS:
            self._numbers += wanted.numel()
            self._kept.update(zip(indices, wanted, strict=True))
        return wanted
