"""Average poolings with a divisor of their own, for converters that know none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def without_divisors() -> Iterator[None]:
    """Lets networks that are traced inside write ``divisor_override`` as a factor.

    torch.onnx 2.13 leaves it out without a word, and OpenVINO's frontend refuses it.
    """
    from torch.overrides import TorchFunctionMode

    class Rewrite(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = getattr(func, "__name__", "").partition(".")[0]
            if name != "avg_pool2d":
                return func(*args, **(kwargs or {}))
            return _average(func, *args, **(kwargs or {}))

    with Rewrite():
        yield


def _average(
    func: Any,
    input: Tensor,  # noqa: A002 - as PyTorch calls it
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """``avg_pool2d``; windows of which a part lies outside of the padding count as zero there."""
    from torch.nn import functional

    if divisor_override is None:
        return func(input, kernel_size, stride, padding, ceil_mode, count_include_pad)
    kernel, pads = _pair(kernel_size), _pair(padding)
    steps = _pair(stride) if stride or stride == 0 else kernel
    beyond = [0, 0]
    if ceil_mode:
        for i, (size, length, step, pad) in enumerate(
            zip(input.shape[-2:], kernel, steps, pads, strict=True)
        ):
            size = int(size)  # a tensor, where TorchScript traces
            last = -(-(size + 2 * pad - length) // step)  # window; each begins in the image
            if last * step >= size + pad:
                last -= 1
            beyond[i] = max(0, last * step + length - size - 2 * pad)
    if any(beyond):
        (top, left), (bottom, right) = pads, beyond
        input = functional.pad(input, (left, left + right, top, top + bottom))  # noqa: A001
        pads = (0, 0)
    return func(input, kernel, steps, pads) * (kernel[0] * kernel[1] / divisor_override)


def _pair(value: Any) -> tuple[int, int]:
    values = [int(value)] if isinstance(value, int) else [int(v) for v in value]
    return (values[0], values[-1])
