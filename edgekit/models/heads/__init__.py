"""What tasks put on a backbone: one file a head, each a line of the registry's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import nn

from edgekit.core import Parameter
from edgekit.models.heads.taps import Backbone

Size = tuple[int, int]
"""Height and width of the images in pixels."""


class Head(Protocol):
    """One kind of head.

    Attributes:
        name: key of the registry's table of heads.
        task: what the outputs are for; key of the registry's task table.
        classes: that it has where nobody says a number.
        outputs: their names, in the order in which the network gives them.
        stride: pixels of the input per pixel of the last map of the backbone that it needs: no
            image is smaller.
    """

    name: str
    task: str
    classes: int
    outputs: tuple[str, ...]
    stride: int

    def network(self, backbone: Backbone, classes: int, size: Size) -> nn.Module:
        """The whole network, of fresh weights but for the backbone.

        Its tensors of the backbone are those of ``backbone``, under that name. All that depends on
        the size of the images is a buffer that no state dict keeps, so that the same weights serve
        any size.

        Args:
            classes: of objects or pixels, without a background.
        """

    def parameters(self, network: nn.Module) -> Mapping[str, Parameter]:
        """What the task has to know of a network of this head; contracts keep it."""
