"""Training on pairs of images: blended (mixup) or one with a piece of the other (CutMix)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def mix(
    pixels: Tensor,
    labels: Tensor,
    seed: Sequence[int],
    *,
    classes: int,
    mixup: float,
    cutmix: float,
) -> tuple[Tensor, Tensor]:
    """Mixes each image with its neighbour in the batch, and their labels by the same shares.

    One share for the batch is drawn from Beta(a, a). With both kinds, one of them is taken at
    random.

    Args:
        pixels: 8-bit RGB, (N, height, width, 3).
        labels: int64 (N).
        seed: everything that the choices depend on, such as seed, epoch and step.
        mixup: concentration a of arXiv:1710.09412; 0: never.
        cutmix: concentration a of arXiv:1905.04899; 0: never.

    Returns:
        Images of the same shape and type, and the share of each class, float32 (N, classes).
    """
    rng = np.random.default_rng(seed)
    blend = cutmix == 0 or (mixup > 0 and rng.random() < 0.5)
    concentration = mixup if blend else cutmix
    share = float(rng.beta(concentration, concentration))
    neighbours = pixels.roll(1, 0)
    if blend:
        mixed = torch.lerp(neighbours.float(), pixels.float(), share).round_().to(torch.uint8)
    else:
        mixed, share = _cut(pixels, neighbours, share, rng)
    targets = F.one_hot(labels, classes).float()
    return mixed, targets * share + targets.roll(1, 0) * (1 - share)


def _cut(
    pixels: Tensor, neighbours: Tensor, share: float, rng: np.random.Generator
) -> tuple[Tensor, float]:
    """Puts a rectangle of the neighbours in; gives the share that is left of the images."""
    sides = np.array(pixels.shape[1:3])
    half = sides * (1 - share) ** 0.5 / 2
    middle = rng.uniform(0, sides)
    top, left = np.rint(np.clip(middle - half, 0, sides)).astype(int).tolist()
    bottom, right = np.rint(np.clip(middle + half, 0, sides)).astype(int).tolist()
    mixed = pixels.clone()
    mixed[:, top:bottom, left:right] = neighbours[:, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / int(sides.prod())
