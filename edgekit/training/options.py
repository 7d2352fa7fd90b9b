"""What a training can be told, with every value checked."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from edgekit.core import ImageSource, from_json, to_json
from edgekit.errors import UnavailableError, UnknownNameError, UsageError

OPTIMIZERS = ("adamw", "sgd")
DEVICES = ("auto", "cpu", "cuda")
AMP_MODES = ("auto", "off", "bf16", "fp16")

# Rates for a batch of 32. Chosen on digits at 32 px, MobileNetV3-Small, 15 epochs, mean validation
# top-1 of seeds 0 to 2: batch 64 with AdamW 1e-3 97.2 %, 2e-3 97.4 %, 4e-3 97.9 %; batch 32 with
# 1e-3 98.0 %, 2e-3 98.4 %; with random zoom (seeds 0 and 1, last three epochs) 2e-3 98.4 % and
# 4e-3 98.4 %, the worse seed 97.7 % and 98.1 %. The rate of SGD was not tuned.
_RATE = {"adamw": 4e-3, "sgd": 0.05}
# How the rate follows the batch: arXiv:2205.10287 for Adam, arXiv:1706.02677 for SGD.
_RATE_POWER = {"adamw": 0.5, "sgd": 1.0}
_RATE_BATCH = 32
# Usual for each optimizer: arXiv:1711.05101, arXiv:1512.03385.
_DECAY = {"adamw": 0.02, "sgd": 1e-4}

_SAMPLED_IMAGES = 32


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How to train.

    ``None`` leaves a choice to `resolve`, and the run folder records what was chosen.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step; ``None``: the power of two, from 16 to 128, that comes
            closest to 40 steps per epoch. That is 32 for digits and 128 for CIFAR-10.
        optimizer: ``adamw``, or ``sgd`` with Nesterov momentum 0.9.
        lr: peak learning rate; ``None``: 4e-3 for AdamW and 0.05 for SGD at a batch of 32,
            growing with the square root of the batch size, for SGD with the batch size.
        weight_decay: of weights only, never of norms and biases; ``None``: 0.02 for AdamW,
            1e-4 for SGD.
        warmup_epochs: linear rise of the rate before its cosine decay, never more than a quarter
            of the run.
        label_smoothing: share of the target that is spread over all classes.
        ema: evaluate and keep an exponential moving average of the weights. Its horizon is a
            twentieth of the run's steps, so that short runs average too, and at most 10,000.
        flip: mirror half of the images; ``None``: where the data allow it.
        crop: shift images by up to an eighth of their side and zoom them by up to 15 %, edges
            repeated.
        seed: of initial weights, order and augmentation. The same seed gives bit-identical
            weights on the CPU with the same number of threads; CUDA kernels do not promise that.
        resolution: input side in pixels; ``None``: twice the side of the images, rounded up to
            the network's stride and at most its published resolution. That is 32 for digits
            (8 px), 64 for CIFAR-10 (32 px) and the published size for photographs: enlarging
            further costs time and shows nothing more.
        device: ``auto`` takes CUDA where there is one.
        amp: mixed precision. ``auto`` is bf16 on CUDA and off on the CPU, where bf16 was slower
            (MobileNetV3-Small, 2 AVX-512 cores, 64 px: 202 images/s against 522 in fp32).
        threads: of the CPU; ``None`` leaves them as they are.
        init: checkpoint or state dict to start from, with the same classes.
    """

    epochs: int = 15
    batch_size: int | None = None
    optimizer: str = "adamw"
    lr: float | None = None
    weight_decay: float | None = None
    warmup_epochs: float = 2.0
    label_smoothing: float = 0.1
    ema: bool = True
    flip: bool | None = None
    crop: bool = True
    seed: int = 0
    resolution: int | None = None
    device: str = "auto"
    amp: str = "auto"
    threads: int | None = None
    init: str | None = None


