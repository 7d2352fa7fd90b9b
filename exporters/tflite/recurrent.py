"""Recurrent layers, step by step.

The format's own keep their state from one inference to the next, unless an app resets it. Written
out, each step is a handful of operators, and nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from exporters.tflite.layout import Value, plain
from exporters.tflite.lowering import Lowering, Operand, operator

if TYPE_CHECKING:
    from edgekit.core import Array


@operator("lstm.input")
def lstm(
    low: Lowering,
    x: Value,
    hx: Sequence[Operand],
    params: Sequence[Array],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    dropout: float = 0.0,
    train: bool = False,
) -> list[Operand]:
    """Layers of cells that remember, and what they remember at the end: (layers, batch, width)."""
    if train and dropout:
        raise low.refuse("an lstm with train=True")
    directions = 2 if bidirectional else 1
    each = 4 if has_biases else 2
    if len(params) != num_layers * directions * each or len(x.shape) != 3:
        raise low.refuse("an lstm with projections, or of one sequence without a batch")
    order = (0, 1, 2) if batch_first else (1, 0, 2)
    batch, steps = (x.shape[i] for i in order[:2])
    # Rows of a step lie together, in all layers.
    tensor = low.stored(x, order)
    hidden, cells = [], []
    with low.in_float_only():  # rounding would go from step to step
        for layer in range(num_layers):
            sides = []
            for direction in range(directions):
                place = layer * directions + direction
                weights = params[place * each : (place + 1) * each]
                start = [_state(low, one, place, batch) for one in hx]
                found, last, cell = _cells(low, tensor, weights, start, backwards=direction == 1)
                sides.append(found)
                hidden.append(last)
                cells.append(cell)
            width = sum(low.graph.tensors[one].shape[2] for one in sides)
            tensor = sides[0]
            if len(sides) > 1:
                shape = (batch, steps, width)
                tensor = low.emit("CONCATENATION", sides, shape, axis=2)
        ends = []
        for states in (hidden, cells):
            sizes = (len(states), *low.graph.tensors[states[0]].shape)
            packed = low.emit("PACK", states, sizes, axis=0, valuesCount=len(states))
            ends.append(Value(packed, plain(sizes, range(3))))
    sizes = low.graph.tensors[tensor].shape
    layout = plain(sizes, range(3)).permuted(order)
    return [Value(tensor, layout), *ends]


def _state(low: Lowering, states: Operand, place: int, batch: int) -> int | None:
    """Where a layer begins, (batch, width); ``None`` for zeros."""
    if isinstance(states, Value):
        begin = low.constant(np.array((place, 0, 0), np.int32))
        size = low.constant(np.array((1, batch, states.shape[2]), np.int32))
        inputs = [low.stored(states, (0, 1, 2)), begin, size]
        part = low.emit("SLICE", inputs, (1, batch, states.shape[2]))
        return low.reshape(part, (batch, states.shape[2]))
    return low.constant(states[place].astype(np.float32)) if states[place].any() else None


def _cells(
    low: Lowering,
    tensor: int,
    weights: Sequence[Array],
    start: Sequence[int | None],
    *,
    backwards: bool,
) -> tuple[int, int, int]:
    """One layer in one direction.

    Args:
        tensor: (batch, steps, features).
        weights: of the input and of the state, (4 width, ...), and their biases.
        start: state and memory; ``None`` for zeros.

    Returns:
        States of all steps, (batch, steps, width), the last one, and the last memory.
    """
    batch, steps, _ = low.graph.tensors[tensor].shape
    width = weights[1].shape[1]
    # Gates first, in one piece, and then what is remembered: i, f, o, g.
    turn = np.concatenate([np.arange(2 * width), np.arange(3 * width, 4 * width),
                           np.arange(2 * width, 3 * width)])  # fmt: skip
    of_input, of_state = (one[turn].astype(np.float32) for one in weights[:2])
    bias = sum((one[turn] for one in weights[2:]), np.zeros(4 * width, np.float32))
    known = [low.constant(of_input), low.constant(bias.astype(np.float32))]
    shape = (batch, steps, 4 * width)
    given = low.emit("FULLY_CONNECTED", [tensor, *known], shape, keepNumDims=True)
    rows = low.graph.emit_several(
        "UNPACK", [given], [(batch, 4 * width)] * steps, low.name, num=steps, axis=1
    )
    zeros = low.constant(np.zeros(4 * width, np.float32))
    matrix = low.constant(of_state)
    state, memory = start
    states = []
    for row in reversed(rows) if backwards else rows:
        if state is not None:
            recalled = low.emit("FULLY_CONNECTED", [state, matrix, zeros], (batch, 4 * width))
            row = low.emit("ADD", [row, recalled], (batch, 4 * width))
        state, memory = _step(low, row, memory, batch, width)
        states.append(state)
    assert state is not None
    assert memory is not None
    states = states[::-1] if backwards else states
    sizes = (batch, steps, width)
    return low.emit("PACK", states, sizes, axis=1, valuesCount=steps), state, memory


def _step(low: Lowering, row: int, memory: int | None, batch: int, width: int) -> tuple[int, int]:
    """State and memory behind a step."""
    size = (batch, width)

    def part(begin: int, many: int) -> int:
        places = [low.constant(np.array(x, np.int32)) for x in ((0, begin), (batch, many))]
        return low.emit("SLICE", [row, *places], (batch, many))

    gates = low.emit("LOGISTIC", [part(0, 3 * width)], (batch, 3 * width))
    axis = low.constant(np.array(1, np.int32))
    lets_in, keeps, shows = low.graph.emit_several(
        "SPLIT", [axis, gates], [size] * 3, low.name, numSplits=3
    )
    new = low.emit("TANH", [part(3 * width, width)], size)
    new = low.emit("MUL", [lets_in, new], size)
    if memory is not None:
        new = low.emit("ADD", [low.emit("MUL", [keeps, memory], size), new], size)
    return low.emit("MUL", [shows, low.emit("TANH", [new], size)], size), new
