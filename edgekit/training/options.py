"""What a training can be told, with every value checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edgekit.core import SCORES, FormError, ImageSource, Side, from_json, to_json
from edgekit.errors import UnavailableError, UnknownNameError, UsageError
from edgekit.training import processes

OPTIMIZERS = ("adamw", "rmsprop", "sgd")
SCHEDULES = ("cosine", "step")
DEVICES = ("auto", "cpu", "cuda")
AMP_MODES = ("auto", "off", "bf16", "fp16")

# Rates for a batch of 32. Chosen on digits at 32 px, MobileNetV3-Small, 15 epochs, mean validation
# top-1 of seeds 0 to 2: batch 64 with AdamW 1e-3 97.2 %, 2e-3 97.4 %, 4e-3 97.9 %; batch 32 with
# 1e-3 98.0 %, 2e-3 98.4 %; with random zoom (seeds 0 and 1, last three epochs) 2e-3 98.4 % and
# 4e-3 98.4 %, the worse seed 97.7 % and 98.1 %. The rate of SGD was not tuned.
# That of RMSProp is the 0.256 for 4,096 images of arXiv:1905.11946, section 5.
_RATE = {"adamw": 4e-3, "rmsprop": 2e-3, "sgd": 0.05}
# How the rate follows the batch: arXiv:1706.02677. Not that of AdamW: with the square root of
# arXiv:2205.10287 it is 8e-3 at a batch of 128, and MobileNetV3-Small on CIFAR-10 at 64 px is at
# 62.6 % validation top-1 after 7 epochs, with 3e-3 (and a decay of 0.05) at 75.8 %.
_RATE_POWER = {"adamw": 0.0, "rmsprop": 1.0, "sgd": 1.0}
_RATE_BATCH = 32
# Usual for each optimizer: arXiv:1711.05101, arXiv:1905.11946 section 5, arXiv:1512.03385.
_DECAY = {"adamw": 0.02, "rmsprop": 1e-5, "sgd": 1e-4}


class Usual(NamedTuple):
    """What goes with a kind of images where nothing is said.

    Attributes:
        steps: of an epoch, about.
        batch: images of a step, at least.
    """

    epochs: int
    steps: int
    batch: int


LABELS, PLACES = Usual(15, 40, 16), Usual(40, 120, 8)
"""Of images with a label, and of those that say much about places. SSDLite-MobileNetV3-Small on
digit-scenes, 20 epochs: batches of 64 at a rate of 4e-3 give 23.8 % mAP on validation images, of
16 at 2e-3 32.4 %."""

_SAMPLED_IMAGES = 32


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How to train.

    ``None`` leaves a choice to `resolve`, and the run folder records what was chosen.

    Attributes:
        epochs: passes over the training images; ``None``: 15 of images with a label, 40 of images
            with boxes or a mask.
        batch_size: images per step, of all processes and parts together; ``None``: the power of
            two, from 16 to 128, that comes closest to 40 steps per epoch. That is 32 for digits
            and 128 for CIFAR-10. Where each image has much to say, as one with boxes or a mask,
            it comes closest to 120, from 8 on: 16 for 2,000 scenes.
        accumulate: compute each batch in that many parts and add up their gradients. Takes less
            memory; the result is the same but for batch norm, which sees a part at a time.
        optimizer: ``adamw``, ``sgd`` with Nesterov momentum 0.9, or ``rmsprop`` as EfficientNet
            has it; see `edgekit.training.rmsprop`.
        lr: peak learning rate; ``None``: 4e-3 for AdamW; for RMSProp 2e-3 and for SGD 0.05 at a
            batch of 32, growing with the batch size.
        schedule: of the rate behind the warm-up: ``cosine`` to 0, or ``step``, the 0.97 every
            2.4 epochs of arXiv:1905.11946.
        weight_decay: of weights only, never of norms and biases; ``None``: 0.02 for AdamW,
            1e-5 for RMSProp, 1e-4 for SGD.
        warmup_epochs: linear rise of the rate at the start, never more than a quarter of the run.
        label_smoothing: share of the target that is spread over all classes.
        ema: evaluate and keep an exponential moving average of the weights. Its horizon is a
            twentieth of the run's steps, so that short runs average too, and at most 10,000.
        flip: mirror half of the images; ``None``: where the data allow it.
        crop: shift images by up to an eighth of their side and zoom them by up to 15 %, edges
            repeated.
        randaugment: operations per image and their strength, 0 to 10; see
            `edgekit.training.randaugment`.
        mixup: concentration of the shares in which images are blended; 0: none. With ``cutmix``
            as well, each step does one of them at random. See `edgekit.training.mixing`.
        cutmix: concentration of the shares of a rectangle from another image; 0: none.
        drop_path: instead of the network's published stochastic depth; the last block's share.
        dropout: instead of the network's published share before the classifier.
        teacher: run folder or checkpoint of a network with the same classes, whose scores are
            learned beside the labels (arXiv:1503.02531).
        teacher_weight: share of the teacher in the loss. Low on the labels, says the paper; 0.9
            and the temperature 4 are those of arXiv:1612.03928, section 4.1.
        teacher_temperature: divides the scores of both before they are compared.
        seed: of initial weights, order and augmentation. The same seed gives bit-identical
            weights on the CPU with the same number of threads; CUDA kernels do not promise that.
        resolution: input side in pixels, or height and width; ``None``: twice the side of the
            images, rounded up to the network's stride and at most its published resolution. That
            is 32 for digits (8 px), 64 for CIFAR-10 (32 px) and the published size for
            photographs: enlarging further costs time and shows nothing more.
        device: ``auto`` takes CUDA where there is one.
        amp: mixed precision. ``auto`` is bf16 on CUDA and off on the CPU, where bf16 was slower
            (MobileNetV3-Small, 2 AVX-512 cores, 64 px: 202 images/s against 522 in fp32).
        threads: of the CPU; ``None``: as many as other processes leave processors for, see
            `edgekit.training.threads`.
        init: checkpoint or state dict to start from. One with another number of classes gives
            all but the layer of the class scores.
        scores: what the outputs of a network that is not of the zoo are, of
            `edgekit.core.SCORES`; ``None``: as they look. The loss goes by it, and the checkpoint
            keeps it.
    """

    epochs: int | None = None
    batch_size: int | None = None
    accumulate: int = 1
    optimizer: str = "adamw"
    lr: float | None = None
    schedule: str = "cosine"
    weight_decay: float | None = None
    warmup_epochs: float = 2.0
    label_smoothing: float = 0.1
    ema: bool = True
    flip: bool | None = None
    crop: bool = True
    randaugment: tuple[int, ...] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    drop_path: float | None = None
    dropout: float | None = None
    teacher: str | None = None
    teacher_weight: float = 0.9
    teacher_temperature: float = 4.0
    seed: int = 0
    resolution: Side | None = None
    device: str = "auto"
    amp: str = "auto"
    threads: int | None = None
    init: str | None = None
    scores: str | None = None

    @property
    def known_epochs(self) -> int:
        """Epochs of options that `resolve` has completed."""
        assert self.epochs is not None
        return self.epochs


