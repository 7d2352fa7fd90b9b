"""Quantization-aware training: a few epochs in which the network feels what integers will do.

Weights and inputs of convolutions and linear layers are rounded as the targets' integers are, with
gradients that pass the rounding by (PyTorch's own fake quantization; NNCF's compiles C++ code when
it is first used, for which devices' users would need a compiler). The network learns to give the
scores that its float self gives, so that no labels are needed and what it was trained with
(smoothing, mixing) does not matter. What is kept are its weights: the targets' own quantizers make
the file of them, as of any other network's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgekit.data import open_source
from edgekit.data.finite import check_finite
from edgekit.errors import DataError, ModelError
from edgekit.foreign import explained
from edgekit.models.copying import own_copy
from edgekit.models.model import Model
from edgekit.quantize.calibration import Calibration
from edgekit.tasks.losses import divergence
from edgekit.training.images import (
    Batches,
    Loader,
    augment,
    changed_image,
    normalize,
    open_splits,
)
from edgekit.training.layout import fit_for_training
from edgekit.training.threads import BY_ENVIRONMENT, Threads, threads_put_back

BATCH = 64
LEARNING_RATE = 1e-4

_SMALLEST = 1e-12  # no scale is zero

Notify = Callable[[str], None]


@threads_put_back()
def fine_tune(
    model: Model,
    data: str,
    calibration: Calibration,
    *,
    epochs: int,
    limit: int = 127,
    seed: int = 0,
    skip_corrupt: bool = False,
    notify: Notify = lambda stage: None,
) -> Model:
    """Trains a network for integers.

    Args:
        model: trained; stays as it is.
        data: SRC, whose split ``train`` is used.
        calibration: images that the ranges start from.
        limit: the largest integer of weights.

    Returns:
        The network with other weights.

    Raises:
        DataError: the source has no images for training.
        ModelError: no layer can be trained, or the training diverges.
    """
    threads = Threads(None, notify, BY_ENVIRONMENT)
    source = open_source(data, skip_corrupt=skip_corrupt)
    if "train" not in source.splits:
        raise DataError(f"'{source.name}' has no split 'train' to train for integers on")
    preprocessing = model.preprocessing
    assert preprocessing is not None
    teacher = own_copy(model.module).eval()
    fit_for_training(teacher)
    student = own_copy(teacher).requires_grad_(True)
    with _running(model.source, "on the images of the calibration"):
        student = _quantized(student, calibration, model.source, limit)
    images = open_splits(source, ["train"], preprocessing, lambda done, of: None)["train"]
    batches = Batches(len(images), min(BATCH, len(images)), seed)
    loader = Loader(images, batches, torch.device("cpu"))
    weights = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, LEARNING_RATE, weight_decay=0.0, fused=True)
    steps = epochs * len(batches)
    for epoch in range(epochs):
        batches.epoch = epoch
        for step, (pixels, _) in enumerate(loader):
            done = (epoch * len(batches) + step) / steps
            notify(f"quantization-aware training, {done:.0%} of {epochs} epochs")
            if step == 0:
                threads.fit()
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * done)) / 2
            pixels = augment(pixels, (seed, epoch, step), flip=source.flippable, crop=True)
            inputs = normalize(pixels, preprocessing)
            when = f"at step {epoch * len(batches) + step + 1} of {steps}"
            kind = model.scores or "logits"
            with _running(model.source, when):
                with torch.no_grad():
                    wanted = teacher(inputs)
                loss = divergence(student(inputs), wanted, (kind, kind))
            if not torch.isfinite(loss):
                name = partial(changed_image, batches.step(step))
                check_finite(wanted.numpy(), f"'{model.source}'", name)
                raise ModelError(
                    f"the training for integers diverges {when}: the loss is {float(loss)}"
                )
            optimizer.zero_grad()
            with _running(model.source, when):
                torch.autograd.backward(loss)
            optimizer.step()
    return dataclasses.replace(model, module=_with_weights_of(student, model.module))


def _running(source: str, when: str) -> AbstractContextManager[None]:
    """A block that runs the network, whose code may raise anything."""
    return explained(lambda reason: f"'{source}' fails {when} while trained for integers: {reason}")


class _RoundedWeight(nn.Module):
    """Integers of weights, symmetric, with a scale for each output channel (axis 0)."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def forward(self, weight: Tensor) -> Tensor:
        largest = weight.detach().abs().flatten(1).amax(1).clamp(min=_SMALLEST)
        zeros = torch.zeros_like(largest, dtype=torch.int32)
        limit = self._limit
        return torch.fake_quantize_per_channel_affine(
            weight, largest / limit, zeros, 0, -limit, limit
        )


class _RoundedInput:
    """A hook that rounds what a layer gets to 8 bits, between extremes that it saw before."""

    def __init__(self) -> None:
        self.low = self.high = 0.0  # zero has to be among the integers, as padding
        self.watches = True

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *others = inputs
        if self.watches:
            self.low = min(self.low, float(x.min()))
            self.high = max(self.high, float(x.max()))
            return inputs
        scale = max(self.high - self.low, _SMALLEST) / 255
        zero = min(255, max(0, round(-self.low / scale)))
        return (torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255), *others)


def _quantized(
    module: nn.Module, calibration: Calibration, source: str, limit: int = 127
) -> nn.Module:
    """Makes a network round as integers do. Its batch norms keep their statistics."""
    layers = [
        layer for layer in module.eval().modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    if not layers:
        raise ModelError(
            f"'{source}' cannot be trained for integers: expected torch.nn.Conv2d or "
            f"torch.nn.Linear among its modules"
        )
    hooks = []
    for layer in layers:
        hooks.append(_RoundedInput())
        layer.register_forward_pre_hook(hooks[-1])
        parametrize.register_parametrization(layer, "weight", _RoundedWeight(limit))
    with torch.no_grad():
        for image in torch.from_numpy(calibration.images):
            module(image[None])
    for hook in hooks:
        hook.watches = False
    return module


def _with_weights_of(student: nn.Module, plain: nn.Module) -> nn.Module:
    """The network without the rounding, with what it learned."""
    module = own_copy(plain)
    for layer in student.modules():
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    module.load_state_dict(student.state_dict())
    return module.eval()
