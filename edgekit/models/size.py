"""How large a network would be, before memory is taken for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from edgekit.core import ModelSpec
from edgekit.errors import UsageError
from edgekit.tables import OTHERS

MAX_PARAMETERS = 10**9
"""Eight times those of the largest published network, EfficientNetV2-L; 4 GB as float32."""

# No published network is wider: EfficientNet-B7 and EfficientNetV2-L have 3,840 channels. One that
# is no wider needs no counting, which takes a tenth of the time of building it.
_USUAL_CHANNELS = 4096


class _WithoutInitialization(TorchFunctionMode):
    """Leaves out random numbers, which take seconds to be set up for tensors without memory."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in ("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_"):
            tensor = args[0] if args else kwargs["tensor"]
            # Networks that are not of the zoo are made in full, and kept for later.
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


@contextmanager
def without_values() -> Iterator[None]:
    """Gives tensors that are made in the block shapes and no values.

    Random numbers for such tensors would make PyTorch import its compiler, which takes seconds.
    """
    with torch.device("meta"), _WithoutInitialization():
        yield


def laid_out(spec: ModelSpec, build: Callable[[ModelSpec], nn.Module]) -> nn.Module:
    """A network whose tensors have shapes and no values, in a tenth of the time.

    One that is not of the zoo is built in full: its code may compute with the tensors.
    """
    if spec.family in OTHERS:
        return build(spec)
    with without_values():
        return build(spec)


def check_size(
    spec: ModelSpec, build: Callable[[ModelSpec], nn.Module], most: int = MAX_PARAMETERS
) -> None:
    """Refuses a network that no machine for mobile networks could hold.

    Args:
        build: of its family.
        most: parameters that it may have.

    Raises:
        UsageError: more than that; says how many.
    """
    columns = (value for row in spec.rows for value in row.values() if isinstance(value, int))
    if max((spec.stem, *spec.head, spec.classes, *columns)) <= _USUAL_CHANNELS:
        return
    count = sum(parameter.numel() for parameter in laid_out(spec, build).parameters())
    if count > most:
        raise UsageError(
            f"{spec.name} would have {count:,} parameters ({4 * count / 1e9:,.1f} GB): expected at "
            f"most {most:,}; give a smaller width multiplier"
        )
