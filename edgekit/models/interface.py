"""Networks as functions of tensors: one an argument, one for each output, all with names.

Code may take and give anything made of tensors: tuples, lists, dictionaries, dataclasses, in one
another. It is run once on an example, which shows what there is; where that is more than tensors
one after the other, the network is run in that way from then on.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from edgekit.core import Call, Interface, TensorSpec, reason_with_layer
from edgekit.core.names import shown
from edgekit.core.reasons import PASSING
from edgekit.core.text import counted_words
from edgekit.errors import ModelError, UsageError
from edgekit.models.arguments import Arguments, arguments, leaves, mapped, written
from edgekit.models.calls import TYPES
from edgekit.models.rows import draws_of
from edgekit.models.ways import copied, flat

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
"""What no format takes in the name of a tensor."""

OUTPUT = "output"
"""Name of an output that has none of its own."""


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


def shaped(module: nn.Module, example: object, source: str, wanted: Sequence[str] = ()) -> Shaped:
    """Runs a copy of a network on an example, and finds out what it takes and gives.

    Args:
        module: in eval mode.
        example: see `edgekit.models.arguments.arguments`.
        source: names the network in messages.
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
            _run(module, given, source)
    inputs = _named(_leaves_of_arguments(module, given, source), f"inputs of '{source}'")
    for name, tensor in inputs.items():
        _check_type(tensor, f"input '{name}' of '{source}'")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                f"the example of '{source}' has numbers in '{name}' that are not finite: expected "
                f"inputs as the network gets them"
            )
    running = copied(module, source)
    running.eval()
    returned = _run(running, given, source)
    outputs = _outputs(returned, source)
    names = list(wanted) or list(outputs)
    if len(set(names)) < len(names):
        raise UsageError(f"--outputs {','.join(map(shown, names))}: expected each name once")
    for name in names:
        if name not in outputs:
            raise UsageError(
                f"--outputs {shown(name)}: '{source}' has no such output; it has "
                f"{', '.join(outputs)}"
            )
    for name in names:
        if name in inputs:
            raise ModelError(
                f"'{source}' has an input and an output that would both be called '{name}' in a "
                f"file: give the output another name"
            )
    _check_shapes(running, given, outputs, source)
    for name in names:
        if not outputs[name].numel():
            raise ModelError(
                f"output '{name}' of '{source}' is empty, {tuple(outputs[name].shape)}: name the "
                f"others with --outputs"
            )
    interface = Interface(
        tuple(_spec(name, tensor, image=True) for name, tensor in inputs.items()),
        tuple(_spec(name, outputs[name]) for name in names),
    )
    plain = all(isinstance(one, Tensor) for one in given.args) and not given.kwargs
    as_it_is = isinstance(returned, Tensor) or (
        type(returned) is tuple and all(isinstance(one, Tensor) for one in returned)
    )
    whole = list(outputs) == names and not (isinstance(returned, tuple) and len(returned) == 1)
    tensors = tuple(tensor.detach() for tensor in inputs.values())
    drawn = tuple(
        dataclasses.replace(spec, draw=draw)
        for spec, draw in zip(interface.inputs, draws_of(tensors), strict=True)
    )
    call: Call | None = Call(drawn, interface.outputs)
    if not (plain and as_it_is and whole):
        kept = [list(outputs).index(name) for name in names]
        module, text = flat(module, given, kept, source), written(given)
        call = None
        if text is not None:
            call = Call(drawn, interface.outputs, text, tuple(kept))
    return Shaped(module, interface, tensors, call)


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


def _run(module: nn.Module, given: Arguments, source: str) -> Any:
    try:
        with torch.no_grad():
            return module(*given.args, **given.kwargs)
    except PASSING:
        raise
    except BaseException as error:  # the user's code may raise anything
        tensors = [one for _, one in leaves((*given.args, given.kwargs))]
        forms = " and ".join(map(_form, tensors))
        raise ModelError(
            f"'{source}' cannot take an input of {forms}: {reason_with_layer(error)}"
        ) from error


def _form(tensor: Tensor) -> str:
    return f"shape {tuple(tensor.shape)}, {str(tensor.dtype).removeprefix('torch.')}"


def _leaves_of_arguments(
    module: nn.Module, given: Arguments, source: str
) -> list[tuple[tuple[str, ...], Tensor]]:
    """Tensors of the arguments, under the names that the network's code has for them."""
    parameters = list(given.names) or _parameters(module)
    names = [*parameters, *(f"input_{i}" for i in range(len(parameters), len(given.args)))]
    tensors = []
    for name, value in [*zip(names, given.args, strict=False), *given.kwargs.items()]:
        for path, tensor in leaves(value, (name,)):
            if not isinstance(tensor, Tensor):
                raise ModelError(
                    f"the example of '{source}' has a {type(tensor).__name__} as "
                    f"'{'.'.join(path)}': expected tensors"
                )
            tensors.append((path, tensor))
    if not tensors:
        raise ModelError(f"the example of '{source}' has no tensor: expected one at least")
    return tensors


def _outputs(outputs: Any, source: str) -> dict[str, Tensor]:
    parts = list(leaves(outputs))
    for path, tensor in parts:
        if not isinstance(tensor, Tensor):
            where = f" as '{'.'.join(path)}'" if path else ""
            raise ModelError(
                f"'{source}' gives a {type(tensor).__name__}{where}: expected tensors, or tuples, "
                f"lists, dictionaries and dataclasses of them"
            )
        _check_type(tensor, f"output '{'.'.join(path) or OUTPUT}' of '{source}'")
    if not parts:
        raise ModelError(f"'{source}' gives no tensor: expected one at least")
    return _named(parts, f"outputs of '{source}'")


def _check_type(tensor: Tensor, what: str) -> None:
    if tensor.dtype not in TYPES or tensor.layout != torch.strided:
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
    tensors: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for path, tensor in parts:
        own = ".".join(path) if path else OUTPUT
        if own.isdecimal():
            own = f"{OUTPUT}_{own}"
        name = _UNFIT.sub("_", own)
        if name in tensors:
            raise ModelError(
                f"two {what} would be called '{name}' in a file: '{shown(origins[name])}' and "
                f"'{shown(own)}'; give them names that differ in letters, digits, '_', '.' or '-'"
            )
        tensors[name], origins[name] = tensor, own
    return tensors


def _check_shapes(
    module: nn.Module, given: Arguments, before: Mapping[str, Tensor], source: str
) -> None:
    """Refuses outputs whose number or sizes depend on the values of inputs."""
    for way in (_in_other_order, _negated, _drawn):
        _check_same_shapes(
            before, _outputs(_run(module, mapped(given, way), source), source), source
        )


def _check_same_shapes(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], source: str
) -> None:
    if list(after) != list(before):
        raise ModelError(
            f"'{source}' gives {counted_words(len(before), 'output')} for one input and "
            f"{len(after)} for another of "
            f"the same shape: a file has a fixed number; give all of them each time"
        )
    for name, tensor in before.items():
        if after[name].shape != tensor.shape:
            raise ModelError(
                f"output '{name}' of '{source}' has the shape {tuple(tensor.shape)} for one input "
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


def _spec(name: str, tensor: Tensor, *, image: bool = False) -> TensorSpec:
    shape, kind = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    looks = image and tensor.ndim == 4 and shape[1] in (1, 3, 4) and tensor.dtype.is_floating_point
    return TensorSpec(name, shape, kind, "NCHW" if looks else "")
