"""What files are timed with where nobody gives inputs: noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.core import Array, TensorSpec


def noise_of(tensor: TensorSpec) -> Array:
    """A fixed input; what it shows makes no difference to the time."""
    rng = np.random.default_rng(0)
    kind = np.dtype(tensor.dtype)
    if kind.kind == "f":
        return rng.standard_normal(tensor.shape, np.float32).astype(kind)
    if kind.kind == "b":
        return rng.integers(0, 2, tensor.shape).astype(kind)
    if kind.kind not in "iu":
        raise InputError(f"input '{tensor.name}' is {tensor.dtype}: expected numbers")
    info = np.iinfo(kind)
    if info.bits > 16:  # numbers of words or of places: the first two are there in any case
        return rng.integers(0, 2, tensor.shape).astype(kind)
    low, high = max(info.min, -128), min(info.max, 255)
    return rng.integers(low, high, tensor.shape, dtype=kind, endpoint=True)
