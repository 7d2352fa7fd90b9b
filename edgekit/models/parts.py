"""Outputs that a network puts together from others, which may be of other units.

Detectors put boxes in pixels and scores from 0 to 1 into one tensor. What is lost of the scores
hardly shows in the whole, so each part has to be looked at by itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Parts = tuple[NDArray[np.intp] | None, ...]
"""For each output the number of the part that each of its numbers is of, flat; ``None`` of one
that is not put together."""

_JOINING = ("aten::cat", "aten::stack")
_MOVING = (
    "aten::view", "aten::_unsafe_view", "aten::reshape", "aten::_reshape_alias", "aten::permute",
    "aten::transpose", "aten::t", "aten::squeeze", "aten::unsqueeze", "aten::clone",
    "aten::contiguous", "aten::alias", "aten::detach", "aten::flatten", "aten::unflatten",
    "aten::select", "aten::slice", "aten::narrow", "aten::index_select", "aten::index",
    "aten::split", "aten::split_with_sizes", "aten::chunk", "aten::unbind", "aten::expand",
    "aten::repeat", "aten::flip", "aten::roll", "aten::as_strided", "aten::_to_copy",
)  # fmt: skip

Shapes = tuple[tuple[int, ...], ...]

_known: weakref.WeakKeyDictionary[nn.Module, dict[Shapes, Parts]] = weakref.WeakKeyDictionary()


def parts_of(module: nn.Module, tensors: Sequence[Tensor]) -> Parts:
    """Of each output, which numbers belong together.

    Args:
        module: gives a tensor or several.
        tensors: inputs of one inference.
    """
    known = _known.setdefault(module, {})
    shapes = tuple(tuple(one.shape) for one in tensors)
    if shapes not in known:
        with torch.no_grad(), _Tracing() as trace:
            result = module(*tensors)
        outputs = result if isinstance(result, tuple | list) else (result,)
        known[shapes] = tuple(trace.parts(one) for one in outputs)
    return known[shapes]


class _Tracing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps in mind how tensors were put together, and moved behind that."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Tensors are kept, too, so that no other one gets the same number.
        self._made: dict[int, tuple[Tensor, Callable[[], Tensor]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(getattr(func, "_schema", None), "name", "")
        if name in _JOINING and len(args[0]) > 1:
            self._keep(result, lambda: _numbered(func, args, kwargs))
        elif name in _MOVING and id(args[0]) in self._made:
            before = self._made[id(args[0])][1]
            if isinstance(result, Tensor):
                self._keep(result, lambda: func(before(), *args[1:], **kwargs))
            else:
                for i, one in enumerate(result):
                    self._keep(one, partial(_numbered_piece, before, func, args, kwargs, i))
        return result

    def _keep(self, tensor: Tensor, numbers: Callable[[], Tensor]) -> None:
        self._made[id(tensor)] = tensor, numbers

    def parts(self, output: Tensor) -> NDArray[np.intp] | None:
        """The number of the part for each number of an output."""
        if id(output) not in self._made:
            return None
        numbers = self._made[id(output)][1]().reshape(-1).numpy().astype(np.intp)
        return numbers if len(np.unique(numbers)) > 1 else None


def _numbered_piece(
    before: Callable[[], Tensor], func: Any, args: Any, kwargs: Any, index: int
) -> Tensor:
    result: Tensor = func(before(), *args[1:], **kwargs)[index]
    return result


def _numbered(func: Any, args: Any, kwargs: Any) -> Tensor:
    numbers = [torch.full(one.shape, i, dtype=torch.int64) for i, one in enumerate(args[0])]
    result: Tensor = func(numbers, *args[1:], **kwargs)
    return result
