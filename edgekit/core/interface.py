"""What goes into a network and what comes out, tensor by tensor.

One inference is a *row*: its inputs one behind the other as numbers, or its outputs. So samples of
any network are one matrix, and what is known of images and their scores, which are such rows, holds
for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING

from edgekit.core.records import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor

CLASSIFY = "classify"
"""Name of the task of networks that give scores of classes for an image."""

OF_WHOLE_IMAGES = ("detect", "segment")
"""Tasks whose networks are asked for what is at the edges of an image, too."""

TENSORS = "tensors"
"""Name of the task of networks of which nobody has said more."""

IMAGE, SCORES_OUTPUT = "image", "scores"
"""Names of input and output of classifiers, in all files."""


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs of a network, in the order of its arguments and of what it returns.

    Attributes:
        inputs: of one inference. Images have the layout ``NCHW``, in which files may have their
            axes in another order; all other tensors have none, and keep theirs.
        outputs: as well.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def columns(self) -> dict[str, slice]:
        """Where each output stands in a row of outputs."""
        ends = [0, *accumulate(prod(spec.shape) for spec in self.outputs)]
        spans = map(slice, ends, ends[1:])
        return {spec.name: span for spec, span in zip(self.outputs, spans)}

    def told(self, column: int) -> str:
        """An output in messages, by the place of one of its numbers in a row of outputs."""
        columns = self.columns.items()
        name, own = next((name, own) for name, own in columns if own.start <= column < own.stop)
        place = f", number {column - own.start}" if own.stop - own.start > 1 else ""
        return f"output '{name}'{place}"


def classifier(channels: int, height: int, width: int, classes: int) -> Interface:
    """That of a network that gives class scores of one image."""
    return Interface(
        (TensorSpec(IMAGE, (1, channels, height, width), "float32", "NCHW"),),
        (TensorSpec(SCORES_OUTPUT, (1, classes), "float32", "NC"),),
    )


@dataclass(frozen=True)
class Example:
    """What a network is exported with: inputs of one inference, and the names that a file gives.

    Attributes:
        tensors: as the network takes them, one an argument.
        interface: of the network. Sizes of outputs need not be known.
        any_batch: whether the file is to leave the first size of inputs and outputs open, which is
            1 in the example; see `edgekit.core.Target.dynamic_batch`.
    """

    tensors: tuple[Tensor, ...]
    interface: Interface
    any_batch: bool = False

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Of inputs and outputs."""
        return (
            [spec.name for spec in self.interface.inputs],
            [spec.name for spec in self.interface.outputs],
        )


def of_image(image: Tensor, classes: int = 0) -> Example:
    """The example of a classifier.

    Args:
        image: (1, channels, height, width); of a network of features, any other shape.
        classes: 0 where that does not matter.
    """
    shape = tuple(image.shape)
    scores = TensorSpec(SCORES_OUTPUT, (1, classes), "float32", "NC")
    given = TensorSpec(IMAGE, shape, "float32", "NCHW" if len(shape) == 4 else "")
    return Example((image,), Interface((given,), (scores,)))
