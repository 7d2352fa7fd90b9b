"""Networks as functions of tensors: one an argument, one for each output, all with names.

Code may take and give anything made of tensors: tuples, lists, dictionaries, dataclasses, in one
another. It is run once on an example, which shows what there is; where that is more than tensors
one after the other, the network is run in that way from then on.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from edgekit.core import Call, Draw, Interface, TensorSpec, reason_with_layer, with_kind
from edgekit.core.names import shown
from edgekit.core.reading import parse_json
from edgekit.core.reasons import PASSING
from edgekit.errors import ModelError, UsageError
from edgekit.models.copying import own_copy

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
"""What no format takes in the name of a tensor."""

OUTPUT = "output"
"""Name of an output that has none of its own."""

_TYPES = {
    torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a network is called with.

    Attributes:
        args: by position; anything made of tensors.
        kwargs: by name.
        names: of those by position, where the network's code does not tell them.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    names: tuple[str, ...] = ()


def arguments(example: object) -> Arguments:
    """An example as people give it: a tensor, several in a tuple or list, or a mapping by names."""
    if isinstance(example, Arguments):
        return example
    if isinstance(example, Mapping):
        return Arguments((), {str(name): value for name, value in example.items()})
    if isinstance(example, tuple | list):
        return Arguments(tuple(example))
    return Arguments((example,))


@dataclass(frozen=True, slots=True)
class Shaped:
    """A network with its interface.

    Attributes:
        module: takes the tensors of `tensors`, one an argument; gives a tensor, or a tuple of
            several in the order of ``interface.outputs``.
        tensors: of the example.
        call: the interface with what the code takes and gives, as plain data; ``None`` where the
            example has objects of the user's own in it.
    """

    module: nn.Module
    interface: Interface
    tensors: tuple[Tensor, ...]
    call: Call | None


def shaped(module: nn.Module, example: object, words: str, wanted: Sequence[str] = ()) -> Shaped:
    """Runs a copy of a network on an example, and finds out what it takes and gives.

    Args:
        module: in eval mode.
        example: see `arguments`.
        words: names the network in messages.
        wanted: names of the outputs to keep, in their order; all if empty.

    Raises:
        ModelError: the network does not take the example, or gives something other than tensors,
            or tensors whose names are alike; or what it gives changes from run to run in number or
            shape.
        UsageError: it has no output of a name that is ``wanted``.
    """
    given = arguments(example)
    given = _in_order(module, given)
    if any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        # Lazy layers get their weights from the first input, the same ones every time.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _run(module, given, words)
    inputs = _named(_leaves_of_arguments(module, given, words), f"inputs of '{words}'")
    for name, tensor in inputs.items():
        _check_type(tensor, f"input '{name}' of '{words}'")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                f"the example of '{words}' has numbers in '{name}' that are not finite: expected "
                f"inputs as the network gets them"
            )
    running = copied(module, words)
    running.eval()
    found = _run(running, given, words)
    outputs = _outputs(found, words)
    names = list(wanted) or list(outputs)
    if len(set(names)) < len(names):
        raise UsageError(f"--outputs {','.join(map(shown, names))}: expected each name once")
    for name in names:
        if name not in outputs:
            raise UsageError(
                f"--outputs {shown(name)}: '{words}' has no such output; it has "
                f"{', '.join(outputs)}"
            )
    for name in names:
        if name in inputs:
            raise ModelError(
                f"'{words}' has an input and an output that would both be called '{name}' in a "
                f"file: give the output another name"
            )
    _check_shapes(running, given, outputs, words)
    for name in names:
        if not outputs[name].numel():
            raise ModelError(
                f"output '{name}' of '{words}' is empty, {tuple(outputs[name].shape)}: name the "
                f"others with --outputs"
            )
    interface = Interface(
        tuple(_spec(name, tensor, image=True) for name, tensor in inputs.items()),
        tuple(_spec(name, outputs[name]) for name in names),
    )
    plain = all(isinstance(one, Tensor) for one in given.args) and not given.kwargs
    as_it_is = isinstance(found, Tensor) or (
        type(found) is tuple and all(isinstance(one, Tensor) for one in found)
    )
    whole = list(outputs) == names and not (isinstance(found, tuple) and len(found) == 1)
    tensors = tuple(tensor.detach() for tensor in inputs.values())
    drawn = tuple(
        dataclasses.replace(spec, draw=draw)
        for spec, draw in zip(interface.inputs, draws_of(tensors), strict=True)
    )
    call: Call | None = Call(drawn, interface.outputs)
    if not (plain and as_it_is and whole):
        kept = [list(outputs).index(name) for name in names]
        module, text = _flat(module, given, kept, words), written(given)
        call = None
        if text is not None:
            call = Call(drawn, interface.outputs, text, tuple(kept))
    return Shaped(module, interface, tensors, call)


_KINDS: Mapping[str, type] = {"tuple": tuple, "list": list}


def written(given: Arguments) -> str | None:
    """What a network is called with, without its tensors, as JSON text; `read` gives it back.

    Tensors are 0; a tuple, list or mapping begins with the name of its kind.

    Returns:
        ``None`` where it has objects of other classes in it, which would be the user's code.
    """

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, Tensor):
            return value if value is None else 0
        if type(value) in (tuple, list):
            return [type(value).__name__, *map(plain, value)]
        if type(value) is dict and all(isinstance(key, str) for key in value):
            return ["dict", *([key, plain(one)] for key, one in value.items())]
        raise TypeError

    try:
        parts = (plain(tuple(given.args)), plain(dict(given.kwargs)), list(given.names))
    except TypeError:
        return None
    return json.dumps(parts, separators=(",", ":"))


def read(text: str) -> Arguments:
    """What `written` gives, with empty tensors.

    Raises:
        ValueError: it is something else.
    """

    def value(plain: Any) -> Any:
        if plain is None:
            return None
        if plain == 0 and type(plain) is int:
            return torch.zeros(0)
        kind, *parts = plain
        if kind == "dict":
            return {str(key): value(one) for key, one in parts}
        return _KINDS[kind](map(value, parts))

    try:
        args, kwargs, names = parse_json(text)
        found = Arguments(value(args), value(kwargs), tuple(map(str, names)))
        if not isinstance(found.args, tuple) or not isinstance(found.kwargs, dict):
            raise TypeError
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError("its arguments are not what edgekit writes") from error
    return found


def called_as(module: nn.Module, call: Call, words: str) -> nn.Module:
    """A network as its code makes it, as a function of tensors; see `Shaped`.

    Raises:
        ModelError: it cannot be copied.
        ValueError: the call is damaged.
    """
    return _flat(module, read(call.arguments), list(call.kept), words) if call.kept else module


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
    return tuple(_tensors(row, interface_of(call)))


LARGEST_INPUT = 1 << 28
"""Numbers of all inputs of an inference; as float32 they take a GiB."""


def check_call(call: Call) -> None:
    """Refuses a call that comes from a file and is none.

    Raises:
        ValueError: says why.
    """
    types = {str(kind).removeprefix("torch.") for kind in _TYPES}
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


def _in_order(module: nn.Module, given: Arguments) -> Arguments:
    """The same with arguments by name in the order in which the network's code has them."""
    order = {name: i for i, name in enumerate(_parameters(module))}
    names = sorted(given.kwargs, key=lambda name: order.get(name, len(order)))
    return Arguments(given.args, {name: given.kwargs[name] for name in names}, given.names)


