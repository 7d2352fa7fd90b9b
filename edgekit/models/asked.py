"""What was asked for besides a network: its inputs, its outputs, and what these are for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekit import tables
from edgekit.core import CLASSIFY, TENSORS, Call, Side
from edgekit.core.preprocessing import pair
from edgekit.errors import ModelError, UsageError
from edgekit.models import MAX_RESOLUTION, with_resolution
from edgekit.models.adapted import is_adapted
from edgekit.models.arguments import arguments, leaves
from edgekit.models.callables import NoImageError, NoScoresError, try_forward
from edgekit.models.examples import as_tensors, open_example
from edgekit.models.interface import shaped
from edgekit.models.model import Model, image_of

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for besides a network.

    Attributes:
        example: inputs of one inference; an image if ``None``.
        task: name; whatever suits what the network gives if ``None``.
        size: height and width of the image, where it is no square.
        side: of the image in pixels, the longer one; the network's own if ``None``.
    """

    example: Any = None
    outputs: tuple[str, ...] = ()
    task: str | None = None
    size: tuple[int, int] | None = None
    side: int | None = None

    @property
    def for_tensors(self) -> bool:
        """Whether the network is to be taken for one of any inputs and outputs."""
        no_image = self.example is not None and not _is_image(self.example)
        return self.task not in (None, CLASSIFY) or no_image or bool(self.outputs)

    def at(self, size: Side | None) -> Asked:
        """The same with a size of the image, where neither one nor an example was asked for."""
        if size is None or self.side is not None or self.example is not None:
            return self
        height, width = pair(size)
        own = None if height == width else (height, width)
        return dataclasses.replace(self, size=own, side=max(height, width))

    def of(self, model: Model) -> Model:
        """The network, as it was asked for.

        Raises:
            ModelError: it does not take the size.
            UsageError: an image that it does not take by itself, or one that is too small.
        """
        if self.size is not None and model.call is None:
            model = self._sized(model, self.size)
        if model.call is not None and (model.signature is not None or not self.for_tensors):
            return self._kept(model)
        if self.for_tensors:
            return self._tensors(model)
        if self.example is not None:
            given = arguments(self.example)
            ((_, image),) = leaves((*given.args, given.kwargs))
            if image.shape[1] != 3:
                raise UsageError(
                    f"--example: '{model.source}' takes images of three channels, and this has "
                    f"{image.shape[1]}"
                )
            return self._sized(model, (image.shape[2], image.shape[3]))
        return model

    def judged(self, model: Model) -> Model:
        """A network from outside the zoo, with what it gives.

        Args:
            model: in which the number of classes is missing. Where there is no example, it is tried
                on an image of the size that was asked for, else on a square of its resolution.

        Raises:
            ModelError: it cannot take them, or gives something else than was asked for.
        """
        side = model.resolution
        return self._judged(model, torch.zeros(1, 3, *(self.size or (side, side))))

    def _judged(self, model: Model, images: Tensor) -> Model:
        if self.for_tensors:
            return self._tensors(model)
        if self.example is not None:
            given = arguments(self.example)
            ((_, images),) = leaves((*given.args, given.kwargs))
        channels, height, width = (int(n) for n in images.shape[1:])
        square = channels == 3 and height == width
        side, image = max(height, width), None if square else (channels, height, width)
        preprocessing = model.preprocessing
        if preprocessing is not None and image is not None:
            preprocessing = preprocessing.at((height, width))
        model = dataclasses.replace(
            model, resolution=side, image=image, preprocessing=preprocessing
        )
        if image is not None:
            model = dataclasses.replace(model, call=Call(model.interface.inputs))
        try:
            scores = try_forward(model.module, images, model.source)
        except NoScoresError:
            if self.task == CLASSIFY:
                raise
            return self._tensors(model)
        except ModelError as error:
            own = _channels_of(model.module)
            if self.example is None and own != channels:
                return self._judged(model, torch.zeros(1, own, height, width))
            raise NoImageError(str(error)) from error
        return dataclasses.replace(model, classes=scores.shape[1])

    def _kept(self, model: Model) -> Model:
        """A network whose checkpoint knows its inputs and outputs.

        Raises:
            UsageError: others were asked for.
        """
        signature = model.interface
        names = tuple(spec.name for spec in signature.outputs)
        if self.task not in (None, model.task) or self.outputs not in ((), names):
            raise UsageError(
                f"'{model.source}' is of the task {model.task} and gives {', '.join(names)}, as "
                f"its checkpoint says: leave out --task and --outputs"
            )
        if self.example is None:
            return model
        given = arguments(self.example)
        tensors = [one for _, one in leaves((*given.args, given.kwargs))]
        forms = sorted((tuple(one.shape), one.dtype) for one in tensors if isinstance(one, Tensor))
        if forms != sorted((tuple(one.shape), one.dtype) for one in model.tensors):
            listed = " and ".join(f"'{spec.name}' {spec.shape}" for spec in signature.inputs)
            raise UsageError(
                f"--example: '{model.source}' takes {listed}, as its checkpoint says: leave the "
                f"option out"
            )
        return model

    def _sized(self, model: Model, size: tuple[int, int]) -> Model:
        """A network that takes squares, at another size."""
        spec = model.spec
        if spec is not None:
            spec = with_resolution(spec, size)
        preprocessing = model.preprocessing
        model = dataclasses.replace(
            model,
            spec=spec,
            resolution=max(size),
            image=image_of(size),
            preprocessing=None if preprocessing is None else preprocessing.at(size),
        )
        try_forward(model.module, torch.zeros(1, *model.shape), model.source)
        return model

    def _tensors(self, model: Model) -> Model:
        """The same network as a function of tensors.

        Raises:
            ModelError: it does not take the example, or gives no tensors.
            UsageError: its outputs have other names.
        """
        example = self.example
        if example is None:
            example = torch.zeros(1, *model.shape)
        shaped_model = shaped(model.module, example, model.source, self.outputs)
        call, spec = shaped_model.call, None
        if call is not None and model.spec is not None and is_adapted(model.spec):
            spec = dataclasses.replace(
                model.spec, classes=0, call=dataclasses.replace(call, classes=model.classes)
            )
        return dataclasses.replace(
            model,
            module=shaped_model.module,
            classes=0,
            labels=None,
            scores=None,
            spec=spec,
            task=self.task or TENSORS,
            signature=shaped_model.interface,
            example=shaped_model.tensors,
            image=None,
            preprocessing=model.preprocessing if self.example is None else None,
            call=shaped_model.call,
        )