# Field, name in messages, what is expected and whether a value is that; None always is.
_RANGES: tuple[tuple[str, str, str, Callable[[Any], bool]], ...] = (
    ("epochs", "epochs", "at least 1", lambda v: v >= 1),
    ("batch_size", "batch size", "at least 2, for batch norm", lambda v: v >= 2),
    ("accumulate", "accumulate", "at least 1", lambda v: v >= 1),
    ("lr", "lr", "a number above 0", lambda v: 0 < v < math.inf),
    ("weight_decay", "weight decay", "0 or more", lambda v: 0 <= v < math.inf),
    ("warmup_epochs", "warm-up epochs", "0 or more", lambda v: 0 <= v < math.inf),
    ("label_smoothing", "label smoothing", "from 0 to below 1", lambda v: 0 <= v < 1),
    (
        "randaugment",
        "randaugment",
        "operations per image, 1 to 14, and their strength, 0 to 10, as in 2,9",
        lambda v: len(v) == 2 and 1 <= v[0] <= 14 and 0 <= v[1] <= 10,
    ),
    ("mixup", "mixup", "0 or more", lambda v: 0 <= v < math.inf),
    ("cutmix", "cutmix", "0 or more", lambda v: 0 <= v < math.inf),
    ("drop_path", "drop path", "from 0 to below 1", lambda v: 0 <= v < 1),
    ("dropout", "dropout", "from 0 to below 1", lambda v: 0 <= v < 1),
    ("teacher_weight", "teacher weight", "above 0, at most 1", lambda v: 0 < v <= 1),
    ("teacher_temperature", "teacher temperature", "above 0", lambda v: 0 < v < math.inf),
    ("seed", "seed", "from 0 to below 2**63", lambda v: 0 <= v < 2**63),
    ("threads", "threads", "1 to 1024", lambda v: 1 <= v <= 1024),
)
_NAMES = (
    ("optimizer", "optimizer", OPTIMIZERS),
    ("schedule", "schedule", SCHEDULES),
    ("device", "device", DEVICES),
    ("amp", "mixed precision", AMP_MODES),
    ("scores", "kind of scores", SCORES),
)


