"""Quantization-aware training: a few epochs in which the network feels what integers will do.

Weights and inputs of convolutions and linear layers are rounded as the targets' integers are, with
gradients that pass the rounding by (PyTorch's own fake quantization; NNCF's compiles C++ code when
it is first used, for which devices' users would need a compiler). The network learns to give the
outputs that its float self gives, so that no labels are needed and what it was trained with
(smoothing, mixing) does not matter. What is kept are its weights: the targets' own quantizers make
the file of them, as of any other network's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgekit.arrays import array_files
from edgekit.core import ImageSource
from edgekit.data import open_source
from edgekit.data.finite import check_finite
from edgekit.errors import DataError, ModelError
from edgekit.foreign import explained
from edgekit.models.copying import own_copy
from edgekit.models.model import Model
from edgekit.models.rows import at_once, one_by_one, runs_batched, together
from edgekit.quantize.calibration import Calibration
from edgekit.stated import assumed
from edgekit.tasks import task_of
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

PROBED = 4
"""Inputs that tell whether several can be computed at once."""

Notify = Callable[[str], None]
Run = Callable[[nn.Module, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


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
        data: SRC, of images, whose split ``train`` is used. Of a folder of arrays it is the inputs
            of the calibration: others may be those that the result is judged on.
        calibration: inputs that the ranges start from.
        limit: the largest integer of weights.

    Returns:
        The network with other weights.

    Raises:
        DataError: the source has no images for training.
        ModelError: no layer can be trained, there is nothing to learn, or the training diverges.
    """
    threads = Threads(None, notify, BY_ENVIRONMENT)
    samples = _samples(model, data, calibration, seed, skip_corrupt)
    teacher = own_copy(model.module).eval()
    if model.signature is None:
        fit_for_training(teacher)
    run = _running_rows(teacher, calibration, model)
    loss_of = _loss(model, run, teacher, calibration)
    student = own_copy(teacher).requires_grad_(True)
    with _running(model.source, "on the inputs of the calibration"):
        student = _quantized(student, calibration, model.source, limit, run)
    weights = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, LEARNING_RATE, weight_decay=0.0, fused=True)
    batches = samples.batches
    steps = epochs * len(batches)
    for epoch in range(epochs):
        batches.epoch = epoch
        threads.fit()
        for step, inputs in enumerate(samples.of_epoch(epoch)):
            done = (epoch * len(batches) + step) / steps
            notify(f"quantization-aware training, {epoch * len(batches) + step} of {steps}")
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * done)) / 2
            when = f"at step {epoch * len(batches) + step + 1} of {steps}"
            with _running(model.source, when):
                with torch.no_grad():
                    wanted = run(teacher, inputs)
                loss = loss_of(run(student, inputs), wanted)
            if not torch.isfinite(loss):
                name = partial(samples.name, batches.step(step))
                check_finite(wanted.numpy(), f"'{model.source}'", name, model.told)
                raise ModelError(
                    f"the training for integers diverges {when}: the loss is {float(loss)}"
                )
            optimizer.zero_grad()
            with _running(model.source, when):
                torch.autograd.backward(loss)
            optimizer.step()
    return dataclasses.replace(model, module=_with_weights_of(student, model.module))


def _whole(module: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = module(images)
    return found


class _Samples(Protocol):
    """What a network is trained on."""

    batches: Batches

    def of_epoch(self, epoch: int) -> Iterator[Tensor]:
        """Inputs of the network, step by step."""

    def name(self, indices: Sequence[int], row: int) -> str:
        """One of a batch, in messages."""


class _Images:
    """Images of a source's training, shifted, zoomed and mirrored; as rows where it takes those."""

    def __init__(self, source: ImageSource, model: Model, batch: int, seed: int) -> None:
        preprocessing = model.preprocessing or assumed(model, source)
        images = open_splits(source, ["train"], preprocessing, lambda done, of: None)["train"]
        self._source, self._preprocessing, self._seed = source, preprocessing, seed
        self._as_rows = model.signature is not None
        self.batches = Batches(len(images), min(batch, len(images)), seed)
        self._loader = Loader(images, self.batches, torch.device("cpu"))

    def of_epoch(self, epoch: int) -> Iterator[Tensor]:
        for step, (pixels, _) in enumerate(self._loader):
            seed = (self._seed, epoch, step)
            changed = augment(pixels, seed, flip=self._source.flippable, crop=True)
            inputs = normalize(changed, self._preprocessing)
            yield inputs.flatten(1) if self._as_rows else inputs

    def name(self, indices: Sequence[int], row: int) -> str:
        return changed_image(indices, row)


class _Rows:
    """Inputs of the calibration, as they are."""

    def __init__(self, calibration: Calibration, batch: int, seed: int) -> None:
        self._calibration, self._rows = calibration, torch.from_numpy(calibration.images)
        self.batches = Batches(len(self._rows), min(batch, len(self._rows)), seed)

    def of_epoch(self, epoch: int) -> Iterator[Tensor]:
        for indices in self.batches:
            yield self._rows[indices]

    def name(self, indices: Sequence[int], row: int) -> str:
        return self._calibration.names[indices[row]]


def _samples(
    model: Model, data: str, calibration: Calibration, seed: int, skip_corrupt: bool
) -> _Samples:
    """Inputs to train on, that nothing is judged by."""
    batch = BATCH if model.signature is None else at_once(BATCH, model.signature)
    if model.signature is not None and array_files(data):
        return _Rows(calibration, batch, seed)
    source = open_source(data, skip_corrupt=skip_corrupt, labelled=model.signature is None)
    if "train" not in source.splits:
        raise DataError(f"'{source.name}' has no split 'train' to train for integers on")
    return _Images(source, model, batch, seed)


def _running_rows(teacher: nn.Module, calibration: Calibration, model: Model) -> Run:
    """How the network is run on samples, (n, numbers)."""
    interface = model.signature
    if interface is None:
        return _whole
    some = torch.from_numpy(calibration.images[:PROBED])
    way = together if runs_batched(teacher, some, interface) else one_by_one
    return lambda module, rows: way(module, rows, interface)


def _loss(model: Model, run: Run, teacher: nn.Module, calibration: Calibration) -> Loss:
    """What is made smaller: how far outputs are from those of the float network."""
    if model.signature is None:
        kind = model.scores or "logits"
        return lambda outputs, wanted: divergence(outputs, wanted, (kind, kind))
    some = torch.from_numpy(calibration.images[: at_once(BATCH, model.signature)])
    with _running(model.source, "on the inputs of the calibration"), torch.no_grad():
        reference = run(teacher, some).numpy()
    objective = task_of(model).objective(model).relative_to(reference, f"'{model.source}'")
    return objective.apart


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
    module: nn.Module, calibration: Calibration, source: str, limit: int = 127, run: Run = _whole
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
            run(module, image[None])
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
