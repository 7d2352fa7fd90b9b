"""The graph of a network: by `torch.export`, or by running it once and writing down what it does.

The second is several times faster, and in a process that has exported nothing yet it saves the 2 s
that `torch.export` takes to get ready. It sees what PyTorch's dispatcher does, and gives up on
whatever it cannot tell for certain: numbers that reach Python, on which what is done next might
depend, and tensors that are neither the image nor weights. `torch.export` is asked then.
"""

from __future__ import annotations

import contextlib
import operator
import sys
import weakref
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import reason_with_layer
from edgekit.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from edgekit.core import Array


class UntraceableError(Exception):
    """A network that `trace` cannot tell; never leaves this package."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a network computes.

    Attributes:
        nodes: of ATen operators, in the order in which they are computed.
        constants: values of placeholders by name.
        inputs: names of the placeholders that stand for inputs, in order.
    """

    nodes: Sequence[fx.Node]
    constants: dict[str, Array]
    inputs: tuple[str, ...]


def trace(model: nn.Module, example: tuple[Tensor, ...]) -> Program:
    """Runs a network and writes down what is computed.

    Raises:
        UntraceableError: that does not tell.
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    if any(isinstance(module, torch.fx.GraphModule) for module in model.modules()):
        raise UntraceableError("the program itself knows more than its run")
    tape = _Tape(model, example)

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # or PyTorch imports all of its compiler, to keep that from compiling this

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            found = func(*args, **(kwargs or {}))
            tape.record(func, args, kwargs or {}, found)
            return found

    class Guard(TorchFunctionMode):
        """Sees the ways to numbers that the dispatcher does not."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            if getattr(func, "__name__", "") in _LEAKS:
                raise UntraceableError(f"{func.__name__} makes numbers known")
            return func(*args, **(kwargs or {}))

    try:
        with torch.no_grad(), tape.watching(model), Guard(), Recorder():  # type: ignore[no-untyped-call]
            scores = model(*example)
        tape.output(scores)
    except Exception as error:  # whatever the network raises
        raise UntraceableError(str(error)) from error
    if overwritten(tape.graph):
        raise UntraceableError("numbers that are read are written to by another name")
    return Program(list(tape.graph.nodes), tape.constants, tape.inputs)


_LEAKS = frozenset(
    ("numpy", "tolist", "__array__", "__dlpack__", "data_ptr", "untyped_storage", "storage")
)


class _Tape:
    """A graph that grows while a network runs.

    Attributes:
        constants: weights that the network has used so far, by the names of their placeholders.
        inputs: names of the placeholders of inputs.
    """

    def __init__(self, model: nn.Module, example: tuple[Tensor, ...]) -> None:
        from torch import fx

        self.graph = fx.Graph()
        self.constants: dict[str, Array] = {}
        weights = [*model.parameters(), *model.buffers()]
        self._weights = {id(tensor): tensor for tensor in weights}
        # Tensors die while the network runs, and others get their numbers.
        self._nodes: dict[int, tuple[weakref.ref[Tensor], fx.Node]] = {}
        self._modules: list[str] = []
        placeholders = [self.graph.placeholder(f"input_{i}") for i in range(len(example))]
        self.inputs = tuple(node.name for node in placeholders)
        for tensor, node in zip(example, placeholders, strict=True):
            self._is(tensor, node)

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Keeps the path of the module that runs."""

        def enter(path: str) -> Any:
            def hook(module: nn.Module, inputs: Any) -> None:
                del module, inputs
                self._modules.append(path)

            return hook

        def leave(module: nn.Module, inputs: Any, outputs: Any) -> None:
            del module, inputs, outputs
            self._modules.pop()

        handles = []
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(path)))
            handles.append(module.register_forward_hook(leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def record(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        """An operator that was called."""
        import torch

        tensors = [one for one in _each(output) if isinstance(one, torch.Tensor)]
        if not tensors:
            if func is torch.ops.prim.device.default:
                return
            raise UntraceableError(f"{func} makes numbers known")
        node = self.graph.call_function(func, self._given(args), self._given(kwargs))
        path = self._modules[-1] if self._modules else ""
        node.meta.update(nn_module_stack={"": (path, "")}, stack_trace=_place())
        if isinstance(output, torch.Tensor):
            self._is(output, node)
            return
        for i, one in enumerate(output):
            if isinstance(one, torch.Tensor):
                part = self.graph.call_function(operator.getitem, (node, i))
                part.meta.update(node.meta)
                self._is(one, part)
        node.meta["val"] = tuple(
            torch.empty_like(one, device="meta") if isinstance(one, torch.Tensor) else one
            for one in output
        )

    def output(self, scores: Any) -> None:
        """What the network gives."""
        results = scores if isinstance(scores, list | tuple) else [scores]
        self.graph.output(self._given(tuple(results)))

    def _is(self, tensor: Tensor, node: fx.Node) -> None:
        import torch

        node.meta["val"] = torch.empty_like(tensor, device="meta")
        self._nodes[id(tensor)] = (weakref.ref(tensor), node)

    def _given(self, argument: Any) -> Any:
        import torch

        if isinstance(argument, torch.Tensor):
            reference, node = self._nodes.get(id(argument), (None, None))
            return node if reference and reference() is argument else self._weight(argument)
        if isinstance(argument, list | tuple):
            return type(argument)(map(self._given, argument))
        if isinstance(argument, dict):
            return {key: self._given(value) for key, value in argument.items()}
        return argument

    def _weight(self, tensor: Tensor) -> fx.Node:
        if id(tensor) not in self._weights:
            raise UntraceableError("a tensor that is neither the image nor weights")
        with self.graph.inserting_before(next(iter(self.graph.nodes))):
            node = self.graph.placeholder("weight")
        self.constants[node.name] = tensor.detach().cpu().numpy()
        self._is(tensor, node)
        return node


def _each(results: Any) -> list[Any]:
    return list(results) if isinstance(results, list | tuple) else [results]


def _place() -> str:
    """The line of the network's own code that runs, as tracebacks have it."""
    import torch

    own = str(Path(torch.__file__).parent)
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((own, __file__)):
        frame = frame.f_back
    return f'File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}'