def _parameters(module: nn.Module) -> list[str]:
    """Names of arguments, as far as the network's code tells them."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # one written in C, which need not say
        return []
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def _run(module: nn.Module, given: Arguments, words: str) -> Any:
    try:
        with torch.no_grad():
            return module(*given.args, **given.kwargs)
    except PASSING:
        raise
    except BaseException as error:  # the user's code may raise anything
        tensors = [one for _, one in leaves((*given.args, given.kwargs))]
        forms = " and ".join(map(_form, tensors))
        raise ModelError(
            f"'{words}' cannot take an input of {forms}: {reason_with_layer(error)}"
        ) from error


def _form(tensor: Tensor) -> str:
    return f"shape {tuple(tensor.shape)}, {str(tensor.dtype).removeprefix('torch.')}"


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What something is made of, with the way to it; what is ``None`` is left out."""
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from leaves(one, (*path, str(key)))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for name, one in zip(value._fields, value, strict=True):
            yield from leaves(one, (*path, name))
    elif isinstance(value, tuple | list):
        for i, one in enumerate(value):
            yield from leaves(one, (*path, str(i)))
    else:
        yield path, value


def _leaves_of_arguments(
    module: nn.Module, given: Arguments, words: str
) -> list[tuple[tuple[str, ...], Tensor]]:
    """Tensors of the arguments, under the names that the network's code has for them."""
    parameters = list(given.names) or _parameters(module)
    names = [*parameters, *(f"input_{i}" for i in range(len(parameters), len(given.args)))]
    found = []
    for name, value in [*zip(names, given.args, strict=False), *given.kwargs.items()]:
        for path, tensor in leaves(value, (name,)):
            if not isinstance(tensor, Tensor):
                raise ModelError(
                    f"the example of '{words}' has a {type(tensor).__name__} as "
                    f"'{'.'.join(path)}': expected tensors"
                )
            found.append((path, tensor))
    if not found:
        raise ModelError(f"the example of '{words}' has no tensor: expected one at least")
    return found


