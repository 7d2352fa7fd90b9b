"""Optimizer, learning-rate schedule and weight average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from edgekit.training.options import TrainingOptions
from edgekit.training.rmsprop import RMSProp

# Above this the average would span more than an epoch of ImageNet at a batch of 128.
_MAX_HORIZON = 10_000
_HORIZON_SHARE = 1 / 20

# arXiv:1905.11946, section 5.
_STAIR, _STAIR_EPOCHS = 0.97, 2.4


def make_optimizer(model: nn.Module, options: TrainingOptions) -> Optimizer:
    """The optimizer; weights of convolutions and linear layers decay, norms and biases do not."""
    assert options.lr is not None
    weights = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": options.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    if options.optimizer == "sgd":
        return SGD(groups, lr=options.lr, momentum=0.9, nesterov=True, fused=True)
    if options.optimizer == "rmsprop":
        return RMSProp(groups, lr=options.lr)
    return AdamW(groups, lr=options.lr, fused=True)


def make_schedule(optimizer: Optimizer, options: TrainingOptions, steps: int) -> LambdaLR:
    """Linear warm-up, then a cosine to 0 or the stairs of EfficientNet, step by step.

    The stairs are counted from the start of the run, as in EfficientNet's published code: the
    warm-up hides the first of them.

    Args:
        steps: of the whole run.
    """
    warmup = round(min(options.warmup_epochs / options.known_epochs, 0.25) * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if options.schedule == "step":
            stairs = int(step * options.known_epochs / steps / _STAIR_EPOCHS)
            return math.pow(_STAIR, stairs)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, factor)


def make_average(model: nn.Module, options: TrainingOptions, steps: int) -> AveragedModel:
    """The weights that are evaluated and kept: an average, or a plain copy without EMA.

    The decay is ``1 - 1 / horizon`` with a horizon of a twentieth of the run; the first steps
    use ``(1 + n) / (10 + n)``, so that the initial weights are soon forgotten. Buffers are
    copied; batch-norm statistics of averaged weights have to be computed anew.

    Args:
        steps: of the whole run.
    """
    horizon = min(_MAX_HORIZON, max(1.0, steps * _HORIZON_SHARE))
    decay = 1 - 1 / horizon if options.ema else 0.0

    @torch.no_grad()
    def average(kept: Sequence[Tensor], current: Sequence[Tensor], n: Tensor | int) -> None:
        now = min(decay, (1 + int(n)) / (10 + int(n)))
        torch._foreach_lerp_(list(kept), list(current), 1 - now)

    return AveragedModel(model, multi_avg_fn=average)