def export(
    model: nn.Module, example: tuple[Tensor, ...], kept: Collection[str] | None = None
) -> Program:
    """The graph as `torch.export` tells it.

    Args:
        kept: operators that stay what they are; all others that are made of others become those.
            Nothing does if ``None``.

    Raises:
        ModelError: it cannot; the reason in a sentence.
    """
    import torch

    try:
        with torch.no_grad():
            program = torch.export.export(model, example, strict=False)
            if kept is not None:
                program = program.run_decompositions(_beside(kept))
            elif overwritten(program.graph):
                program = program.run_decompositions({})
    except Exception as error:  # whatever the network raises while it is traced
        why = reason_with_layer(error)
        raise ModelError(f"PyTorch cannot export the network: {why}") from error
    signature = program.graph_signature
    constants = {}
    for name, target in {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }.items():
        found: Any = program.state_dict.get(target, program.constants.get(target))
        constants[name] = found.detach().cpu().numpy()
    return Program(list(program.graph.nodes), constants, tuple(map(str, signature.user_inputs)))


def _beside(kept: Collection[str]) -> dict[Any, Any]:
    """What PyTorch makes of operators, but for some."""
    import torch

    table: Any = torch.export.default_decompositions()
    return {op: made for op, made in table.items() if str(op).removeprefix("aten.") not in kept}


def overwritten(graph: fx.Graph) -> bool:
    """Whether an operator works in place on numbers that are read later by another name.

    That of a node is what its operator gave; where a view of it was written to since, that is
    something else. Making a graph functional heals that, and takes as long as all of the rest.
    """
    places = {node: i for i, node in enumerate(graph.nodes)}
    owners: dict[fx.Node, fx.Node] = {}
    views: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        source, writes = _aliased(node)
        owner = node if source is None else owners[source]
        owners[node] = owner
        views.setdefault(owner, []).append(node)
        if writes and any(
            places[user] > places[node]
            for other in views[owner]
            if other is not node
            for user in other.users
        ):
            return True
    return False


def _aliased(node: fx.Node) -> tuple[fx.Node | None, bool]:
    """The node whose memory another one shares, and whether it writes there."""
    if node.target is operator.getitem:
        return node.all_input_nodes[0], False
    schema = getattr(node.target, "_schema", None)
    for argument, value in zip(schema.arguments if schema else (), node.args, strict=False):
        if argument.alias_info is not None and hasattr(value, "all_input_nodes"):
            return value, bool(argument.alias_info.is_write)  # type: ignore[return-value]
    return None, False
