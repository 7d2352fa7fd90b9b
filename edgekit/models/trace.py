"""What a network computes, operation by operation, with the tensors that go in and come out.

The network runs once while every operation of torch is noted, those of layers and those between
them alike. Tensors are told apart by the memory they lie in, so that views and operations in place
make no new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgekit.models.copying import own_copy

CONVOLUTIONS = nn.modules.conv._ConvNd
MATRIX_PRODUCTS = {"addmm": "mat2", "mm": "mat2"}
"""Operations that linear layers end in, and the argument that is the weight."""


class Window(NamedTuple):
    """How a convolution or pooling moves over its input; one number per axis of space."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int = 1
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One operation that wrote memory.

    Attributes:
        op: torch's name for it, such as ``convolution`` or ``add``.
        module: path of the innermost module that was running; empty for the network itself.
        reads: numbers of the buffers it read, parameters left out.
        writes: numbers of the buffers it wrote.
        parameters: paths of the parameters and buffers of the network that it read.
        input_shape: of the first buffer that it read; empty without one.
        output_shape: of what it wrote first.
        window: of convolutions and poolings.
        channels: of a convolution, in and out.
        macs: multiply-accumulates, of convolutions and products with a parameter.
        weights: values in the weight and bias of such a step.
        elementwise: whether each output value depends on one value of each input.
        inside: whether a layer was running, which then answers for it.
    """

    op: str
    module: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    parameters: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    window: Window | None
    channels: tuple[int, int]
    macs: int
    weights: int
    elementwise: bool
    inside: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer: a module without children, or a convolution or linear layer.

    Attributes:
        layer: of the network that was given, not of the copy that ran.
        output_shape: empty where it gives something other than one tensor.
        steps: what it computed.
    """

    path: str
    layer: nn.Module
    output_shape: tuple[int, ...]
    steps: tuple[Step, ...]


@dataclass(slots=True)
class Trace:
    """A run of a network.

    Attributes:
        events: steps, and calls behind their steps, in order of computation.
        sizes_bytes: of each buffer; the first ones are the inputs.
        results: buffers that the network returned.
        inputs: how many buffers are inputs.
    """

    events: list[Step | Call] = field(default_factory=list)
    sizes_bytes: list[int] = field(default_factory=list)
    results: set[int] = field(default_factory=set)
    inputs: int = 1

    @property
    def steps(self) -> list[Step]:
        """The steps alone."""
        return [event for event in self.events if isinstance(event, Step)]


