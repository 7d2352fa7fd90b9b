"""Outputs that a network puts together from others, which may be of other units.

Detectors put boxes in pixels and scores from 0 to 1 into one tensor. What is lost of the scores
hardly shows in the whole, so each part has to be looked at by itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
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
)  # fmt: skip

_known: weakref.WeakKeyDictionary[nn.Module, Parts] = weakref.WeakKeyDictionary()


def parts_of(module: nn.Module, tensors: Sequence[Tensor]) -> Parts:
    """Of each output, which numbers belong together.

    Args:
        module: gives a tensor or several.
        tensors: inputs of one inference.
    """
    if module not in _known:
        with torch.no_grad(), _Tracing() as trace:
            found = module(*tensors)
        outputs = found if isinstance(found, tuple | list) else (found,)
        _known[module] = tuple(trace.parts(one) for one in outputs)
    return _known[module]


class _Tracing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps in mind how tensors were put together, and moved behind that."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Tensors are kept, too, so that no other one gets the same number.
        self._made: dict[int, tuple[Tensor, Callable[[], Tensor | None]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        name = func._schema.name
        if isinstance(found, Tensor) and name in _JOINING and len(args[0]) > 1:
            self._made[id(found)] = found, lambda: _numbered(func, args, kwargs)
        elif isinstance(found, Tensor) and name in _MOVING and id(args[0]) in self._made:
            before = self._made[id(args[0])][1]
            self._made[id(found)] = found, lambda: _moved(func, before(), args, kwargs)
        return found

    def parts(self, output: Tensor) -> NDArray[np.intp] | None:
        """The number of the part for each number of an output."""
        if id(output) not in self._made:
            return None
        numbers = self._made[id(output)][1]()
        return None if numbers is None else numbers.reshape(-1).numpy().astype(np.intp)


def _numbered(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    numbers = [torch.full(one.shape, i, dtype=torch.int64) for i, one in enumerate(args[0])]
    result: Tensor = func(numbers, *args[1:], **kwargs)
    return result


def _moved(func: Any, numbers: Tensor | None, args: Any, kwargs: Any) -> Tensor | None:
    if numbers is None:
        return None
    result: Tensor = func(numbers, *args[1:], **kwargs)
    return result
