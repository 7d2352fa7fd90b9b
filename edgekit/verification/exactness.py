"""How exactly float32 gives the scores of a network, image by image.

A network with arbitrary weights can make rounding grow until float32 and float64 have nothing in
common. No file can be held against such scores: another order of the same sums gives others.
float64 takes several times as long as float32, so it is computed only for images on which a file
is found to disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.core import with_kind
from edgekit.core.reasons import PASSING
from edgekit.models.copying import own_copy
from edgekit.models.precise import Precise
from edgekit.tasks import Task
from edgekit.verification.samples import BATCH, reference_scores

STEADY_DB = 70.0
"""Least agreement of float32 with float64 on an image that counts: what float32 files have to
reach, 60 dB, and 10 dB for runtimes that order their sums otherwise."""

# A last bit of an image whose values are about 1.
_LAST_BIT = 2.0**-23
_NUDGES = 4  # one alone may round to the same numbers by chance


class Exactness:
    """Looks up on which images a reference is reproducible, and remembers.

    Args:
        module: the network, in eval mode; it stays as it is: copies are run.
        images: (n, 3, H, W), or rows of inputs.
        scores: what the network gives for them in float32, (n, classes), or rows of outputs.
        task: of the network.

    Attributes:
        fallback: why float64 cannot be computed; ``None`` where it can, or nobody has asked.
            float32 on images that differ in their last bits stands for it then.
    """

    def __init__(
        self,
        module: nn.Module,
        images: NDArray[np.float32],
        scores: NDArray[np.float32],
        task: Task,
    ) -> None:
        self._module, self._images, self._scores, self._task = module, images, scores, task
        self._found: dict[int, float] = {}
        self.fallback: str | None = None

    def steady(self, indices: Sequence[int]) -> NDArray[np.bool_]:
        """Whether float32 gives the scores of each of some images as float64 does."""
        return np.array([db >= STEADY_DB for db in self.sqnr_db(indices)], bool)

    def sqnr_db(self, indices: Sequence[int]) -> list[float]:
        """Agreement of float32 with float64 by image; 0 where another class is the likeliest."""
        asked = [i for i in indices if i not in self._found]
        for start in range(0, len(asked), BATCH):
            some = asked[start : start + BATCH]
            ratios = np.full(len(some), np.inf)
            for other in self._others(self._images[some]):
                same = self._task.decided_alike(self._scores[some], other)
                own = self._task.sqnr_db(self._scores, other, some)
                ratios = np.minimum(ratios, np.where(same, own, 0.0))
            self._found |= zip(some, ratios.tolist(), strict=True)
        return [self._found[i] for i in indices]

    @cached_property
    def _precise(self) -> Precise:
        return Precise(self._module)

    @cached_property
    def _copy(self) -> nn.Module:
        return own_copy(self._module)

    def _others(self, images: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """Scores that are equal but for what rounding makes of them."""
        if self.fallback is None:
            try:
                found64 = self._precise.scores(torch.from_numpy(images))
                return [found64.numpy()]
            except PASSING:
                raise
            except BaseException as error:  # the user's code may raise anything
                self.fallback = with_kind(error)
        found = []
        for seed in range(_NUDGES):
            signs = np.random.default_rng(seed).choice([-1.0, 1.0], images.shape)
            nudged = (images * (1 + _LAST_BIT * signs)).astype(np.float32)
            found.append(reference_scores(self._copy, nudged).astype(np.float64))
        return found
