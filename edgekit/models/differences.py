"""Where two runs of a network begin to differ, operator by operator."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Of what an operator gives, against its largest number; growing rounding makes no such jump.
_DIFFERENT, _JUMP, _ROUNDING = 1e-3, 30.0, 1e-6


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two runs begin to differ.

    Attributes:
        location: the layer, the file, the line and what it says.
        drawn: whether random numbers are drawn there.
    """

    location: str
    drawn: bool


def first_difference(
    module: nn.Module, run: Callable[[Tensor], object], first: Tensor, second: Tensor
) -> Difference | None:
    """Where runs on a batch and on the same or fewer images of it part; ``None``: at rounding.

    Args:
        run: runs the network on images.
    """
    recorder = _Recorder()
    with recorder:
        run(first.clone())
    comparer = _Comparer(recorder.calls, module, alike=len(first) == len(second))
    with comparer:
        run(second.clone())
    return comparer.difference


Call = tuple[str, str, tuple[Tensor, ...]]
"""Of an operator: its name, its arguments that are no tensors, and what it gave."""


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or PyTorch imports all of its compiler, to keep that from compiling this

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        self.calls.append(_call(func, args, kwargs or {}, found))
        return found


class _Comparer(TorchDispatchMode):
    """Holds a run against a recorded one.

    Args:
        alike: whether both are on the same images, so that arguments have to be equal, too.

    Attributes:
        difference: where they part.
    """

    def __init__(self, calls: Sequence[Call], module: nn.Module, *, alike: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.difference: Difference | None = None
        self._calls: Iterator[Call] | None = iter(calls)
        self._paths = paths_of(module)
        self._alike, self._most = alike, _ROUNDING

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see `_Recorder`

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        drawn = torch.Tag.nondeterministic_seeded in func.tags
        call = _call(func, args, kwargs or {}, found)
        if self._calls is not None and self._parts(call, drawn):
            # What draws explains more than a memory that was passed on the way to it.
            if self.difference is None or drawn:
                self.difference = Difference(where(sys._getframe(1), self._paths), drawn)
            if drawn or not self._alike:
                self._calls = None
        return found

    def _parts(self, call: Call, drawn: bool) -> bool:
        assert self._calls is not None
        name, arguments, outputs = call
        before = next(self._calls, None)
        if before is None or before[0] != name or (self._alike and before[1] != arguments):
            self._calls = None  # from here on, nothing can be compared
            return self._alike
        parts = False
        for old, new in zip(before[2], outputs, strict=False):
            if not (drawn or new.is_floating_point()):
                continue  # counters
            difference = _difference(_part_of(old, new), new)
            parts |= difference > max(_DIFFERENT, _JUMP * self._most)
            self._most = max(self._most, min(difference, _DIFFERENT))
        return parts


def _call(func: Any, args: Any, kwargs: Any, output: Any) -> Call:
    name = str(func)
    plain = [arg for arg in (*args, *kwargs.values()) if not isinstance(arg, Tensor | list | tuple)]
    lists = [arg for arg in args if isinstance(arg, list | tuple)]
    plain += [one for some in lists for one in some if not isinstance(one, Tensor)]
    if "empty" in name:  # whatever was there before
        return name, repr(plain), ()
    outputs = output if isinstance(output, list | tuple) else [output]
    return name, repr(plain), tuple(one.clone() for one in outputs if isinstance(one, Tensor))


def _part_of(batch: Tensor, alone: Tensor) -> Tensor | None:
    """The first image's part of a tensor of two, by its shape; ``None`` where that does not say."""
    if batch.shape == alone.shape:
        return batch
    if batch.ndim != alone.ndim:
        return None
    axes = [i for i in range(batch.ndim) if batch.shape[i] != alone.shape[i]]
    if len(axes) != 1 or batch.shape[axes[0]] != 2 * alone.shape[axes[0]]:
        return None
    return batch.narrow(axes[0], 0, alone.shape[axes[0]])


def _difference(a: Tensor | None, b: Tensor) -> float:
    """The largest difference over the largest number; 0 where nothing can be said."""
    if a is None or not b.numel() or b.is_complex() or b.is_quantized:
        return 0.0
    a, b = a.double().nan_to_num(), b.double().nan_to_num()
    size = float(torch.maximum(a.abs().max(), b.abs().max()))
    return float((a - b).abs().max()) / size if size > 0 else 0.0


_NOT_THEIRS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))


def memory(tensor: Tensor) -> int:
    """What tensors share that are views of one another, as long as one of them is kept."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else id(tensor)


def paths_of(module: nn.Module) -> dict[int, str]:
    """The path of each layer, by its identity."""
    return {id(layer): path for path, layer in module.named_modules()}


def where(frame: FrameType | None, paths: dict[int, str]) -> str:
    """The innermost layer that runs, and the innermost line that is of the network's own code."""
    layer, line = "", ""
    while frame is not None and not (layer and line):
        owner, file = frame.f_locals.get("self"), frame.f_code.co_filename
        if not layer and isinstance(owner, nn.Module) and id(owner) in paths:
            path, kind = paths[id(owner)], type(owner).__name__
            layer = f"layer '{path}' ({kind})" if path else f"the network itself ({kind})"
        if not line and not file.startswith((*_NOT_THEIRS, "<")):
            said = linecache.getline(file, frame.f_lineno).strip()
            line = f"{_short(file)}, line {frame.f_lineno}" + (f" ({said})" if said else "")
        frame = frame.f_back
    return ", ".join(filter(None, (layer, line)))


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
