"""What the functions work with that write operators of PyTorch as those of TensorFlow Lite.

Each ATen operator has one in the table `OPERATORS`, which appends what it becomes to a `Graph`.
What is told apart here and nowhere else: `Value`, something that is computed when the file runs,
and NumPy arrays, which are known now.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edgekit.core import NARROW
from edgekit.errors import ModelError
from exporters.tflite.channels import Channels, packed
from exporters.tflite.graph import Graph
from exporters.tflite.layout import NHWC, Value, moved, plain

if TYPE_CHECKING:
    from torch import fx

    from edgekit.core import Array


@dataclass(frozen=True, slots=True)
class Forms:
    """Which of several equal forms to write; which one is fastest depends on the runtime.

    Attributes:
        hardswish: ``native``, or ``clamp`` for ``x * hardsigmoid(x)``.
        mean: of all pixels: ``mean`` or ``pool``, an average pooling.
        pointwise: 1x1 convolutions of one pixel: ``conv`` or ``dense``.
        grouped: convolutions in groups: ``native``, or ``split`` for one convolution a group.
        stem: of a network that is to become integers: ``int8``, or a key of `STEMS` where all up to
            the first tensor of more channels than that will stay in float, with its native forms.
    """

    hardswish: str = "native"
    mean: str = "mean"
    pointwise: str = "conv"
    grouped: str = "native"
    stem: str = "int8"


STEMS: Mapping[str, int] = {"narrow": NARROW, "narrow16": NARROW // 2, "narrow8": NARROW // 4}
"""Channels up to which a network's beginning stays in float, by the form ``stem``. Narrow networks
would be in float as a whole by the first."""


MOST_TURNED = 6
"""Dimensions that runtimes can bring into another order at once."""

FLOAT = "#float"
"""Behind the path in names of tensors that 8 bits do not hold; see `Lowering.in_float_only`."""

Operand = Any
"""A `Value`, `Channels`, an array that is known, or an argument that is no tensor."""

OPERATORS: dict[str, Callable[..., Operand]] = {}

ON_CHANNELS: set[str] = set()
"""Those whose functions take `Channels`; others get them side by side."""

Lowers = TypeVar("Lowers", bound=Callable[..., Any])


def operator(*names: str, channels: bool = False) -> Callable[[Lowers], Lowers]:
    """Enters a function into the table.

    It takes the lowering and the operator's arguments, by the names of its ATen schema; what it
    works on is ``x``.

    Args:
        names: of ATen operators with their overload, such as ``relu.default``.
        channels: whether the function takes `Channels`.
    """

    def enter(function: Lowers) -> Lowers:
        for name in names:
            OPERATORS[name] = function
            if channels:
                ON_CHANNELS.add(name)
        return function

    return enter


class Lowering:
    """What the functions of the table work with.

    Attributes:
        node: of the PyTorch graph, which is being lowered.
        name: for tensors that it becomes: the path of its module.
        made: tensors that hold others in another order, by what they hold.
    """

    def __init__(self, graph: Graph, forms: Forms) -> None:
        self.graph, self.forms = graph, forms
        self.node: fx.Node | None = None
        self._asked: tuple[int, ...] | None = None
        self.name = ""
        self.made: dict[tuple[Any, ...], int] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the operator computes in PyTorch, the first of several; see `giving`."""
        if self._asked is not None:
            return self._asked
        assert self.node is not None
        value = self.node.meta["val"]
        return tuple((value[0] if isinstance(value, list | tuple) else value).shape)

    @contextlib.contextmanager
    def giving(self, shape: Sequence[int]) -> Iterator[None]:
        """Functions of other operators, called meanwhile, compute something of that `shape`."""
        before, self._asked = self._asked, tuple(shape)
        try:
            yield
        finally:
            self._asked = before

    @property
    def in_float(self) -> bool:
        """Whether all that was computed so far stays in float; see `Forms.stem`."""
        most = STEMS.get(self.forms.stem, 0)
        return all(is_narrow(one.shape, most) for one in self.graph.tensors if one.data is None)

    def stored(self, value: Operand, order: Sequence[int] | None = None) -> int:
        """A tensor in which a value's dimensions lie in some order.

        Args:
            value: constants are reordered now.
            order: as `canonical` if ``None``.
        """
        if not isinstance(value, Value):
            values = np.asarray(value)
            order = canonical(values.ndim) if order is None else order
            return self.constant(np.transpose(values, order))
        order = canonical(len(value.shape)) if order is None else order
        wanted = value.layout.wanted(order)
        shape = tuple(value.shape[i] for i in order)
        key = (value.tensor, tuple(wanted), shape)
        if key not in self.made:
            tensor = value.tensor
            if not value.layout.lies(wanted):
                tensor = self._moved(tensor, *moved(value.layout, wanted))
            self.made[key] = self.reshape(tensor, shape)
        return self.made[key]

    def _moved(
        self, tensor: int, sizes: Sequence[int], turned: Sequence[int], after: Sequence[int]
    ) -> int:
        """A tensor with its dimensions in another order; see `exporters.tflite.layout.moved`."""
        if len(sizes) <= MOST_TURNED:
            tensor = self.reshape(tensor, sizes)
            axes = self.constant(np.array(turned, np.int32))
            return self.emit("TRANSPOSE", [tensor, axes], after)
        # Rows one by one: what lies innermost before and behind stays together.
        row = sizes[-1] if turned[-1] == len(sizes) - 1 else 1
        rows = np.arange(int(np.prod(sizes)) // row, dtype=np.int32)
        pieces = [*sizes[:-1], sizes[-1] // row]
        places = rows.reshape(pieces).transpose(turned).reshape(-1)
        shape = (len(rows), row)
        inputs = [self.reshape(tensor, shape), self.constant(places)]
        return self.emit("GATHER", inputs, shape, axis=0)

    def reshape(self, tensor: int, shape: Sequence[int]) -> int:
        """A tensor with other sizes, or itself."""
        if self.graph.tensors[tensor].shape == tuple(shape):
            return tensor
        sizes = self.constant(np.array(shape, np.int32))
        return self.emit("RESHAPE", [tensor, sizes], shape, newShape=list(shape))

    @contextlib.contextmanager
    def in_float_only(self) -> Iterator[None]:
        """What is appended meanwhile stays in float in files of integers, too."""
        name = self.name
        self.name = name + FLOAT
        try:
            yield
        finally:
            self.name = name

    def all_in_float(self, arguments: Sequence[Operand]) -> bool:
        """Whether all that is computed of some arguments stays in float."""
        tensors = [self.graph.tensors[one.tensor] for one in arguments if isinstance(one, Value)]
        return bool(tensors) and all(one.name.endswith(FLOAT) for one in tensors)

    def value(self, operand: Operand) -> Value:
        """What an operator computes, or an array that is known, as a tensor."""
        if isinstance(operand, Value):
            return operand
        operand = np.asarray(operand, np.float32)
        return Value(self.stored(operand), plain(operand.shape, canonical(operand.ndim)))

    def constant(self, values: Array) -> int:
        """A tensor of known values."""
        return self.graph.constant(np.asarray(values), f"{self.name}#constant")

    def emit(self, kind: str, inputs: Sequence[int], shape: Sequence[int], **options: Any) -> int:
        """Appends an operator; see `Graph.emit`."""
        return self.graph.emit(kind, inputs, shape, self.name, **options)

    def compute(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int] | None = None,
        order: Sequence[int] | None = None,
        **options: Any,
    ) -> Value:
        """Appends an operator; gives what it computes.

        Args:
            shape: as PyTorch sees it; that of the operator there if ``None``.
            order: in which its dimensions lie in memory; as `canonical` if ``None``.
        """
        shape = self.shape if shape is None else tuple(shape)
        order = canonical(len(shape)) if order is None else order
        tensor = self.emit(kind, inputs, [shape[i] for i in order], **options)
        return Value(tensor, plain(shape, order))

    def unary(self, kind: str, value: Operand, **options: Any) -> Operand:
        """An operator on each number by itself: it lies as its input does."""
        if isinstance(value, Channels):
            tensor, places = packed(self, value)
            shape = self.graph.tensors[tensor].shape
            found = np.full(places.shape, self.emit(kind, [tensor], shape, **options))
            return dataclasses.replace(value, tensors=found, places=places)
        shape = self.graph.tensors[value.tensor].shape
        return Value(self.emit(kind, [value.tensor], shape, **options), value.layout)

    def refuse(self, what: str) -> ModelError:
        """The error for an operator, or a use of one, that cannot be written."""
        return refusal(self.node, what)


def is_narrow(shape: Sequence[int], most: int) -> bool:
    """Whether a tensor, whose channels are last, has at most so many of them."""
    return len(shape) == 4 and shape[-1] <= most


def canonical(rank: int) -> tuple[int, ...]:
    """The order in memory that kernels want: channels last for images."""
    return NHWC if rank == 4 else tuple(range(rank))


def axis_of(dimension: int, rank: int) -> int:
    """Where a dimension lies in the `canonical` order."""
    return canonical(rank).index(dimension % rank)


def refusal(node: fx.Node | None, what: str) -> ModelError:
    """An error that names the module and the source line of an operator."""
    path, line = "", ""
    if node is not None:
        path = module_path(node)
        trace = (node.meta.get("stack_trace") or "").strip().splitlines()
        places = [entry.strip() for entry in trace if entry.strip().startswith("File ")]
        if places:
            file, _, number = (
                places[-1].removeprefix("File ").split(", in ")[0].partition(", line ")
            )
            line = f" ({Path(file.strip(chr(34))).name}:{number})"
    where = f" in {path or 'the network'}{line}"
    return ModelError(
        f"{what}{where} is none that edgekit can write as TensorFlow Lite: write it with other "
        "operators, or convert with --converter litert-torch"
    )


def module_path(node: fx.Node) -> str:
    """Dotted path of the module that an operator belongs to."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    path = str(stack[-1][0])
    for prefix in ("L['self']", "L__self__"):
        path = path.removeprefix(prefix)
    return path.lstrip(".")
