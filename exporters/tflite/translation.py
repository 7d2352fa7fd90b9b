"""From the graph of PyTorch to that of TensorFlow Lite, operator by operator.

`torch.export` gives a list of ATen operators; `exporters.tflite.lowering` has a function for each.
"""

from __future__ import annotations

import operator as python_operators
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite.channels import Channels, whole
from exporters.tflite.layout import Value
from exporters.tflite.lowering import (
    FLOAT,
    ON_CHANNELS,
    OPERATORS,
    Lowering,
    Operand,
    module_path,
    refusal,
)

if TYPE_CHECKING:
    from torch import fx

# They hand on what their input is in.
_AS_ITS_INPUT = {
    "add.Scalar", "add.Tensor", "clamp.default", "clamp_min.default", "expand.default",
    "expand_as.default", "rsqrt.default", "sqrt.default",
}  # fmt: skip


def lower(
    nodes: Sequence[fx.Node], known: Mapping[str, Operand], lowering: Lowering
) -> list[Operand]:
    """Lowers a graph of PyTorch.

    Args:
        known: values of placeholders by name: constants, and inputs.

    Returns:
        What the graph returns.

    Raises:
        ModelError: an operator is not in the table, or not in that use.
    """
    operands: dict[fx.Node, Operand] = {}
    for node in _needed(nodes):
        if node.op == "placeholder":
            operands[node] = known[node.name]
        elif node.op == "output":
            return [_resolved(operands, argument) for argument in node.args[0]]  # type: ignore[union-attr]
        elif node.op == "get_attr":
            operands[node] = known[str(node.target)]
        else:
            lowering.node = node
            lowering.name = module_path(node) or node.name
            operands[node] = _lowered(lowering, node, operands)
    raise AssertionError("a graph ends with its output")


_NOT_THERE = {
    "grid_sampler": ", which samples a map at computed places, as RoIAlign does,",
    "grid_sampler_2d": ", which samples a map at computed places, as RoIAlign does,",
    "sort": ", which brings computed numbers into order,",
    "topk": ", which picks places by their scores, as region proposals do,",
}
"""What operators do that somebody may not know they have."""


def _needed(nodes: Sequence[fx.Node]) -> list[fx.Node]:
    """Those that the result depends on."""
    needed: set[fx.Node] = set()
    for node in reversed(nodes):
        if node.op == "output" or node in needed:
            needed.update((node, *node.all_input_nodes))
    return [node for node in nodes if node in needed]


def _lowered(lowering: Lowering, node: fx.Node, operands: Mapping[fx.Node, Operand]) -> Operand:
    arguments = [_resolved(operands, argument) for argument in node.args]
    if node.target is python_operators.getitem:
        part = arguments[0][arguments[1]]
        if part is None:
            source = str(node.all_input_nodes[0].target).removeprefix("aten.")
            raise refusal(node, f"output {arguments[1]} of the operator {source}")
        return part
    schema = getattr(node.target, "_schema", None)
    if schema is not None and not any(map(_computed, (arguments, list(node.kwargs.values())))):
        return _folded(node, arguments, {k: _resolved(operands, v) for k, v in node.kwargs.items()})
    name = str(node.target).removeprefix("aten.")
    shown = name.removesuffix(".default")
    function = OPERATORS.get(name)
    if function is None or schema is None:
        why = _NOT_THERE.get(shown.partition(".")[0], "")
        raise refusal(node, f"the operator {shown}{why}")
    if name not in ON_CHANNELS:
        arguments = _put_together(lowering, arguments)
    named = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    named |= dict(zip((a.name for a in schema.arguments), arguments, strict=False))
    named |= {key: _resolved(operands, value) for key, value in node.kwargs.items()}
    _check(lowering, node, shown, named)
    if name in _AS_ITS_INPUT and lowering.all_in_float(arguments):
        lowering.name += FLOAT
    try:
        return function(lowering, **{_WORDS.get(key, key): value for key, value in named.items()})
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as e:
        raise refusal(node, f"the operator {shown} in this use ({_use(named)})") from e


