"""Short trainings and scores of networks in a search, on images that stay in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.core import ImageSource, Preprocessing
from edgekit.data.finite import check_finite
from edgekit.errors import DataError, ModelError
from edgekit.training.images import (
    Batches,
    Loader,
    augment,
    changed_image,
    normalize,
    open_splits,
)
from edgekit.training.layout import fit_for_training
from edgekit.training.losses import Kinds, class_logits, divergence, label_loss

BATCH = 64
LOGITS = Kinds()
STATISTICS_BATCHES = 8
SELECTION = "validation"
"""The split that candidates are chosen by: nothing is trained or tested on it."""


def _image(indices: Sequence[int], row: int) -> str:
    return f"image {indices[row]} of split '{SELECTION}'"


def epoch_steps(images: int) -> int:
    """Batches of one epoch over so many images."""
    return max(1, images // BATCH)


class Learner:
    """Trains and scores networks of one search; equal arguments give equal results.

    Args:
        source: with the splits ``train`` and `SELECTION`.
        facts: how images become inputs.
        teacher: whose scores are learned, too; ``None`` for labels alone. It is taken over.
        kinds: what the outputs of all these networks are.
        selection: images that networks are usually scored on, at most; a part that is drawn once.

    Raises:
        DataError: a split is missing, or an image cannot be decoded.
    """

    def __init__(
        self,
        source: ImageSource,
        facts: Preprocessing,
        seed: int,
        teacher: nn.Module | None,
        selection: int = 10**9,
        kinds: Kinds = LOGITS,
    ) -> None:
        for split in ("train", SELECTION):
            if split not in source.splits:
                raise DataError(
                    f"'{source.name}' has no split '{split}': a search trains on one part and "
                    f"chooses by another"
                )
        self._facts, self._seed, self._teacher = facts, seed, teacher
        self.kinds = kinds
        if teacher is not None:
            fit_for_training(teacher)
        self._flip = source.flippable
        self._images = open_splits(source, ["train", SELECTION], facts, lambda done, of: None)
        self.epoch_steps = epoch_steps(len(self._images["train"]))
        count = len(self._images[SELECTION])
        order = np.random.default_rng(seed).permutation(count)
        self._selection = np.sort(order[: min(count, selection)]).tolist()

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of one epoch, in its own order: pixels and labels."""
        yield from Loader(self._images["train"], self._order(epoch), torch.device("cpu"))

    def _order(self, epoch: int) -> Batches:
        count = len(self._images["train"])
        batches = Batches(count, min(BATCH, count), self._seed)
        batches.epoch = epoch
        return batches

    def inputs(self, pixels: Tensor) -> Tensor:
        """Pixels as the network takes them."""
        return normalize(pixels, self._facts)

    @torch.no_grad()
    def recalibrate(self, module: nn.Module) -> None:
        """Sets the statistics of batch norms anew: taking channels out has changed them."""
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
        module.train()
        for i, (pixels, _) in enumerate(self.batches(0)):
            if i == STATISTICS_BATCHES:
                break
            module(self.inputs(pixels))
        module.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def tune(self, module: nn.Module, steps: int, rate: float, epoch: int = 0) -> None:
        """Trains for some steps, with a rate that falls to 0.

        Args:
            epoch: whose order of images comes first.

        Raises:
            ModelError: the loss is no longer finite.
        """
        module.train()
        optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=1e-4, fused=True)
        done = 0
        torch.manual_seed(self._seed)
        while done < steps:
            for step, (pixels, labels) in enumerate(self.batches(epoch)):
                if done == steps:
                    break
                share = done / steps
                optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * share)) / 2
                pixels = augment(pixels, (self._seed, epoch, done), flip=self._flip, crop=True)
                loss = self._loss(module, self.inputs(pixels), labels)
                if not torch.isfinite(loss):
                    self._check_teacher(pixels, self._order(epoch).step(step))
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

    def _loss(self, module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        scores = module(images)
        kind = self.kinds.of(module)
        loss = label_loss(scores, labels, kind, label_smoothing=0.1)
        if self._teacher is None:
            return loss
        with torch.no_grad():
            wanted = self._teacher(images)
        return (loss + divergence(scores, wanted, (kind, self.kinds.evaluation))) / 2

    @torch.no_grad()
    def _check_teacher(self, pixels: Tensor, indices: Sequence[int]) -> None:
        """Tells a fault of the network that is learned from from those of a candidate."""
        if self._teacher is not None:
            wanted = self._teacher(self.inputs(pixels)).numpy()
            check_finite(wanted, "the network that is searched", partial(changed_image, indices))

    @torch.no_grad()
    def score(self, module: nn.Module, *, thorough: bool = False) -> tuple[float, float]:
        """Top-1, a fraction, and mean loss on the images that candidates are chosen by.

        Args:
            thorough: take all images of the split.
        """
        module.eval()
        images = self._images[SELECTION]
        chosen = list(range(len(images))) if thorough else self._selection
        right, loss, count = 0, 0.0, len(chosen)
        for start in range(0, count, 256):
            part = chosen[start : start + 256]
            pixels, labels = images.fetch(part)
            scores = module(self.inputs(pixels))
            check_finite(scores.numpy(), "a candidate", partial(_image, part))
            kind = self.kinds.evaluation
            right += int((class_logits(scores, kind).argmax(1) == labels).sum())
            loss += float(label_loss(scores, labels, kind, reduction="sum"))
        return right / count, loss / count
