"""Short trainings and scores of networks in a search, on samples that stay in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.data.finite import check_finite
from edgekit.errors import ModelError
from edgekit.search.inputs import ON_IMAGES, SELECTION, Inputs, Running
from edgekit.tasks.objectives import Objective
from edgekit.training.images import Batches
from edgekit.training.layout import fit_for_training

BATCH = 64
STATISTICS_BATCHES = 8
SCORED_AT_ONCE = 256

UNITS_SAMPLES = 64
"""Samples that say how much outputs differ, where they are followed."""

KEPT_NUMBERS = 1 << 26
"""Outputs of the network that is followed which are kept for the scores of others: 256 MiB."""


def epoch_steps(samples: int, run: Running = ON_IMAGES) -> int:
    """Batches of one epoch over so many samples."""
    return max(1, samples // run.at_once(BATCH))


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

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of one epoch, in its own order: samples and labels."""
        yield from self._inputs.batches(self._order(epoch))

    def _order(self, epoch: int) -> Batches:
        count = self._inputs.size("train")
        batches = Batches(count, min(self._run.at_once(BATCH), count), self._seed)
        batches.epoch = epoch
        return batches

    def effect(self, module: nn.Module) -> Tensor:
        """What a network's outputs come to on a batch, for importances of channels."""
        samples, labels = next(self.batches(0))
        outputs = self._run(module, self._inputs.ready(samples))
        return self.objective.effect(outputs, labels)

    @torch.no_grad()
    def recalibrate(self, module: nn.Module) -> None:
        """Sets the statistics of batch norms anew: taking channels out has changed them.

        Where samples are computed one by one, norms keep theirs: one may be of a single number.
        """
        if not self._run.batched:
            return
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
        module.train()
        for i, (samples, _) in enumerate(self.batches(0)):
            if i == STATISTICS_BATCHES:
                break
            self._run(module, self._inputs.ready(samples))
        module.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def tune(self, module: nn.Module, steps: int, rate: float, epoch: int = 0) -> None:
        """Trains for some steps, with a rate that falls to 0.

        Args:
            epoch: whose order of samples comes first.

        Raises:
            ModelError: the loss is no longer finite.
        """
        self._to_train(module)
        optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=1e-4, fused=True)
        done = 0
        torch.manual_seed(self._seed)
        while done < steps:
            for step, (samples, labels) in enumerate(self.batches(epoch)):
                if done == steps:
                    break
                share = done / steps
                optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * share)) / 2
                changed = self._inputs.changed(samples, (self._seed, epoch, done))
                given = self._inputs.ready(changed)
                loss = self._loss(module, given, labels)
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

    def _to_train(self, module: nn.Module) -> None:
        """Training mode; norms keep their statistics where samples are computed one by one."""
        module.train()
        if not self._run.batched:
            for layer in module.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()

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
