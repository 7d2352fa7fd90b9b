"""What the numbers at the ends of an artifact stand for, where they are integers with a scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import TensorSpec


def stored_values(values: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Real values as an artifact takes them: rounded to the steps of its scale, and clipped."""
    if spec.scale is None:
        return values.astype(spec.dtype, copy=False)
    kind = np.iinfo(np.dtype(spec.dtype))
    steps = np.rint(values / np.float32(spec.scale)) + (spec.zero_point or 0)
    stored: NDArray[Any] = np.clip(steps, kind.min, kind.max).astype(spec.dtype)
    return stored


def real_values(values: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """What an artifact computed, as real values: float32, but integers where it gives such."""
    if spec.scale is None and values.dtype.kind in "iub":
        return values
    if spec.scale is None:
        return values.astype(np.float32, copy=False)
    steps = values.astype(np.float32) - np.float32(spec.zero_point or 0)
    return steps * np.float32(spec.scale)
