"""Networks with a last layer whose weights are many times as large.

Scores that lie between 0 and 1 may be probabilities, or small numbers: those of an untrained
network often are. Probabilities stay there whatever the weights are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgekit.models.copying import own_copy
from edgekit.models.differences import memory

_TIMES = 1e6


def strained(module: nn.Module, images: Tensor) -> nn.Module:
    """A copy, in the same mode, whose `last_weights` are far larger.

    Args:
        images: that it can be run on, (N, 3, H, W).
    """
    found = own_copy(module)
    with torch.no_grad():
        for name in last_weights(module, images):
            found.get_parameter(name).mul_(_TIMES)
    return found


def last_weights(module: nn.Module, images: Tensor) -> list[str]:
    """Names of the parameters that the last operator with some takes; those before a mere sum, too.

    It is looked for among operators rather than layers: a network may have parameters of its own
    beside its layers, as vision transformers have for places, and hand them out in any order.

    Args:
        module: it stays as it is: a copy is run.
        images: see `strained`.
    """
    watched = own_copy(module)
    uses = _Uses(watched)
    with torch.no_grad(), uses:
        watched(images)
    names = {id(parameter): name for name, parameter in watched.named_parameters()}
    return [names[id(parameter)] for parameter in uses.last]


class _Uses(TorchDispatchMode):
    """Watches which parameters meet an image, and in which order.

    Attributes:
        last: parameters of the last operator that has some; where they are only added, as a bias
            is, those of the one before it, too.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.last: list[Tensor] = []
        # By memory, of parameters and of what is computed from them alone: these are kept, so that
        # nothing else gets the same.
        self._of: dict[int, tuple[Tensor, list[Tensor]]] = {}
        for parameter in module.parameters():
            self._keep(parameter, [parameter])

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see `edgekit.models.differences`

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        own = [self._of.get(memory(one)) for one in given]
        used = {id(one): one for _, some in filter(None, own) for one in some}
        if not used:
            return result
        alone = None not in own  # a view, a transposed one, the product of two
        for one in tree_leaves(result):
            if alone and isinstance(one, Tensor):
                self._keep(one, list(used.values()))
        if alone:
            return result
        added = func.__name__.startswith(("add.", "add_.", "sub.", "sub_."))
        kept = self.last if added else []
        self.last = [one for one in kept if id(one) not in used] + list(used.values())
        return result

    def _keep(self, tensor: Tensor, parameters: list[Tensor]) -> None:
        self._of[memory(tensor)] = (tensor, parameters)
