"""Networks in float64, whose rounding is a thousand million times smaller than that of float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgekit.models.copying import own_copy


class Precise:
    """A copy of a network that computes in float64.

    Args:
        module: in eval mode; it stays as it is.

    Raises:
        ModelError: it cannot be copied.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = own_copy(module).double()

    def scores(self, images: Tensor) -> Tensor:
        """Class scores (n, classes), float64, of images of any type.

        Raises:
            TypeError: the network's own code goes back to float32. It may raise anything else, too.
        """
        with torch.inference_mode(), _default_float64():
            scores: Tensor = self._module(images.double())
        if scores.dtype != torch.float64:
            raise TypeError(f"it gives {str(scores.dtype).removeprefix('torch.')}")
        return scores.clone()  # a network may hand out the same memory each time


@contextmanager
def _default_float64() -> Iterator[None]:
    """New tensors are float64, where code does not say of which type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
