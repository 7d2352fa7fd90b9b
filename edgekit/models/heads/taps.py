"""Networks of the zoo without their classifier, as sources of feature maps."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec
from edgekit.models import build
from edgekit.models.blocks import Bottleneck, ConvNet, Style

PROBE = 64
"""Side of the square that shows which stride each map has; the largest stride is 32."""


class Backbone(nn.Module):
    """Stem, blocks and last convolution of a network of the zoo, under the names that they have.

    A stride has two maps: what the last block gives that has it, and what is computed last at that
    stride. They differ where the next block expands its input before it steps on: that expansion,
    of several times the channels, is where SSDLite is attached to MobileNetV2 and V3
    (arXiv:1801.04381, section 6.2; arXiv:1905.02244, section 6.3). At the largest stride both are
    the last convolution before the pool.

    Attributes:
        spec: of the network.
        channels: of the last map of each stride.
        block_channels: of what the last block of each stride gives.
        first_channels: of what the first block of each stride gives.
        style: what the network's own convolutions share, for the layers of a head.
        act: activation of the network's last layer, for those as well.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        whole = build(spec)
        assert isinstance(whole, ConvNet)
        self.spec = spec
        self.style, self.act = Style.of(spec), spec.act
        self.stem, self.blocks, self.head = whole.stem, whole.blocks, whole.head
        self._begins: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._expanded: dict[int, int] = {}
        self.block_channels: dict[int, int] = {}
        self.first_channels: dict[int, int] = {}
        self.channels: dict[int, int] = {}
        self._probe()

    @property
    def strides(self) -> tuple[int, ...]:
        """All that there are maps of, ascending."""
        return tuple(self.channels)

    def last_block(self, stride: int) -> int:
        """Place among `blocks` of the last one that has a stride; -1 where that is the stem."""
        return self._ends[stride]

    def maps(
        self, image: Tensor, *, blocks: Collection[int] = (), firsts: Collection[int] = ()
    ) -> dict[int, Tensor]:
        """The last map of each stride.

        Args:
            image: (N, 3, H, W).
            blocks: strides of which it is to be what the last block gives.
            firsts: strides of which it is to be what the first block gives.

        Returns:
            By stride, (N, C, ceil(H / stride), ceil(W / stride)).
        """
        found: dict[int, Tensor] = {}
        ends = {s: self._begins[s] if s in firsts else place for s, place in self._ends.items()}
        places = {place: stride for stride, place in ends.items()}
        of_blocks = {*blocks, *firsts}
        inner = {place: s for s, place in self._expanded.items() if s not in of_blocks}
        x = self.stem(image)
        if -1 in places:
            found[places[-1]] = x
        for i, block in enumerate(self.blocks):
            if i in inner:
                x, found[inner[i]] = _through(block, x)
            else:
                x = block(x)
            if i in places:
                found[places[i]] = x
        found[max(self._ends)] = self.head(x)
        return dict(sorted(found.items()))

    def deepest(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Two maps of the largest stride: of the first block that has it, and the last one.

        They have `first_channels` and `channels`.
        """
        first = self._begins[max(self._begins)]
        x = early = self.stem(image)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == first:
                early = x
        return early, self.head(x)

    @torch.no_grad()
    def _probe(self) -> None:
        """Finds the place of each stride by the sizes that maps have."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        x = torch.zeros(1, 3, PROBE, PROBE, device=next(self.parameters()).device)
        x = self.stem(x)
        self._note(-1, x)
        for i, block in enumerate(self.blocks):
            before = x
            if isinstance(block, Bottleneck) and hasattr(block, "expand") and not block.residual:
                x, inner = _through(block, x)
                if inner.shape[2] == before.shape[2] > x.shape[2]:
                    stride = PROBE // before.shape[2]
                    self._expanded[stride], self.channels[stride] = i, inner.shape[1]
            else:
                x = block(x)
            self._note(i, x)
        self.channels[PROBE // x.shape[2]] = self.head(x).shape[1]
        self.block_channels[PROBE // x.shape[2]] = self.channels[PROBE // x.shape[2]]
        for module, training in modes:
            module.training = training

    def _note(self, place: int, x: Tensor) -> None:
        stride = PROBE // x.shape[2]
        if stride not in self._begins:
            self._begins[stride], self.first_channels[stride] = place, x.shape[1]
        self._ends[stride] = place
        self.channels[stride] = self.block_channels[stride] = x.shape[1]


def _through(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a block gives that adds nothing to its input, and the expansion inside of it."""
    inner = x
    for name, layer in block.named_children():
        x = layer(x)
        if name == "expand":
            inner = x
    return x, inner