def _outputs(found: Any, words: str) -> dict[str, Tensor]:
    parts = list(leaves(found))
    for path, tensor in parts:
        if not isinstance(tensor, Tensor):
            where = f" as '{'.'.join(path)}'" if path else ""
            raise ModelError(
                f"'{words}' gives a {type(tensor).__name__}{where}: expected tensors, or tuples, "
                f"lists, dictionaries and dataclasses of them"
            )
        _check_type(tensor, f"output '{'.'.join(path) or OUTPUT}' of '{words}'")
    if not parts:
        raise ModelError(f"'{words}' gives no tensor: expected one at least")
    return _named(parts, f"outputs of '{words}'")


def _check_type(tensor: Tensor, what: str) -> None:
    if tensor.dtype not in _TYPES or tensor.layout != torch.strided:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ModelError(
            f"{what} is {kind if tensor.layout == torch.strided else 'sparse'}: expected dense "
            f"numbers of float, integer or bool"
        )


def _named(parts: Sequence[tuple[tuple[str, ...], Tensor]], what: str) -> dict[str, Tensor]:
    """Tensors by names that every format takes.

    Raises:
        ModelError: two names are alike.
    """
    found: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for path, tensor in parts:
        own = ".".join(path) if path else OUTPUT
        if own.isdecimal():
            own = f"{OUTPUT}_{own}"
        name = _UNFIT.sub("_", own)
        if name in found:
            raise ModelError(
                f"two {what} would be called '{name}' in a file: '{shown(origins[name])}' and "
                f"'{shown(own)}'; give them names that differ in letters, digits, '_', '.' or '-'"
            )
        found[name], origins[name] = tensor, own
    return found


def _check_shapes(
    module: nn.Module, given: Arguments, before: Mapping[str, Tensor], words: str
) -> None:
    """Refuses outputs whose number or sizes depend on the values of inputs."""
    for way in (_in_other_order, _negated, _drawn):
        _check_same_shapes(before, _outputs(_run(module, _map(given, way), words), words), words)


def _check_same_shapes(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], words: str
) -> None:
    if list(after) != list(before):
        raise ModelError(
            f"'{words}' gives {len(before)} outputs for one input and {len(after)} for another of "
            f"the same shape: a file has a fixed number; give all of them each time"
        )
    for name, tensor in before.items():
        if after[name].shape != tensor.shape:
            raise ModelError(
                f"output '{name}' of '{words}' has the shape {tuple(tensor.shape)} for one input "
                f"and {tuple(after[name].shape)} for another of the same shape: a file has fixed "
                f"sizes; leave out what depends on values (such as non-maximum suppression), or "
                f"name the other outputs with --outputs"
            )


