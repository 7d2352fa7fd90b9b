"""Quantization-aware training: a few epochs in which the network feels what integers will do.

NNCF puts the rounding of weights and activations into the network, and gradients pass it by. The
network learns to give the scores that its float self gives, so that no labels are needed and what
it was trained with (smoothing, mixing) does not matter. What is kept are its weights: the targets'
own quantizers make the file of them, as of any other network's.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.data import open_source
from edgekit.errors import DataError, ModelError
from edgekit.models.source import Model
from edgekit.native_output import captured
from edgekit.quantize.calibration import Calibration
from edgekit.training.images import Batches, Loader, augment, normalize, open_splits

BATCH = 64
LEARNING_RATE = 1e-4

_START_IMAGES = 64

Notify = Callable[[str], None]


def fine_tune(
    model: Model,
    data: str,
    calibration: Calibration,
    *,
    epochs: int,
    seed: int = 0,
    notify: Notify = lambda stage: None,
) -> Model:
    """Trains a network for integers.

    Args:
        model: trained; stays as it is.
        data: SRC, whose split ``train`` is used.
        calibration: images that the ranges start from.

    Returns:
        The network with other weights.

    Raises:
        DataError: the source has no images for training.
        ModelError: NNCF cannot follow the network, or the training diverges.
    """
    source = open_source(data)
    if "train" not in source.splits:
        raise DataError(f"'{source.name}' has no split 'train' to train for integers on")
    facts = model.preprocessing
    assert facts is not None
    teacher = model.module.eval()
    student = _quantized(copy.deepcopy(teacher), calibration, model.words)
    images = open_splits(source, ["train"], facts, lambda done, of: None)["train"]
    batches = Batches(len(images), min(BATCH, len(images)), seed)
    loader = Loader(images, batches, torch.device("cpu"))
    weights = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, LEARNING_RATE, weight_decay=0.0)
    steps = epochs * len(batches)
    for epoch in range(epochs):
        notify(f"quantization-aware training, epoch {epoch + 1} of {epochs}")
        batches.epoch = epoch
        for step, (pixels, _) in enumerate(loader):
            done = (epoch * len(batches) + step) / steps
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * done)) / 2
            pixels = augment(pixels, (seed, epoch, step), flip=source.flippable, crop=True)
            loss = _divergence(student, teacher, normalize(pixels, facts))
            if not torch.isfinite(loss):
                raise ModelError("the training for integers diverges")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return dataclasses.replace(model, module=_with_weights_of(student, teacher))


def _quantized(module: nn.Module, calibration: Calibration, words: str) -> nn.Module:
    """A network that rounds as integers do. Its batch norms keep their statistics."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import nncf

    images = [image[None] for image in torch.from_numpy(calibration.images[:_START_IMAGES])]
    try:
        with captured():
            nncf.set_log_level(40)
            quantized: nn.Module = nncf.quantize(
                module.eval(), nncf.Dataset(images), subset_size=len(images)
            )
    except Exception as error:  # it traces the network, whose code may do anything
        raise ModelError(f"'{words}' cannot be trained for integers: {error}") from error
    return quantized


def _divergence(student: nn.Module, teacher: nn.Module, images: Tensor) -> Tensor:
    """How far the student's probabilities are from the teacher's."""
    with torch.no_grad():
        wanted = F.log_softmax(teacher(images), dim=1)
    found = F.log_softmax(student(images), dim=1)
    return F.kl_div(found, wanted, log_target=True, reduction="batchmean")


def _with_weights_of(student: nn.Module, teacher: nn.Module) -> nn.Module:
    """The network without the rounding, with what it learned."""
    module = copy.deepcopy(teacher)
    learned = student.state_dict()
    module.load_state_dict({name: learned[name] for name in module.state_dict()})
    return module.eval()
