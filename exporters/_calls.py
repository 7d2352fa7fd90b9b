"""Calls of PyTorch whose arguments converters leave out or misread, written in others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Rewrites = Mapping[str, Callable[..., Any]]
"""By the name of a function: what is called in its place, with it and its arguments."""


@contextlib.contextmanager
def rewritten(rewrites: Rewrites) -> Iterator[None]:
    """Lets networks that are traced inside write calls in others that compute the same."""
    from torch.overrides import TorchFunctionMode

    class Rewrite(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = getattr(func, "__name__", "").partition(".")[0]
            rewrite = rewrites.get(name)
            if rewrite is None:
                return func(*args, **(kwargs or {}))
            return rewrite(func, *args, **(kwargs or {}))

    with Rewrite():
        yield


def _divided(
    func: Any,
    input: Tensor,  # noqa: A002 - as PyTorch calls it
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """``avg_pool2d``, with ``divisor_override`` as a factor."""
    stride = kernel_size if stride is None else stride  # of `F.avg_pool2d`, which may leave it out
    if divisor_override is None:
        return func(input, kernel_size, stride, padding, ceil_mode, count_include_pad)
    kernel, steps, pads = _window(kernel_size, stride, padding)
    averages, _ = _with_zeros(func, input, kernel, steps, pads, ceil_mode)
    return averages * (kernel[0] * kernel[1] / divisor_override)


def _counted(
    func: Any,
    input: Tensor,  # noqa: A002
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The same; what windows count that reach beyond the padding is a factor, too."""
    import torch

    stride = kernel_size if stride is None else stride
    given = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    if divisor_override is not None or not ceil_mode or not count_include_pad:
        return _divided(func, input, *given)
    kernel, steps, pads = _window(kernel_size, stride, padding)
    if not any(pads):  # then windows count what lies in the image, as without that argument
        return func(input, kernel, steps, pads, ceil_mode, False)
    averages, beyond = _with_zeros(func, input, kernel, steps, pads, ceil_mode)
    if not any(beyond):
        return func(input, kernel, steps, pads, False, True)
    factors = torch.ones(1)
    for size, length, step, pad, made in zip(
        input.shape[-2:], kernel, steps, pads, averages.shape[-2:], strict=True
    ):
        ends = [min(i * step + length, int(size) + 2 * pad) for i in range(int(made))]
        counts = [end - i * step for i, end in enumerate(ends)]
        factors = factors.unsqueeze(-1) * torch.tensor([length / count for count in counts])
    return averages * factors.reshape([1, 1, *factors.shape[-2:]])


def _with_zeros(
    func: Any,
    image: Tensor,
    kernel: tuple[int, int],
    steps: tuple[int, int],
    pads: tuple[int, int],
    ceil_mode: bool,
) -> tuple[Any, list[int]]:
    """Averages over whole windows, all of which that lies outside of the image counts as zero.

    Returns:
        These, and how many rows and columns beyond the padding there are.
    """
    from torch.nn import functional

    beyond = [0, 0]
    if ceil_mode:
        for i, (size, length, step, pad) in enumerate(
            zip(image.shape[-2:], kernel, steps, pads, strict=True)
        ):
            size = int(size)  # a tensor, where TorchScript traces
            last = -(-(size + 2 * pad - length) // step)  # window; each begins in the image
            if last * step >= size + pad:
                last -= 1
            beyond[i] = max(0, last * step + length - size - 2 * pad)
    if any(beyond):
        (top, left), (bottom, right) = pads, beyond
        image = functional.pad(image, (left, left + right, top, top + bottom))
        pads = (0, 0)
    return func(image, kernel, steps, pads), beyond


def _window(
    kernel_size: Any, stride: Any, padding: Any
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Sizes, steps and padding of windows, along both axes."""
    kernel = _pair(kernel_size)
    return kernel, _pair(stride) if stride or stride == 0 else kernel, _pair(padding)


def _pair(value: Any) -> tuple[int, int]:
    values = [int(value)] if isinstance(value, int) else [int(v) for v in value]
    return (values[0], values[-1])


def _spread(func: Any, input: Tensor, *args: Any, **options: Any) -> Any:  # noqa: A002
    """``var``, ``std`` and these with the mean: a correction beyond 1 is a factor."""
    correction = options.get("correction")
    if correction is None or correction in (0, 1):
        return func(input, *args, **options)
    axes = args[0] if args else options.get("dim")
    axes = range(input.dim()) if axes is None else [axes] if isinstance(axes, int) else axes
    count = 1
    for axis in axes:
        count *= int(input.shape[axis])
    factor = count / (count - correction) if count > correction else float("inf")
    factor = factor if func.__name__.startswith("var") else factor**0.5
    whole = func(input, *args, **{**options, "correction": 0})
    return (whole[0] * factor, whole[1]) if isinstance(whole, tuple) else whole * factor


def _rounded(func: Any, input: Tensor, *, decimals: int = 0) -> Any:  # noqa: A002
    """``round``, to so many decimals by a factor."""
    if decimals == 0:
        return func(input)
    scale = 10.0 ** abs(decimals)
    return func(input * scale) / scale if decimals > 0 else func(input / scale) * scale


def _resized(
    func: Any,
    input: Tensor,  # noqa: A002
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """``interpolate``; ``nearest-exact`` takes pixels by their places, computed as PyTorch does."""
    import torch

    if mode != "nearest-exact":
        given = (size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
        return func(input, *given)
    axes = input.dim() - 2
    sizes, factors = (
        [v] * axes if isinstance(v, (int, float)) else v for v in (size, scale_factor)
    )
    for i in range(axes):
        old = int(input.shape[2 + i])
        new = int(sizes[i]) if factors is None else int(old * factors[i])
        kept = factors is not None and not recompute_scale_factor
        step = torch.tensor(1 / factors[i] if kept else old / new)
        places = ((torch.arange(new) + 0.5) * step).floor().long().clamp(max=old - 1)
        input = input.index_select(2 + i, places)  # noqa: A001
    return input


def _attended(
    func: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    **options: Any,
) -> Any:
    """``scaled_dot_product_attention`` of four axes, whatever it has."""
    from numpy import broadcast_shapes

    given = (query, key, value)
    if all(one.dim() == 4 for one in given) or options.get("enable_gqa"):
        return func(*given, attn_mask, *args, **options)
    lead = broadcast_shapes(*(tuple(one.shape[:-2]) for one in given))
    heads = lead[-1] if lead else 1

    def folded(one: Tensor) -> Tensor:
        return one.expand(*lead, *one.shape[-2:]).reshape(-1, heads, *one.shape[-2:])

    if attn_mask is not None and attn_mask.dim() > 2:
        attn_mask = folded(attn_mask)
    found = func(*map(folded, given), attn_mask, *args, **options)
    return found.reshape(*lead, *found.shape[-2:])


CALLS: Rewrites = {"avg_pool2d": _divided, "scaled_dot_product_attention": _attended}
"""torch.onnx 2.13 leaves ``divisor_override`` out without a word, and has attention of four axes
only."""

ARGUMENTS: Rewrites = {
    "avg_pool2d": _counted,
    "var": _spread,
    "std": _spread,
    "var_mean": _spread,
    "std_mean": _spread,
    "round": _rounded,
    "interpolate": _resized,
}
"""OpenVINO's frontend refuses a divisor, and has ``nearest-exact`` only where sizes are known. The
others it leaves out without a word: that windows beyond the padding count less, a correction beyond
1, and decimals."""
