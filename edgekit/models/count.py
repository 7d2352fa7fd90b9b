"""What the layers of a network are and cost: shapes, parameters, multiply-accumulates.

MACs count convolutions and linear layers, as papers and libraries do; activations, norms and
pooling are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import nn

from edgekit.models.trace import MATRIX_PRODUCTS, Call, Step, Trace, trace

FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer without children, as it ran.

    An operation outside of such layers has an entry of its own where it multiplies and
    accumulates or uses parameters; it goes by the module that owns its parameters.

    Attributes:
        name: module path.
        op: what it does, such as ``Conv2d 3x3 /2`` (the stride) or ``depthwise 5x5``.
        output_shape: with batch 1.
        params: those that no earlier entry has.
        macs: multiply-accumulates for one image.
        kind: ``depthwise``, ``pointwise`` (all other 1x1), ``convolution`` (other), ``linear``,
            or ``other``.
        kernel: of a convolution or pooling, in pixels per axis.
        stride: as ``kernel``.
        groups: of a convolution.
        formula: arithmetic that gives ``params``; k*k*C/g*M+b for a convolution of C to M
            channels. ``None`` without parameters.
        activation_bytes: of the output in float32.
        moved_bytes: inputs, parameters and output in float32, each once, of convolutions and
            linear layers; 0 for others.
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    kind: str = "other"
    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    groups: int | None = None
    formula: str | None = None
    activation_bytes: int = 0
    moved_bytes: int = 0


def layers(module: nn.Module, resolution: int, channels: int = 3) -> list[Layer]:
    """The layers of a network, or of a part of one, in order of computation.

    Args:
        module: takes (1, channels, resolution, resolution); left as it is.

    Returns:
        One entry per call of a layer; parameters count at its first call.
    """
    return layers_of(module, trace(module, torch.zeros(1, channels, resolution, resolution)))


def layers_of(module: nn.Module, run: Trace) -> list[Layer]:
    """The layers of a network that has been traced; see `layers`."""
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    names = {id(p): name for name, p in module.named_parameters()}
    seen: set[str] = set()
    found = []
    for event in run.events:
        if isinstance(event, Call):
            if not event.output_shape:
                continue
            own = [names[id(p)] for p in event.layer.parameters() if id(p) in names]
            steps: tuple[Step, ...] = event.steps
            path, op, shape = event.path, operation(event.layer), event.output_shape
        else:
            own = [name for name in event.parameters if name in shapes]
            if event.inside or not (event.macs or set(own) - seen):
                continue
            steps, shape = (event,), event.output_shape
            path, op = own[0].rpartition(".")[0] if own else event.module, _step_name(event)
        new = {name: shapes[name] for name in own if name not in seen}
        seen.update(new)
        whole = new if len(new) == len(own) else {}
        found.append(_layer(path, op, shape, steps, new, _main(steps), bool(whole)))
    return found


def _layer(
    name: str,
    op: str,
    shape: tuple[int, ...],
    steps: tuple[Step, ...],
    params: dict[str, tuple[int, ...]],
    main: Step | None,
    complete: bool,
) -> Layer:
    """An entry; ``main`` is the step that characterizes it, if one does."""
    macs = sum(step.macs for step in steps)
    window = main.window if main else None
    convolves = window is not None and main is not None and main.op == "convolution"
    read = [prod(s.input_shape) for s in steps if s.macs]
    written = [prod(s.output_shape) for s in steps if s.macs]
    own = sum(prod(p) for p in params.values())
    return Layer(
        name,
        op,
        shape,
        own,
        macs,
        _kind(main),
        window.kernel if window else None,
        window.stride if window else None,
        window.groups if window and convolves else None,
        _formula(params, main if complete else None) if params else None,
        prod(shape) * FLOAT32_BYTES,
        # Weights are read at every call, also where an earlier one has them as its own.
        FLOAT32_BYTES * (sum(read) + sum(written) + sum(s.weights for s in steps if s.macs)),
    )


def _main(steps: Iterable[Step]) -> Step | None:
    """The one step of a layer that has a window or MACs; ``None`` where there is not just one."""
    found = [step for step in steps if step.window or step.macs]
    return found[0] if len(found) == 1 else None


def _kind(main: Step | None) -> str:
    if main is None or not main.macs:
        return "other"
    if main.window is None:
        return "linear"
    if is_depthwise(main):
        return "depthwise"
    return "pointwise" if prod(main.window.kernel) == 1 else "convolution"


def is_depthwise(step: Step) -> bool:
    """Whether each channel of a convolution is computed from one channel, of several."""
    return step.window is not None and step.window.groups == step.channels[0] > 1


def _formula(params: dict[str, tuple[int, ...]], main: Step | None) -> str:
    """Arithmetic for a number of parameters.

    Args:
        params: path and shape of each.
        main: the step that uses all of them, where there is one such.
    """
    dims = sorted(params.values(), key=len, reverse=True)
    if main is not None and main.macs and len(dims) <= 2 and len(dims[0]) > 1:
        bias = [f"{prod(shape)}" for shape in dims[1:]]
        if main.window is None:
            out, inputs = dims[0]
            return "+".join((f"{inputs}*{out}", *bias))
        (inputs, out), groups = main.channels, main.window.groups
        kernel = "*".join(str(k) for k in main.window.kernel)
        shared = f"{inputs}/{groups}" if groups > 1 else f"{inputs}"
        return "+".join((f"{kernel}*{shared}*{out}", *bias))
    if len(dims) > 1 and set(dims) == {dims[0]} and len(dims[0]) == 1:
        return f"{len(dims)}*{dims[0][0]}"
    return "+".join("*".join(str(n) for n in shape) or "1" for shape in dims)


def operation(layer: nn.Module) -> str:
    """A layer in a few words."""
    if not isinstance(layer, nn.Conv2d):
        return _torch_name(layer)
    depthwise = layer.groups == layer.in_channels > 1
    return _convolution("Conv2d", depthwise, layer.kernel_size, layer.stride, layer.groups)


def _step_name(step: Step) -> str:
    """A step that belongs to no layer in the words of `operation`."""
    if step.op == "convolution" and step.window is not None:
        window = step.window
        name = f"Conv{'Transpose' if window.transposed else ''}{len(window.kernel)}d"
        return _convolution(name, is_depthwise(step), window.kernel, window.stride, window.groups)
    if "batch_norm" in step.op:
        return "BatchNorm2d" if len(step.output_shape) == 4 else "BatchNorm1d"
    return "Linear" if step.op in MATRIX_PRODUCTS else step.op


def _convolution(
    name: str, depthwise: bool, kernel: tuple[int, ...], stride: tuple[int, ...], groups: int
) -> str:
    text = f"{'depthwise' if depthwise else name} {'x'.join(str(k) for k in kernel)}"
    if set(stride) != {1}:
        text += f" /{stride[0]}"
    return text if depthwise or groups == 1 else f"{text} g{groups}"


def _torch_name(layer: nn.Module) -> str:
    """The name of the nearest class that torch itself defines."""
    for kind in type(layer).__mro__:
        if kind.__module__.startswith("torch.nn") and kind is not nn.Module:
            return kind.__name__
    return type(layer).__name__
