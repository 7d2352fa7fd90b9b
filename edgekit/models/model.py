"""A network with what is known about it, however it was opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.core import (
    Call,
    Draw,
    Interface,
    ModelSpec,
    Parameter,
    Preprocessing,
    Side,
    TensorSpec,
    classifier,
)
from edgekit.core.interface import IMAGE
from edgekit.core.preprocessing import pair
from edgekit.models.adapted import is_adapted
from edgekit.models.rows import draws_of, noise_rows, on_rows


def image_of(size: Side) -> tuple[int, int, int] | None:
    """`Model.image` of three channels."""
    height, width = pair(size)
    return None if height == width else (3, height, width)


@dataclass(frozen=True, slots=True)
class Model:
    """A network with what is known about it.

    Attributes:
        source: how it was named.
        name: short name for files, without folders.
        module: in eval mode, (N, C, H, W) -> (N, classes).
        resolution: side of the square input in pixels; the longer one where it is no square.
        classes: number of outputs.
        spec: ``None`` for networks that are not of the zoo, unless a search has adapted them.
        trained: whether weights were given, or a callable's network shows no sign of being new:
            batch norms that have seen no data, or layers that start at zero. One with neither
            counts as trained.
        labels: class names; ``None`` when unknown.
        preprocessing: ``None`` when unknown.
        data: image source of its training; ``None`` when unknown.
        parent_sha256: digest of the file the weights came from.
        code: what makes a network that is not of the zoo: ``timm:NAME``, ``torchvision:NAME`` or
            ``package.module:callable``.
        given: the network itself, where it was given in Python and has no name.
        notes: in which other way than it was built it has to be run, to be a function of one
            image; ``None`` until `edgekit.models.purity.as_function` has looked.
        scores: what its outputs are, of `edgekit.core.SCORES`; ``None`` until somebody says so or
            they have been looked at.
        task: name of what its outputs are for, of the registry's task table.
        parameters: what the task has to know of this network besides; contracts keep it.
        signature: of networks that take or give anything else than an image and its scores; their
            ``module`` takes the tensors of it, one an argument, and ``classes`` is 0.
        example: inputs of one inference of those.
        draws: what noise for them is like; as the example is if empty.
        image: channels, height and width of the image of a classifier; ``None`` for a square of
            three channels.
        call: what its code takes and gives, as plain data; ``None`` where that is a square image
            and scores, or cannot be written down.
        baked: whether its files take the bytes of images, and do all else of ``preprocessing``
            themselves that changes values and axes.
    """

    source: str
    name: str
    module: nn.Module
    resolution: int
    classes: int
    spec: ModelSpec | None = None
    trained: bool = False
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    data: str | None = None
    parent_sha256: str | None = None
    code: str | None = None
    given: nn.Module | None = None
    notes: tuple[str, ...] | None = None
    scores: str | None = None
    task: str = "classify"
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    signature: Interface | None = None
    example: tuple[Tensor, ...] = ()
    draws: tuple[Draw, ...] = ()
    image: tuple[int, int, int] | None = None
    call: Call | None = None
    baked: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the image of a classifier."""
        return self.image or (3, self.resolution, self.resolution)

    @property
    def interface(self) -> Interface:
        """Inputs and outputs."""
        if self.signature is not None:
            return self.signature
        return classifier(*self.shape, self.classes)

    @property
    def file_inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs of its files, but for the layout that a format gives to images of floats."""
        if not self.baked:
            return self.interface.inputs
        assert self.preprocessing is not None
        shape = self.preprocessing.of_pixels.shape()
        return (TensorSpec(IMAGE, shape, "uint8", "NHWC"),)

    @property
    def on_rows(self) -> nn.Module:
        """The network as it takes samples: images, or rows of inputs; see `on_rows`."""
        if self.signature is None:
            return self.module
        return on_rows(self.module, self.signature, self.source)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Inputs of one inference, one an argument."""
        if self.signature is None:
            return (torch.zeros(1, *self.shape),)
        return self.example

    @property
    def row(self) -> Tensor:
        """One sample that it can be run on."""
        if self.signature is None:
            return torch.zeros(1, *self.shape)
        return torch.from_numpy(self.noise_rows(1))

    @property
    def noise(self) -> tuple[Draw, ...]:
        """What noise for each input is like."""
        return self.draws or draws_of(self.example)

    def told(self, column: int) -> str:
        """An output in messages, by its place in a row; scores have no other name."""
        return f"output {column}" if self.signature is None else self.signature.told(column)

    def noise_rows(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """Samples like its example, (count, n)."""
        return noise_rows(self.interface.inputs, self.noise, count, seed)

    @property
    def of_zoo(self) -> bool:
        """Whether edgekit's own code makes the network."""
        return self.spec is not None and not is_adapted(self.spec)
