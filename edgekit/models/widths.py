"""Named widths, and the layers between them.

Every channel count carries a name. Layers whose channels must stay aligned (a convolution, its
batch norm, the depthwise layer behind it, everything that is added to it) share the name, so
that changing a width is a look-up by name, whatever the family; see `named_axes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Width:
    """A channel count that knows which channels it counts.

    Attributes:
        free: whether single channels can be taken out. Those that a channel shuffle or a grouped
            convolution mixes by position cannot.
        parts: the widths that were concatenated to make this one, in order.
        repeat: positions in a row that each channel has; more than one where a network of other
            people's flattens an image.
    """

    name: str
    n: int
    free: bool = True
    parts: tuple[Width, ...] = ()
    repeat: int = 1

    def __deepcopy__(self, memo: object) -> Width:
        """Itself: networks are copied hundreds of times in a search."""
        return self


REST = ""
"""Name of channels that no group has, in layers of networks that are not of the zoo."""


Axes = tuple[tuple[Width, ...] | None, ...]
"""For each axis of a tensor the widths it is made of, in order; ``None`` for other axes."""

PADDINGS = ("symmetric", "same")


class Conv2d(nn.Conv2d):
    """A convolution between named widths, padded so that stride 1 keeps the image size.

    Args:
        inputs: width that comes in.
        outputs: width that goes out; ``None`` makes the layer depthwise, with one name on both
            sides. (The same name alone does not: a residual block may map a width onto itself.)
        kernel: side of the kernel in pixels, odd.
        padding: ``same`` splits the padding of strided layers as TensorFlow does, by the size of
            the image; without a stride both are the same.
    """

    def __init__(
        self,
        inputs: Width,
        outputs: Width | None,
        kernel: int = 1,
        stride: int = 1,
        bias: bool = False,
        groups: int = 1,
        padding: str = "symmetric",
    ) -> None:
        self.depthwise = outputs is None
        self.inputs, self.outputs = inputs, outputs or inputs
        self.pads_by_size = padding == "same" and stride > 1 and kernel > 1
        super().__init__(
            inputs.n,
            self.outputs.n,
            kernel,
            stride,
            0 if self.pads_by_size else kernel // 2,
            groups=inputs.n if self.depthwise else groups,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        if self.pads_by_size:
            left, right = self._same(int(x.shape[3]))
            top, bottom = self._same(int(x.shape[2]))
            x = F.pad(x, (left, right, top, bottom))
        return super().forward(x)

    def _same(self, side: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2

    def axes(self) -> dict[str, Axes]:
        """Widths of each tensor of this layer."""
        inputs = None if self.groups > 1 else (self.inputs,)
        return {"weight": ((self.outputs,), inputs, None, None), "bias": ((self.outputs,),)}


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalization of a named width."""

    def __init__(self, width: Width, eps: float, momentum: float) -> None:
        super().__init__(width.n, eps=eps, momentum=momentum)
        self.width = width

    def axes(self) -> dict[str, Axes]:
        """Widths of each tensor of this layer."""
        names = ("weight", "bias", "running_mean", "running_var")
        return dict.fromkeys(names, ((self.width,),))


class Linear(nn.Linear):
    """A fully connected layer between named widths."""

    def __init__(self, inputs: Width, outputs: Width, bias: bool = True) -> None:
        super().__init__(inputs.n, outputs.n, bias)
        self.inputs, self.outputs = inputs, outputs

    def axes(self) -> dict[str, Axes]:
        """Widths of each tensor of this layer."""
        return {"weight": ((self.outputs,), (self.inputs,)), "bias": ((self.outputs,),)}


def name_axes(layer: nn.Module, axes: dict[str, Axes]) -> None:
    """Tells a layer the widths of its tensors; they take the place of those it may know."""
    object.__setattr__(layer, _AXES, axes)


def axes_of(layer: nn.Module) -> dict[str, Axes] | None:
    """Widths of each tensor of a layer; ``None`` where it does not know them."""
    named: dict[str, Axes] | None = getattr(layer, _AXES, None)
    if named is None and isinstance(layer, Conv2d | BatchNorm2d | Linear):
        return layer.axes()
    return named


_AXES = "_edgekit_axes"


def named_axes(model: nn.Module) -> Iterator[tuple[str, Tensor, Axes]]:
    """Every tensor of a model's state with the widths of its axes.

    Raises:
        TypeError: a layer with parameters does not know its widths.
    """
    for path, module in model.named_modules():
        own = {
            **dict(module.named_parameters(recurse=False)),
            **{
                k: v
                for k, v in module.named_buffers(recurse=False)
                if v.ndim and k not in module._non_persistent_buffers_set
            },
        }
        if not own:
            continue
        axes = axes_of(module)
        if axes is None:
            raise TypeError(f"{path} ({type(module).__name__}) has tensors without named widths")
        for name, tensor in own.items():
            yield f"{path}.{name}" if path else name, tensor, axes[name]