def check(options: TrainingOptions) -> None:
    """Refuses values that cannot work.

    Raises:
        UsageError: names the option, its value and what was expected.
        UnknownNameError: an optimizer, schedule, device, mixed precision or kind of scores that
            does not exist.
    """
    try:
        from_json(TrainingOptions, to_json(options))
    except FormError as error:
        raise UsageError(
            f"training option {error.key}: expected {error.wanted({})}, found {error.found}"
        ) from error
    for field, label, expected, good in _RANGES:
        value = getattr(options, field)
        if value is not None and not good(value):
            raise UsageError(f"{label} {value}: expected {expected}")
    for field, kind, known in _NAMES:
        name = getattr(options, field)
        if name is not None and name not in known:
            raise UnknownNameError(kind, name, known, f"expected {', '.join(known)}")


def resolve(
    options: TrainingOptions,
    source: ImageSource,
    published: int,
    stride: int,
    usual: Usual = LABELS,
) -> TrainingOptions:
    """Makes every choice that the options leave open, except device and mixed precision.

    Those two depend on the machine, and a run may be resumed on another one.

    Args:
        published: resolution of the network in its paper, pixels.
        stride: smallest resolution of the network, pixels.
        usual: takes the place of what the options do not say.

    Raises:
        UsageError: flips were asked for where a mirrored image has another label, or more parts
            than a batch has pairs of images.
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
    batch = options.batch_size or _fitting_batch(source.size("train"), usual)
    _check_parts(options.accumulate, min(batch, source.size("train")))
    growth = (batch / _RATE_BATCH) ** _RATE_POWER[options.optimizer]
    return dataclasses.replace(
        options,
        epochs=options.epochs or usual.epochs,
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


def _check_parts(accumulate: int, images: int) -> None:
    """Refuses parts of a batch that batch norm cannot be computed on."""
    computed = accumulate * processes.count()
    if 2 * computed > images:
        among = "" if processes.count() == 1 else f" in each of {processes.count()} processes"
        raise UsageError(
            f"a batch of {images} images cannot be computed in {accumulate} parts{among}: expected "
            f"at least 2 images in a part, for batch norm; lower --accumulate or raise --batch-size"
        )


def _fitting_batch(images: int, usual: Usual) -> int:
    """The power of two up to 128 that comes closest to so many steps per epoch."""
    least = usual.batch.bit_length() - 1
    return 1 << min(7, max(least, round(math.log2(images / usual.steps))))


def _fitting_resolution(source: ImageSource, published: int, stride: int) -> int:
    count = source.size("train")
    picks = np.linspace(0, count - 1, min(count, _SAMPLED_IMAGES)).round().astype(int)
    side = float(np.median([min(source.image("train", int(i)).shape[:2]) for i in picks]))
    return min(published, math.ceil(2 * side / stride) * stride)