def trace(module: nn.Module, *inputs: Tensor) -> Trace:
    """Runs a network, or a part of one, once.

    Args:
        module: takes the inputs, one an argument; left as it is.
    """
    copied = own_copy(module)
    inputs = tuple(one.clone() for one in inputs)  # each with a memory of its own
    recorder = _Recorder(copied, inputs)
    with torch.no_grad(), _plain_attention(), _followed(copied, recorder), recorder:
        scores = copied(*inputs)
    trace = recorder.trace
    trace.events = [
        replace(event, layer=module.get_submodule(event.path)) if isinstance(event, Call) else event
        for event in trace.events
    ]
    trace.results = {
        recorder.buffers[key] for key in map(_key, _tensors(scores)) if key in recorder.buffers
    }
    return trace


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations that reach torch's dispatcher."""

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace(
            sizes_bytes=[one.untyped_storage().nbytes() for one in inputs], inputs=len(inputs)
        )
        self.buffers = {_key(one): i for i, one in enumerate(inputs)}
        self.running: list[str] = []
        self.layer_depth = 0
        self.parameters: dict[int, str] = {}
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            self.parameters.setdefault(_key(tensor), name)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Does the operation and notes it, unless it only makes a view."""
        kwargs = kwargs or {}
        given = _tensors((args, kwargs))
        made = func(*args, **kwargs)
        results = _tensors(made)
        old = {_key(t) for t in given}
        fresh = [t for t in results if _key(t) not in old]
        if fresh or (results and func._schema.is_mutable):
            named = {
                a.name: a.default_value for a in func._schema.arguments if a.has_default_value()
            }
            named.update(zip((a.name for a in func._schema.arguments), args, strict=False))
            self._note(func, {**named, **kwargs}, given, fresh, results)
        return made

    def _note(
        self,
        func: Any,
        named: dict[str, Any],
        given: Sequence[Tensor],
        fresh: Sequence[Tensor],
        results: Sequence[Tensor],
    ) -> None:
        keys = list(dict.fromkeys(_key(t) for t in given))
        reads = tuple(self.buffers[k] for k in keys if k in self.buffers)
        shapes = [tuple(t.shape) for t in given if _key(t) in self.buffers]
        read_parameters = tuple(
            self.parameters[k] for k in keys if k in self.parameters and k not in self.buffers
        )
        for tensor in fresh:  # an address may have belonged to a buffer that is gone
            self.buffers[_key(tensor)] = len(self.trace.sizes_bytes)
            self.trace.sizes_bytes.append(tensor.untyped_storage().nbytes())
        op = func._schema.name.partition("::")[2]
        written = tuple(
            dict.fromkeys(self.buffers[_key(t)] for t in results if _key(t) in self.buffers)
        )
        shape = tuple(results[0].shape)
        window = window_of(op, named)
        self.trace.events.append(
            Step(
                op,
                self.running[-1] if self.running else "",
                reads,
                written,
                read_parameters,
                shapes[0] if shapes else (),
                shape,
                window,
                _channels(window, named),
                *self._macs(op, window, named, shape),
                is_elementwise(op, func),
                self.layer_depth > 0,
            )
        )

    def _macs(
        self, op: str, window: Window | None, named: dict[str, Any], shape: tuple[int, ...]
    ) -> tuple[int, int]:
        """Multiply-accumulates of a step, and the size of its weight and bias."""
        if op == "convolution":
            assert window is not None
            weight, bias = named["weight"], named["bias"]
            positions = named["input"].shape[2:] if window.transposed else shape[2:]
        elif op in MATRIX_PRODUCTS:
            weight = named[MATRIX_PRODUCTS[op]]
            if _key(weight) not in self.parameters:
                return 0, 0
            bias, positions = named["self"] if op == "addmm" else None, shape[:-1]
        else:
            return 0, 0
        extra = 0 if bias is None else bias.numel()
        return int(weight.numel() * prod(positions)), int(weight.numel() + extra)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keeps attention from running as a single operation that hides what it is made of."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _followed(module: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Keeps the recorder told which module is running, and notes the calls of layers."""
    hooks = []
    for path, layer in module.named_modules():
        is_layer = isinstance(layer, CONVOLUTIONS | nn.Linear) or not any(
            True for _ in layer.children()
        )
        starts: list[int] = []

        def enter(
            _: nn.Module,
            __: Any,
            path: str = path,
            is_layer: bool = is_layer,
            starts: list[int] = starts,
        ) -> None:
            recorder.running.append(path)
            recorder.layer_depth += is_layer
            starts.append(len(recorder.trace.events))

        def leave(
            layer: nn.Module,
            _: Any,
            output: Any,
            path: str = path,
            is_layer: bool = is_layer,
            starts: list[int] = starts,
        ) -> None:
            recorder.running.pop()
            recorder.layer_depth -= is_layer
            events = recorder.trace.events
            steps = tuple(e for e in events[starts.pop() :] if isinstance(e, Step))
            if is_layer and recorder.layer_depth == 0:
                shape = tuple(output.shape) if isinstance(output, Tensor) else ()
                events.append(Call(path, layer, shape, steps))

        hooks.append(layer.register_forward_pre_hook(enter))
        # Networks may catch what a layer raises, so leaving is noted in any case.
        hooks.append(layer.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def window_of(op: str, named: dict[str, Any]) -> Window | None:
    """The window of a convolution or pooling; ``None`` for other operations.

    Args:
        op: torch's name for it.
        named: its arguments.
    """
    if op == "convolution":
        return Window(
            tuple(named["weight"].shape[2:]),
            tuple(named["stride"]),
            tuple(named["dilation"]),
            tuple(named["padding"]),
            int(named["groups"]),
            bool(named["transposed"]),
        )
    if "pool" not in op or "kernel_size" not in named:
        return None
    kernel = tuple(named["kernel_size"])
    axes = 3 if "3d" in op else 1 if "1d" in op else 2

    def per_axis(value: Any, default: tuple[int, ...]) -> tuple[int, ...]:
        given = tuple(value or default)
        return given * axes if len(given) == 1 else given

    return Window(
        per_axis(kernel, kernel),
        per_axis(named.get("stride"), kernel),
        per_axis(named.get("dilation"), (1,)),
        per_axis(named.get("padding"), (0,)),
    )


def is_elementwise(op: str, func: Any) -> bool:
    """Whether each value that an operation gives depends on one value of each input."""
    if op in ("clone", "_to_copy"):  # may change the order of values, as a channel shuffle does
        return False
    # In eval mode batch norm is a factor and an offset per channel.
    named = "batch_norm" in op or op.rstrip("_") == "hardswish"
    return named or torch.Tag.pointwise in func.tags


def _channels(window: Window | None, named: dict[str, Any]) -> tuple[int, int]:
    """Channels in and out of a convolution; zeros for other operations."""
    if window is None or "weight" not in named:
        return 0, 0
    weight = named["weight"]
    if window.transposed:
        return int(weight.shape[0]), int(weight.shape[1]) * window.groups
    return int(weight.shape[1]) * window.groups, int(weight.shape[0])


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _key(tensor: Tensor) -> int:
    """Tells memory apart as long as it lives."""
    return int(tensor.untyped_storage()._cdata)
