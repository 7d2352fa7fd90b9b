"""How tensors lie in memory, and what PyTorch's CPU kernels for depthwise convolutions lack.

Neither changes what a network computes, but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Sides = tuple[int, ...]
"""(H, W)."""


def fit_for_training(model: nn.Module) -> None:
    """Makes training steps of a network shorter; values stay as they are.

    Weights, and by that what flows between layers, get channels innermost. Gradients of depthwise
    kernels on small maps are computed here. docs/measurements/training.md has what both are worth.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
            if module.groups == module.in_channels == module.out_channels > 1:
                module.register_forward_pre_hook(_with_channels_innermost)
                module.__dict__["_conv_forward"] = MethodType(_forward, module)


def _with_channels_innermost(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """States the layout of (N, C, 1, 1), where every layout is the same in memory.

    A norm before it leaves the strides of the other one, and oneDNN believes them: it then takes
    8.5 ms instead of 0.1 for a depthwise 5x5 of 576 channels and 32 images.
    """
    (x,) = inputs
    if x.shape[2:] != (1, 1):
        return inputs
    n, c = x.shape[:2]
    return (x.as_strided((n, c, 1, 1), (c, 1, c, c)) if x.is_contiguous() else x,)


def _forward(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if (
        weight.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not isinstance(layer.padding, str)
        and (layer.padding_mode, layer.dilation) == ("zeros", (1, 1))
        and _is_slow(layer, x)
    ):
        arguments = (x, weight, bias, layer.stride, layer.padding)
        return cast("Tensor", _Depthwise.apply(*arguments))  # type: ignore[no-untyped-call]
    return cast("Tensor", nn.Conv2d._conv_forward(layer, x, weight, bias))


def _is_slow(layer: nn.Conv2d, x: Tensor) -> bool:
    """Whether oneDNN takes longer for the gradient than one kernel position after the other.

    576 channels, 5x5 on 1x1, 64 images: 34 ms against 0.5; 240 channels, 5x5 on 4x4: 25 against 5;
    3x3 on 4x4: 0.4 against 4.
    """
    assert not isinstance(layer.padding, str)
    sides = [
        (size + 2 * pad - kernel) // stride + 1
        for size, pad, kernel, stride in zip(
            x.shape[2:], layer.padding, layer.kernel_size, layer.stride, strict=True
        )
    ]
    return max(sides) <= (4 if min(layer.kernel_size) >= 5 else 2)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose gradient of the kernel is computed position by position."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sides, padding: Sides
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        of_x, _, of_bias = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight,
            ctx.bias_sizes,
            ctx.stride,
            ctx.padding,
            (1, 1),
            False,
            (0, 0),
            len(weight),
            (ctx.needs_input_grad[0], False, ctx.needs_input_grad[2]),
        )
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = _kernel_gradient(x, gradient, weight.shape, ctx.stride, ctx.padding)
        return of_x, of_weight, of_bias, None, None


def _kernel_gradient(
    x: Tensor, gradient: Tensor, shape: torch.Size, stride: Sides, padding: Sides
) -> Tensor:
    """The gradient of a kernel (C, 1, height, width); most of it is 0 where maps are small."""
    x, gradient = x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
    result = torch.zeros(*shape[2:], shape[0])
    sides = zip(shape[2:], x.shape[1:3], gradient.shape[1:3], stride, padding, strict=True)
    rows, columns = (list(_taps(*side)) for side in sides)
    for i, read_rows, write_rows in rows:
        for j, read_columns, write_columns in columns:
            products = x[:, read_rows, read_columns] * gradient[:, write_rows, write_columns]
            result[i, j] = products.sum((0, 1, 2))
    return result.permute(2, 0, 1)[:, None].contiguous(memory_format=torch.channels_last)


def _taps(
    kernel: int, size: int, outputs: int, stride: int, padding: int
) -> Iterator[tuple[int, slice, slice]]:
    """Positions of a kernel along one axis that see more than padding: what they read and write."""
    for i in range(kernel):
        first = max(0, -((i - padding) // stride))
        last = min(outputs - 1, (size - 1 + padding - i) // stride)
        if first <= last:
            begin = first * stride - padding + i
            end = last * stride - padding + i + 1
            yield i, slice(begin, end, stride), slice(first, last + 1)
