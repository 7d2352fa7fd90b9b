"""What a network takes and gives as plain data, as checkpoints keep it."""

from __future__ import annotations

import dataclasses
from math import prod

import torch
from torch import Tensor, nn

from edgekit.core import Call, Draw, Interface
from edgekit.core.names import shown
from edgekit.models.arguments import leaves, read
from edgekit.models.rows import noise_rows, tensors_of
from edgekit.models.ways import flat

TYPES = {
    torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
}  # fmt: skip
"""Of the tensors that a network may take and give."""

LARGEST_INPUT = 1 << 28
"""Numbers of all inputs of an inference; as float32 they take a GiB."""


def check_call(call: Call) -> None:
    """Refuses a call that comes from a file and is none.

    Raises:
        ValueError: says why.
    """
    types = {str(kind).removeprefix("torch.") for kind in TYPES}
    for spec in (*call.inputs, *call.outputs):
        if spec.dtype not in types or not all(1 <= n <= LARGEST_INPUT for n in spec.shape):
            raise ValueError(f"tensor '{shown(spec.name)}' is {spec.shape} of {shown(spec.dtype)}")
    if not call.outputs and [len(spec.shape) for spec in call.inputs] != [4]:
        raise ValueError("it takes no image, and gives nothing but scores")
    if not 0 <= call.classes <= LARGEST_INPUT:
        raise ValueError(f"it is made with {call.classes} classes")
    if not call.inputs or sum(prod(spec.shape) for spec in call.inputs) > LARGEST_INPUT:
        raise ValueError("it takes no inputs, or more than any network")
    for spec in call.inputs:
        low, high = (0, 1) if spec.dtype == "bool" else _bounds(spec.dtype)
        if spec.draw is not None and not all(low <= n <= high for n in spec.draw.values):
            raise ValueError(f"input '{shown(spec.name)}' holds none of {spec.draw.values}")
    if call.kept and (len(call.kept) != len(call.outputs) or min(call.kept) < 0):
        raise ValueError("it does not say which outputs are kept")
    if call.kept:
        given = read(call.arguments)
        if len(list(leaves((*given.args, given.kwargs)))) != len(call.inputs):
            raise ValueError("its arguments do not take its inputs")


def called_as(module: nn.Module, call: Call, source: str) -> nn.Module:
    """A network as its code makes it, as a function of tensors.

    See `edgekit.models.interface.Shaped`.

    Raises:
        ModelError: it cannot be copied.
        ValueError: the call is damaged.
    """
    return flat(module, read(call.arguments), list(call.kept), source) if call.kept else module


def interface_of(call: Call) -> Interface:
    """The inputs and outputs of a network of any tensors."""
    inputs = tuple(dataclasses.replace(spec, draw=None) for spec in call.inputs)
    return Interface(inputs, call.outputs)


def draws_in(call: Call) -> tuple[Draw, ...]:
    """What noise for each input is like."""
    return tuple(spec.draw or Draw(0.0, 1.0) for spec in call.inputs)


def example_in(call: Call) -> tuple[Tensor, ...]:
    """Inputs of one inference, one an argument: noise, the same one each time."""
    row = torch.from_numpy(noise_rows(call.inputs, draws_in(call), 1))
    return tuple(tensors_of(row, interface_of(call)))


def _bounds(dtype: str) -> tuple[int, int]:
    """Of the numbers of a type; of floats there is no least or greatest integer."""
    kind: torch.dtype = getattr(torch, dtype)
    if kind.is_floating_point:
        return 0, 0
    info = torch.iinfo(kind)
    return info.min, info.max
