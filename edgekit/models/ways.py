"""Ways to run a network.

Classes are derived rather than networks wrapped: layers keep their paths, which people name them
by.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgekit.core import with_kind
from edgekit.core.reasons import PASSING
from edgekit.errors import ModelError
from edgekit.models.arguments import Arguments, leaves, mapped, rebuilt
from edgekit.models.copying import own_copy


def in_way(way: type[nn.Module], module: nn.Module, source: str, **attributes: Any) -> nn.Module:
    """A copy of a network that is run in another way.

    Args:
        way: a class whose ``forward`` calls that of the network with ``super()``.
        attributes: of the class of the copy.

    Raises:
        ModelError: it cannot be copied.
    """
    copy = copied(module, source)
    if isinstance(copy, torch.fx.GraphModule | torch.jit.ScriptModule) or (
        "forward" in vars(copy)  # which would win over that of any class
    ):
        copy = _Whole(copy).train(copy.training)
    kind = type(copy)
    space = {"__module__": kind.__module__, **attributes}
    copy.__class__ = type(kind.__name__, (way, kind), space)
    return copy


def copied(module: nn.Module, source: str) -> nn.Module:
    """A copy of a network that is named in messages.

    Raises:
        ModelError: it cannot be copied.
    """
    try:
        return own_copy(module)
    except PASSING:
        raise
    except BaseException as error:  # the user's code may raise anything
        raise ModelError(f"'{source}' cannot be copied: {with_kind(error)}") from error


def flat(module: nn.Module, given: Arguments, kept: list[int], source: str) -> nn.Module:
    """A copy of a network that takes tensors one an argument.

    Args:
        given: what it is called with; the tensors go into the places of those.
        kept: places of the outputs that it gives, a tensor or a tuple of several.
        source: names it in messages.

    Raises:
        ModelError: it cannot be copied.
    """
    count = sum(1 for _ in leaves((*given.args, given.kwargs)))
    ways = {1: _Flat1, 2: _Flat2, 3: _Flat3, 4: _Flat4}
    empty = mapped(given, lambda _: torch.zeros(0))  # only its structure is needed
    return in_way(ways.get(count, _FlatAny), module, source, given=empty, kept=tuple(kept))


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
        args = [rebuilt(one, parts) for one in self.given.args]
        kwargs = {name: rebuilt(one, parts) for name, one in self.given.kwargs.items()}
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
