"""Copies of networks, so that nothing that is done to one shows in the network of a user.

Running a network already leaves traces in it: code that keeps what it computed (timm's LeViT keeps
attention biases by device) keeps a proxy where it was traced, a tensor without gradients where it
was only run. So whatever traces, converts or runs a network does it to a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from edgekit.core import with_kind
from edgekit.core.reasons import PASSING
from edgekit.errors import ModelError

Network = TypeVar("Network", bound=nn.Module)

_DEPTH = 4  # of containers in one another, in which tensors are looked for


def own_copy(module: Network) -> Network:
    """A network that shares nothing with another one but what has no copy, such as a lock.

    Raises:
        ModelError: it cannot be copied.
    """
    # PyTorch copies no tensor that an operator gave; such are weights of torch.nn.utils.weight_norm
    # and results that code keeps.
    memo: dict[int, Any] = {
        id(tensor): tensor.detach().clone()
        for tensor in _tensors_of(module)
        if not (tensor.is_leaf or tensor.is_meta)
    }
    kept = dict(memo)
    try:
        return copy.deepcopy(module, memo)
    except PASSING:
        raise
    except BaseException:  # the classes of others may raise anything when they are copied
        shared = {id(value): value for value in _uncopied(module)}
    try:
        return copy.deepcopy(module, {**kept, **shared})
    except PASSING:
        raise
    except BaseException as error:
        raise ModelError(
            f"the network cannot be copied: {with_kind(error)}; edgekit changes "
            f"copies only: let its classes support copy.deepcopy"
        ) from error


def _tensors_of(module: nn.Module) -> Iterator[Tensor]:
    """Tensors that are neither parameters nor buffers."""
    for part in module.modules():
        for name, value in vars(part).items():
            if name not in ("_parameters", "_modules"):
                yield from _tensors_in(value, _DEPTH)


def _tensors_in(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, list | tuple | Mapping):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors_in(one, depth - 1)


def _uncopied(module: nn.Module) -> Iterator[Any]:
    """Attributes that have no copy."""
    own = set(vars(nn.Module()))
    for part in module.modules():
        for name, value in vars(part).items():
            if name in own or isinstance(value, Tensor | nn.Module):
                continue
            try:
                copy.deepcopy(value)
            except Exception:  # see `own_copy`
                yield value