_WEIGHTS = ("weight", "bias", "running_mean", "running_var")


_GIVE_PLACES = ("argmax", "argmin")
"""Operators whose results are integers: outputs of the network, as no other operator takes them."""

_TAKE_PLACES = ("embedding",)
"""Those that take such."""

_TAKE_BYTES = ("permute", "to.dtype")
"""Those that take bytes, such as the pixels of an image; no arithmetic does."""


def _check(lowering: Lowering, node: fx.Node, name: str, arguments: Mapping[str, Operand]) -> None:
    """Refuses integers where none are foreseen, and weights that are known too late."""
    given = [one for one in arguments.values() if isinstance(one, Value)]
    kinds = {lowering.graph.tensors[one.tensor].dtype for one in given} - {"float32"}
    bytes_only = name in _TAKE_BYTES and kinds == {"uint8"}
    if name not in _TAKE_PLACES and kinds and not bytes_only:
        raise refusal(node, f"the operator {name} on {sorted(kinds)[0]}")
    value = node.meta["val"]
    dtype = (value[0] if isinstance(value, list | tuple) else value).dtype
    allowed = ("torch.float32", "torch.uint8") if bytes_only else ("torch.float32",)
    if str(dtype) not in allowed and name not in _GIVE_PLACES:
        asked = "dtype " if "dtype" in arguments else "results of "
        raise refusal(node, f"the operator {name} with {asked}{str(dtype).removeprefix('torch.')}")
    for key in _WEIGHTS:
        if _computed(arguments.get(key)):
            raise refusal(node, f"the operator {name} with a computed {key}")


def _use(arguments: Mapping[str, Operand]) -> str:
    """Arguments in a few words, for messages."""
    shown = {
        key: f"of shape {list(value.shape)}" if hasattr(value, "shape") else value
        for key, value in arguments.items()
    }
    return ", ".join(f"{key} {value}" for key, value in shown.items())[:200]


def _put_together(lowering: Lowering, argument: Operand) -> Operand:
    """An argument without `Channels`."""
    if isinstance(argument, list):
        return [_put_together(lowering, entry) for entry in argument]
    return whole(lowering, argument) if isinstance(argument, Channels) else argument


def _computed(argument: Operand) -> bool:
    """Whether something in it is known only when the file runs."""
    if isinstance(argument, list):
        return any(map(_computed, argument))
    return isinstance(argument, Value | Channels) or hasattr(argument, "all_input_nodes")


def _folded(node: fx.Node, arguments: Any, options: Any) -> Operand:
    """What PyTorch computes of things that are known already."""
    import torch

    def tensors(argument: Any) -> Any:
        if isinstance(argument, list):
            return [tensors(entry) for entry in argument]
        if isinstance(argument, np.ndarray):
            return torch.from_numpy(np.array(argument))
        return argument

    target: Any = node.target
    named = dict(zip((a.name for a in target._schema.arguments), arguments, strict=False)) | options
    drops = named.get("train", True)  # a dropout draws nothing in evaluation mode
    if torch.Tag.nondeterministic_seeded in target.tags and drops:
        raise refusal(node, f"the random operator {target}")
    with torch.no_grad():
        result = target(*tensors(arguments), **{k: tensors(v) for k, v in options.items()})
    several = isinstance(result, list | tuple)
    results = result if several else [result]
    if any(one.is_meta for one in results):
        raise refusal(node, f"the constant {target}")
    arrays = [one.numpy() for one in results]
    return arrays if several else arrays[0]


# Arguments that go by other names here: Python has taken theirs.
_WORDS = {"self": "x", "input": "x", "min": "lowest", "max": "highest", "ord": "p"}


def _resolved(operands: Mapping[fx.Node, Operand], argument: Any) -> Operand:
    if isinstance(argument, list | tuple):
        return [_resolved(operands, entry) for entry in argument]
    return operands[argument] if hasattr(argument, "all_input_nodes") else argument