def _in_other_order(tensor: Tensor) -> Tensor:
    order = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(0))
    return tensor.flatten()[order].reshape(tensor.shape)


def _negated(tensor: Tensor) -> Tensor:
    """Integers stay: they may be places or words, of which others need not be there."""
    return -tensor if tensor.is_floating_point() else tensor.clone()


def _drawn(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.flip(0)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)


def _map(given: Arguments, change: Any) -> Arguments:
    def mapped(value: Any) -> Any:
        return _rebuilt(value, iter([change(one) for _, one in leaves(value)]))

    return Arguments(
        tuple(map(mapped, given.args)),
        {name: mapped(one) for name, one in given.kwargs.items()},
        given.names,
    )


def refilled(own: Arguments, example: object) -> Arguments:
    """What a network is called with, with the tensors of an example in their places.

    Args:
        own: as the network has to be called.
        example: the same tensors in any form: by the names of ``own``, or in its order. Where they
            are of another number, it stays as it is.
    """
    given = arguments(example)
    found = dict(given.kwargs)
    if found and not given.args and set(found) == set(own.names):
        given = Arguments(tuple(found[name] for name in own.names))
    tensors = [one for _, one in leaves((*given.args, given.kwargs))]
    if len(tensors) != sum(1 for _ in leaves((*own.args, own.kwargs))):
        return arguments(example)
    parts = iter(tensors)
    args = tuple(_rebuilt(one, parts) for one in own.args)
    kwargs = {name: _rebuilt(one, parts) for name, one in own.kwargs.items()}
    return Arguments(args, kwargs, own.names)


def _rebuilt(value: Any, tensors: Iterator[Any]) -> Any:
    """The same with other tensors, in the order of `leaves`."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _rebuilt(one, tensors) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        copied = copy.copy(value)
        for name in fields:
            object.__setattr__(copied, name, _rebuilt(getattr(value, name), tensors))
        return copied
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_rebuilt(one, tensors) for one in value))
    if isinstance(value, tuple | list):
        return type(value)(_rebuilt(one, tensors) for one in value)
    return next(tensors)


def _bounds(dtype: str) -> tuple[int, int]:
    """Of the numbers of a type; of floats there is no least or greatest integer."""
    kind: torch.dtype = getattr(torch, dtype)
    if kind.is_floating_point:
        return 0, 0
    info = torch.iinfo(kind)
    return info.min, info.max


def _spec(name: str, tensor: Tensor, *, image: bool = False) -> TensorSpec:
    shape, kind = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    looks = image and tensor.ndim == 4 and shape[1] in (1, 3, 4) and tensor.dtype.is_floating_point
    return TensorSpec(name, shape, kind, "NCHW" if looks else "")


# Ways to run a network. Classes are derived rather than networks wrapped: layers keep their paths,
# which people name them by.


def in_way(way: type[nn.Module], module: nn.Module, words: str, **attributes: Any) -> nn.Module:
    """A copy of a network that is run in another way.

    Args:
        way: a class whose ``forward`` calls that of the network with ``super()``.
        attributes: of the class of the copy.

    Raises:
        ModelError: it cannot be copied.
    """
    found = copied(module, words)
    if isinstance(found, torch.fx.GraphModule | torch.jit.ScriptModule) or (
        "forward" in vars(found)  # which would win over that of any class
    ):
        found = _Whole(found).train(found.training)
    kind = type(found)
    space = {"__module__": kind.__module__, **attributes}
    found.__class__ = type(kind.__name__, (way, kind), space)
    return found


def copied(module: nn.Module, words: str) -> nn.Module:
    """A copy of a network that is named in messages.

    Raises:
        ModelError: it cannot be copied.
    """
    try:
        return own_copy(module)
    except PASSING:
        raise
    except BaseException as error:  # the user's code may raise anything
        raise ModelError(f"'{words}' cannot be copied: {with_kind(error)}") from error


class _Whole(nn.Module):
    """A network whose class cannot be derived from."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What it gives."""
        return self.network(*args, **kwargs)


