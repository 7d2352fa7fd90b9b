"""Networks that take the bytes of an image, and prepare it themselves.

What an app would compute for every image, ``(value * scale - mean) / std``, becomes part of the
network before it is converted: what converts it sees more operators at its beginning, and knows
nothing of images. Paths of all layers stay, as options and messages name them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.core import CLASSIFY, Preprocessing
from edgekit.data.preprocess import BLUE_FIRST
from edgekit.errors import UsageError
from edgekit.models.model import Model

OPTION = "--bake-preprocessing"
NAME = "pixels"


def prepared(pixels: Tensor, by: Pixels, shift: Tensor, factor: Tensor) -> Tensor:
    """An image as a network takes it.

    The mean is subtracted first, in units of pixels. So zeros that the layer behind pads the image
    with are its zeros, and that layer's weights can take the factor that is left.

    Args:
        pixels: (N, H, W, C) of bytes, in RGB.
        by: says which steps there are.
        shift: of each channel, (C, 1, 1).
        factor: as well.

    Returns:
        (N, C, H, W).
    """
    values = pixels.permute(0, 3, 1, 2).float().contiguous()
    if by.order is not None:
        values = values[:, by.order]
    if by.shifts:
        values = values - shift
    return values * factor


class Pixels(nn.Module):
    """`prepared` as a layer.

    Attributes:
        order: of the channels, where the network's is another one than RGB.
        shifts: whether there is a mean.
    """

    shift: Tensor
    factor: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        p = preprocessing
        mean, std = (torch.tensor(one, dtype=torch.float64) for one in (p.mean, p.std))
        for name, values in (("shift", mean / p.scale), ("factor", p.scale / std)):
            self.register_buffer(name, values.float().reshape(-1, 1, 1))
        self.order, self.shifts = BLUE_FIRST.get(p.channel_order), any(p.mean)

    def forward(self, pixels: Tensor) -> Tensor:
        """See `prepared`."""
        return prepared(pixels, self, self.shift, self.factor)


def taking_pixels(network: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """Makes a network of one image take its bytes; ``network`` is changed.

    Args:
        preprocessing: how the network's images are prepared.

    Returns:
        ``network``, which takes (N, H, W, C) uint8 in RGB.
    """
    layer = Pixels(preprocessing).eval()
    if isinstance(network, fx.GraphModule):  # its class is made of its graph, ever anew
        name = _free(network, NAME)
        network.add_module(name, layer)
        _begin_with(network, name)
        return network
    # A layer around the network would be in the path of every other layer, and one among its
    # layers would be called by code that calls all of them in turn.
    names = [_free(network, f"{NAME}_{one}") for one in ("shift", "factor")]
    for name, values in zip(names, layer.buffers(), strict=True):
        network.register_buffer(name, values)
    kind: Any = type(network)

    def forward(self: Any, pixels: Tensor) -> Any:
        shift, factor = (getattr(self, name) for name in names)
        return kind.forward(self, prepared(pixels, layer, shift, factor))

    about = {"forward": forward, "__module__": kind.__module__, "__doc__": kind.__doc__}
    network.__class__ = type(kind)(kind.__name__, (kind,), about)
    return network


def _free(network: nn.Module, name: str) -> str:
    """A name that no attribute of a network has."""
    while hasattr(network, name):
        name += "_"
    return name


def _begin_with(program: fx.GraphModule, name: str) -> None:
    """Puts a layer before all others of a program of one input."""
    (image,) = (node for node in program.graph.nodes if node.op == "placeholder")
    image.meta = {}
    with program.graph.inserting_after(image):
        made = program.graph.call_module(name, (image,))
    image.replace_all_uses_with(made, lambda user: user is not made)
    program.recompile()


def check_bakeable(model: Model, missing: tuple[str, ...], interface: str) -> None:
    """Refuses networks that nothing can be baked into.

    Args:
        missing: what nobody said of its images; see `edgekit.stated.unsaid`.
        interface: of files of integers; see `edgekit.core.Scheme`.

    Raises:
        UsageError: says what to do.
    """
    if interface != "float":
        raise UsageError(
            f"{OPTION} with --io {interface}: both say what goes in, and the first one makes it "
            f"bytes of pixels: leave --io out"
        )
    if model.task != CLASSIFY or model.signature is not None:
        raise UsageError(
            f"{OPTION} goes with networks of one image whose preparation is known: "
            f"'{model.source}' is of the task {model.task}; leave it out, or put what prepares its "
            f"inputs into the network's own code"
        )
    # There are no images for random weights of the zoo.
    if "values" in missing and (model.trained or not model.of_zoo):
        raise UsageError(
            f"{OPTION}: nobody said how the values of images are prepared for '{model.source}', "
            f"and what is in a file cannot be corrected in an app: give --mean and --std"
        )
