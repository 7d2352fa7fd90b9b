"""Whether scores depend on random numbers, by following these from operator to operator.

Some networks draw numbers that change a score in one run of a thousand, which no small number of
runs shows; others draw numbers and use none of them.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgekit.models.differences import memory, paths_of, where

_VALUES_UNUSED = ("empty", "zeros", "ones", "full", "new_")  # they take shape and type alone
_LEAST, _MOST = 0.0, 1 - 2.0**-24  # of what torch.rand draws


def drawn(module: nn.Module) -> list[str]:
    """How far all generators are; another list where numbers were drawn from one of them.

    Those are Python's, NumPy's and PyTorch's, and any that a network has of its own.
    """
    states = [repr(random.getstate()), repr(_of_numpy(np.random.get_state(legacy=False)))]
    states.append(_of_torch(torch.random.get_rng_state()))
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, torch.Generator):
                states.append(_of_torch(value.get_state()))
            elif isinstance(value, random.Random):
                states.append(repr(value.getstate()))
            elif isinstance(value, np.random.Generator):
                states.append(repr(value.bit_generator.state))
            elif isinstance(value, np.random.RandomState):
                states.append(repr(_of_numpy(value.get_state(legacy=False))))
    return states


def _of_torch(state: Tensor) -> str:
    return state.numpy().tobytes().hex()


def _of_numpy(state: Any) -> tuple[bytes, int]:
    return state["state"]["key"].tobytes(), state["state"]["pos"]


class Draws(TorchDispatchMode):
    """Follows what PyTorch draws while a network runs.

    Args:
        forced: what numbers become that are taken out of tensors and depend on such, the least or
            the most that `torch.rand` gives; ``None`` leaves them.

    Attributes:
        taken: where the first such number was drawn; ``None`` where there is none. What code does
            with it cannot be followed.
    """

    def __init__(self, module: nn.Module, forced: bool | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.taken: str | None = None
        self._forced, self._paths = forced, paths_of(module)
        # By memory of results, which are kept, so that no others get the same.
        self._places: dict[int, tuple[Tensor, str]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see `edgekit.models.differences`

    def place_of(self, tensor: Tensor) -> str | None:
        """Where the numbers were drawn that a tensor depends on; ``None`` where on none."""
        found = self._places.get(memory(tensor))
        return None if found is None else found[1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        place = self._place(func, args, kwargs)
        result = func(*args, **kwargs)
        if place is None:
            return result
        if func is torch.ops.aten._local_scalar_dense.default:
            self.taken = self.taken or place
            return self._number(result)
        changed = [value for value in _written(func, args, kwargs) if isinstance(value, Tensor)]
        for tensor in (*tree_leaves(result), *changed):
            if isinstance(tensor, Tensor):
                self._places[memory(tensor)] = (tensor, place)
        return result

    def _place(self, func: Any, args: Any, kwargs: Any) -> str | None:
        """Where what an operator gives was drawn."""
        if torch.Tag.nondeterministic_seeded in func.tags and not _decided(func, args, kwargs):
            return where(sys._getframe(2), self._paths)
        if func.__name__.startswith(_VALUES_UNUSED):
            return None
        given = tree_leaves((args, kwargs))
        places = [self.place_of(one) if isinstance(one, Tensor) else None for one in given]
        if func.__name__.startswith(("mul.", "mul_.")) and any(
            place is None and not torch.as_tensor(one).any()
            for one, place in zip(given, places, strict=True)
            if isinstance(one, Tensor | int | float)
        ):
            return None  # such is noise of strength 0
        return next((place for place in places if place is not None), None)

    def _number(self, drawn: Any) -> Any:
        if self._forced is None or not isinstance(drawn, bool | float):
            return drawn
        if isinstance(drawn, bool):
            return self._forced
        return _MOST if self._forced else _LEAST


def _written(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """Arguments that an operator writes into."""
    return [
        value
        for argument, value in _named(func, args, kwargs)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _named(func: Any, args: Any, kwargs: Any) -> list[tuple[Any, Any]]:
    """Arguments as the operator declares them, with what was given for them."""
    declared = func._schema.arguments
    by_name = {argument.name: argument for argument in declared}
    given = list(zip(declared, args, strict=False))
    return given + [(by_name[name], value) for name, value in kwargs.items()]


def _decided(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operator that may draw gives the same every time."""
    given = {argument.name: value for argument, value in _named(func, args, kwargs)}
    name = func.__name__.partition(".")[0].strip("_")
    if name == "bernoulli":  # dropout; of tensors of probabilities, too
        chance = torch.as_tensor(given.get("p", 0.5 if func._schema.is_mutable else given["self"]))
        return bool(((chance == 0) | (chance == 1)).all())
    if name in ("native_dropout", "fused_dropout"):
        return bool(given["p"] == 0)
    if name == "uniform":
        return bool(given.get("from", 0.0) == given.get("to", 1.0))
    if name == "normal":
        std = given.get("std", 1.0)
        return not torch.as_tensor(std).any()
    if "attention" in name:
        return bool(given.get("dropout_p", 0.0) == 0)
    if name == "rrelu_with_noise":
        return not given.get("training", False)
    return False