def asked_for(
    source: str, resolution: Side | None, example: Any, outputs: Sequence[str], task: str | None
) -> Asked:
    """Checks what was asked for; see `edgekit.models.source.open_model`.

    Args:
        source: names the network in messages.

    Raises:
        UsageError: it contradicts itself, or the shorter side is none.
    """
    if task is not None:
        task, _ = tables.TASKS.find(task)
    if example is not None and resolution is not None:
        raise UsageError("--resolution: the sizes of inputs are those of --example; leave it out")
    found = open_example(example) if isinstance(example, str) else as_tensors(example)
    size = None if resolution is None else pair(resolution)
    side = None if size is None else max(size)
    square = size is None or size[0] == size[1]
    asked = Asked(found, tuple(outputs), task, None if square else size, side)
    if task == CLASSIFY and asked.for_tensors:
        option = "--outputs" if outputs else "--example"
        raise UsageError(
            f"{option} goes with --task {TENSORS}: a classifier takes one image, and gives scores"
        )
    if size is not None and not isinstance(resolution, int):
        check_resolution(source, min(size))
    return asked


def check_resolution(source: str, resolution: int) -> None:
    """Refuses a side that no image has.

    Raises:
        UsageError: out of range.
    """
    if not 1 <= resolution <= MAX_RESOLUTION:
        raise UsageError(
            f"resolution {resolution} for {source}: expected 1 to {MAX_RESOLUTION} pixels"
        )


def _is_image(example: Any) -> bool:
    """Whether an example is one image of 1, 3 or 4 channels, and nothing else."""
    given = arguments(example)
    parts = [one for _, one in leaves((*given.args, given.kwargs))]
    return (
        len(parts) == 1
        and isinstance(parts[0], Tensor)
        and parts[0].dtype == torch.float32
        and parts[0].ndim == 4
        and parts[0].shape[0] == 1
        and parts[0].shape[1] in _CHANNELS
        and all(isinstance(one, Tensor) for one in (*given.args, *given.kwargs.values()))
    )


def _channels_of(module: nn.Module) -> int:
    """Channels of the image that a network may take: those of its first convolution, else 3."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels if layer.in_channels in _CHANNELS else 3
    return 3