def check(options: TrainingOptions) -> None:
    """Refuses values that cannot work.

    Raises:
        UsageError: names the option, its value and what was expected.
        UnknownNameError: an optimizer, device or mixed precision that does not exist.
    """
    try:
        from_json(TrainingOptions, to_json(options))
    except ValueError as error:
        raise UsageError(f"training option {error}".replace("TrainingOptions.", "")) from error
    o = options
    _require("epochs", o.epochs, "at least 1", o.epochs >= 1)
    batch = o.batch_size
    _require("batch size", batch, "at least 2, for batch norm", batch is None or batch >= 2)
    _require("lr", o.lr, "a number above 0", o.lr is None or 0 < o.lr < math.inf)
    decay = o.weight_decay
    _require("weight decay", decay, "0 or more", decay is None or 0 <= decay < math.inf)
    _require("warm-up epochs", o.warmup_epochs, "0 or more", 0 <= o.warmup_epochs < math.inf)
    smoothing = o.label_smoothing
    _require("label smoothing", smoothing, "from 0 to below 1", 0 <= smoothing < 1)
    _require("seed", o.seed, "from 0 to below 2**63", 0 <= o.seed < 2**63)
    _require("threads", o.threads, "1 to 1024", o.threads is None or 1 <= o.threads <= 1024)
    _require_name("optimizer", o.optimizer, OPTIMIZERS)
    _require_name("device", o.device, DEVICES)
    _require_name("mixed precision", o.amp, AMP_MODES)


def resolve(
    options: TrainingOptions, source: ImageSource, published: int, stride: int
) -> TrainingOptions:
    """Makes every choice that the options leave open, except device and mixed precision.

    Those two depend on the machine, and a run may be resumed on another one.

    Args:
        published: resolution of the network in its paper, pixels.
        stride: smallest resolution of the network, pixels.

    Raises:
        UsageError: flips were asked for where a mirrored image has another label.
        DataError: an image that cannot be decoded.
    """
    if options.flip and not source.flippable:
        raise UsageError(
            f"'{source.name}' must not be flipped: a mirrored image there means something else; "
            f"leave out the option"
        )
    flip = source.flippable if options.flip is None else options.flip
    resolution = options.resolution
    if resolution is None:
        resolution = _fitting_resolution(source, published, stride)
    batch = options.batch_size or _fitting_batch(source.size("train"))
    growth = (batch / _RATE_BATCH) ** _RATE_POWER[options.optimizer]
    return dataclasses.replace(
        options,
        batch_size=batch,
        lr=_RATE[options.optimizer] * growth if options.lr is None else options.lr,
        weight_decay=(
            _DECAY[options.optimizer] if options.weight_decay is None else options.weight_decay
        ),
        flip=flip,
        resolution=resolution,
    )


def machine(options: TrainingOptions) -> tuple[str, str]:
    """Device and mixed precision (``no``, ``bf16``, ``fp16``) on this machine.

    Raises:
        UnavailableError: CUDA was asked for and is not there.
        UsageError: fp16 on the CPU, which torch does not train with.
    """
    import torch

    cuda = torch.cuda.is_available()
    if options.device == "cuda" and not cuda:
        raise UnavailableError(
            "device 'cuda': this PyTorch finds no CUDA GPU; use --device cpu, or install a CUDA "
            "build of PyTorch"
        )
    device = "cuda" if cuda and options.device != "cpu" else "cpu"
    if options.amp == "fp16" and device == "cpu":
        raise UsageError("mixed precision 'fp16' needs a CUDA GPU: use bf16 or off on the CPU")
    if options.amp == "auto":
        return device, "bf16" if device == "cuda" else "no"
    return device, "no" if options.amp == "off" else options.amp


def _fitting_batch(images: int) -> int:
    """The power of two from 16 to 128 that comes closest to 40 steps per epoch."""
    return 1 << min(7, max(4, round(math.log2(images / 40))))


def _fitting_resolution(source: ImageSource, published: int, stride: int) -> int:
    count = source.size("train")
    picks = np.linspace(0, count - 1, min(count, _SAMPLED_IMAGES)).round().astype(int)
    side = float(np.median([min(source.image("train", int(i)).shape[:2]) for i in picks]))
    return min(published, math.ceil(2 * side / stride) * stride)


def _require(option: str, value: object, expected: str, good: bool) -> None:
    if not good:
        raise UsageError(f"{option} {value}: expected {expected}")


def _require_name(kind: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UnknownNameError(kind, name, known, f"expected {', '.join(known)}")