class _Flat(nn.Module):
    """Takes tensors one an argument and gives those that are wanted in a tuple."""

    given: Arguments
    kept: tuple[int, ...]

    def _flat(self, *tensors: Tensor) -> Any:
        parts = iter(tensors)
        args = [_rebuilt(one, parts) for one in self.given.args]
        kwargs = {name: _rebuilt(one, parts) for name, one in self.given.kwargs.items()}
        found = [one for _, one in leaves(super().forward(*args, **kwargs))]
        kept = tuple(found[i] for i in self.kept)
        return kept if len(kept) > 1 else kept[0]


# Tracers look at the arguments that a function declares: there is one for each number of them.


class _Flat1(_Flat):
    def forward(self, a: Any) -> Any:
        return self._flat(a)


class _Flat2(_Flat):
    def forward(self, a: Any, b: Any) -> Any:
        return self._flat(a, b)


class _Flat3(_Flat):
    def forward(self, a: Any, b: Any, c: Any) -> Any:
        return self._flat(a, b, c)


class _Flat4(_Flat):
    def forward(self, a: Any, b: Any, c: Any, d: Any) -> Any:
        return self._flat(a, b, c, d)


class _FlatAny(_Flat):
    def forward(self, *tensors: Any) -> Any:
        return self._flat(*tensors)


def _flat(module: nn.Module, given: Arguments, kept: list[int], words: str) -> nn.Module:
    count = sum(1 for _ in leaves((*given.args, given.kwargs)))
    ways = {1: _Flat1, 2: _Flat2, 3: _Flat3, 4: _Flat4}
    empty = _map(given, lambda _: torch.zeros(0))  # only its structure is needed
    return in_way(ways.get(count, _FlatAny), module, words, given=empty, kept=tuple(kept))


class _OnRows(nn.Module):
    interface: Interface

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of several inferences, (n, numbers), of their inputs, (n, numbers).

        In training all at once, where that can be: norms need several of each number.
        """
        if self.training and has_batch(self.interface):
            with suppress(Exception):  # it takes one at a time
                return together(super().forward, x, self.interface)
        return one_by_one(super().forward, x, self.interface)


Function = Callable[..., Any]
"""A network, or its way to run: takes tensors, gives one or a tuple of them."""


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
        found = network(*_tensors(row, interface))
        parts = found if isinstance(found, tuple) else (found,)
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
    found = network(*tensors)
    parts = found if isinstance(found, tuple) else (found,)
    return torch.cat([one.reshape(len(x), -1).to(x.dtype) for one in parts], 1)


def _tensors(row: Tensor, interface: Interface) -> list[Tensor]:
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


def on_rows(module: nn.Module, interface: Interface, words: str) -> nn.Module:
    """A copy of a network that takes and gives rows; see `edgekit.core.interface`.

    Args:
        module: of `shaped`.

    Raises:
        ModelError: it cannot be copied.
    """
    return in_way(_OnRows, module, words, interface=interface)


MOST_VALUES = 64
"""Different integers of an example that noise is drawn from, at most."""


def draws_of(example: Sequence[Tensor]) -> tuple[Draw, ...]:
    """What noise is like that stands for inputs like those of an example.

    Floats are drawn with the mean and spread of those of the example, and from the usual normal
    distribution where these are all alike; integers are values that it has.
    """
    found = []
    for tensor in example:
        values = tensor.reshape(-1).numpy()
        if not tensor.is_floating_point():
            there = np.unique(values)
            places = np.linspace(0, len(there) - 1, min(len(there), MOST_VALUES)).round()
            found.append(Draw(0.0, 1.0, tuple(int(there[int(i)]) for i in places)))
        elif (spread := float(values.std(dtype=np.float64)) if values.size else 0.0) > 0:
            found.append(Draw(float(values.mean(dtype=np.float64)), spread))
        else:
            found.append(Draw(0.0, 1.0))
    return tuple(found)


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
