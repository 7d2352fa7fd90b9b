"""Networks as functions of rows: all numbers of the inputs of one inference, in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.core import Draw, Interface, TensorSpec
from edgekit.core.reasons import PASSING
from edgekit.models.ways import in_way

MOST_VALUES = 64
"""Different integers of an example that noise is drawn from, at most."""

NUMBERS_AT_ONCE = 1 << 24
"""Inputs and outputs that are computed at once; what lies between them may be ten times as much. It
is 55 images of 224 x 224 pixels with as much at the other end."""

SAME_IN_BATCHES = 1e-3
"""Largest difference of outputs that are computed at once from those computed one by one, over the
largest number of the output; of integers, such as classes of pixels, the share that may differ.
Rounding stays far below; what mixes inferences does not."""

Function = Callable[..., Any]
"""A network, or its way to run: takes tensors, gives one or a tuple of them."""


def on_rows(module: nn.Module, interface: Interface, source: str) -> nn.Module:
    """A copy of a network that takes and gives rows; see `edgekit.core.interface`.

    Args:
        module: of `edgekit.models.interface.shaped`.

    Raises:
        ModelError: it cannot be copied.
    """
    return in_way(_OnRows, module, source, interface=interface)


class _OnRows(nn.Module):
    interface: Interface

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of several inferences, (n, numbers), of their inputs, (n, numbers).

        In training all at once, where that can be: norms need several of each number.
        """
        network = super().forward
        if not self.training or not has_batch(self.interface):
            return one_by_one(network, x, self.interface)
        try:
            return together(network, x, self.interface)
        except (*PASSING, MemoryError, torch.OutOfMemoryError):
            raise
        except BaseException as error:  # its code may have the number 1 of inferences in it
            return _alone(network, x, self.interface, error)


def _alone(network: Function, x: Tensor, interface: Interface, why: BaseException) -> Tensor:
    """Outputs one by one, or the error of all at once: that number is not the cause of both."""
    try:
        return one_by_one(network, x, interface)
    except PASSING:
        raise
    except BaseException as error:
        raise why from error


def has_batch(interface: Interface) -> bool:
    """Whether the first axis of all inputs and outputs may be that of inferences."""
    return all(spec.shape[:1] == (1,) for spec in interface.inputs)


def one_by_one(network: Function, x: Tensor, interface: Interface) -> Tensor:
    """Outputs of several inferences, (n, numbers), each computed by itself.

    Args:
        x: their inputs, (n, numbers).
    """
    rows = []
    for row in torch.split(x, 1):
        outputs = network(*tensors_of(row, interface))
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        rows.append(torch.cat([_as_numbers(one, x) for one in parts], 1))
    return torch.cat(rows)


def together(network: Function, x: Tensor, interface: Interface) -> Tensor:
    """The same, all computed at once; for networks of which `has_batch` is true.

    Returns:
        Of the type of ``x``, integers too.
    """
    columns = torch.split(x, [prod(spec.shape) for spec in interface.inputs], 1)
    tensors = [
        _typed(part.reshape(len(x), *spec.shape[1:]), spec)
        for part, spec in zip(columns, interface.inputs, strict=True)
    ]
    outputs = network(*tensors)
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    return torch.cat([one.reshape(len(x), -1).to(x.dtype) for one in parts], 1)


def flattened(outputs: Any) -> Tensor:
    """What a network returns for several inferences, a tensor or several, as rows, (n, numbers)."""
    if isinstance(outputs, Tensor):
        return outputs if outputs.ndim == 2 else outputs.flatten(1)
    return torch.cat([one.flatten(1) for one in outputs], 1)


def at_once(most: int, interface: Interface) -> int:
    """How many inferences are computed together: of large maps fewer, as memory has an end."""
    numbers = sum(prod(spec.shape) for spec in (*interface.inputs, *interface.outputs))
    return max(2, min(most, NUMBERS_AT_ONCE // numbers))


@torch.no_grad()
def runs_batched(module: nn.Module, rows: Tensor, interface: Interface) -> bool:
    """Whether a network in eval mode gives the same for several inferences at once.

    One may have the number 1 of inferences in its code, or take an input without that axis.

    Args:
        rows: of a few inferences.
    """
    if not has_batch(interface):
        return False
    try:
        outputs = together(module, rows, interface)
    except PASSING:
        raise
    except BaseException:  # the user's code may raise anything
        return False
    single = one_by_one(module, rows, interface).to(outputs.dtype)
    if outputs.shape != single.shape:
        return False
    for spec in interface.outputs:
        a, b = (one[:, interface.columns[spec.name]] for one in (outputs, single))
        if spec.dtype.startswith("float"):
            same = bool(((a - b).abs() <= SAME_IN_BATCHES * b.abs().max()).all())
        else:
            same = float((a != b).float().mean()) <= SAME_IN_BATCHES
        if not same:
            return False
    return True


def tensors_of(row: Tensor, interface: Interface) -> list[Tensor]:
    """Inputs of one inference, one an argument, of its row."""
    found, start, flat = [], 0, row.reshape(-1)
    for spec in interface.inputs:
        end = start + prod(spec.shape)
        found.append(_typed(flat[start:end].reshape(spec.shape), spec))
        start = end
    return found


def _typed(part: Tensor, spec: TensorSpec) -> Tensor:
    """Numbers of a row as an input takes them; a network in float64 gets floats as they are."""
    kind: torch.dtype = getattr(torch, spec.dtype)
    if kind.is_floating_point:
        return part if kind == torch.float32 else part.to(kind)
    return part.round().to(kind)


def _as_numbers(tensor: Tensor, like: Tensor) -> Tensor:
    numbers = tensor.reshape(1, -1)
    if not numbers.is_floating_point():
        return numbers.double()  # which has all that there are in practice
    if numbers.dtype in (torch.float16, torch.bfloat16):
        return numbers.to(like.dtype)
    return numbers


def draws_of(example: Sequence[Tensor]) -> tuple[Draw, ...]:
    """What noise is like that stands for inputs like those of an example.

    Floats are drawn with the mean and spread of those of the example, and from the usual normal
    distribution where these are all alike; integers are values that it has.
    """
    draws = []
    for tensor in example:
        values = tensor.reshape(-1).numpy()
        if not tensor.is_floating_point():
            there = np.unique(values)
            places = np.linspace(0, len(there) - 1, min(len(there), MOST_VALUES)).round()
            draws.append(Draw(0.0, 1.0, tuple(int(there[int(i)]) for i in places)))
        elif (spread := float(values.std(dtype=np.float64)) if values.size else 0.0) > 0:
            draws.append(Draw(float(values.mean(dtype=np.float64)), spread))
        else:
            draws.append(Draw(0.0, 1.0))
    return tuple(draws)


def noise_rows(
    inputs: Sequence[TensorSpec], draws: Sequence[Draw], count: int, seed: int = 0
) -> NDArray[np.float32]:
    """Rows of inputs as they are to be drawn, one of ``draws`` for each.

    Returns:
        (count, n).
    """
    rng = np.random.default_rng(seed)
    columns = []
    for spec, draw in zip(inputs, draws, strict=True):
        size = (count, prod(spec.shape))
        if np.dtype(spec.dtype).kind != "f":
            drawn = rng.choice(draw.values, size) if draw.values else np.zeros(size)
        else:
            drawn = draw.mean + draw.spread * rng.standard_normal(size)
        columns.append(drawn.astype(np.float32))
    return np.concatenate(columns, axis=1)
