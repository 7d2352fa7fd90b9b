"""What exported files are timed with: one inference out of a file of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.arrays import array_of, read_arrays, turned
from edgekit.core import TensorSpec
from edgekit.data.stored import stored_values
from edgekit.errors import DataError


def example_arrays(
    path: Path, specs: Sequence[TensorSpec], layouts: Mapping[str, str], layout: str
) -> list[NDArray[Any]]:
    """One inference of a file's inputs out of a ``.npz`` file.

    Args:
        specs: the inputs, with sizes; their first axis may be a multiple of that of an array, which
            is repeated then.
        layouts: of those inputs of which it is known; their arrays have the axes of the network.
        layout: that images may have in the file, where nobody knows.

    Raises:
        DataError: the file cannot be read, or its arrays do not fit.
    """
    arrays = read_arrays(path)
    if len(specs) == 1 and len(arrays) == 1:
        arrays = {specs[0].name: next(iter(arrays.values()))}
    elif set(arrays) == {f"arr_{i}" for i in range(len(specs))}:  # numpy.savez's own names
        arrays = {spec.name: arrays[f"arr_{i}"] for i, spec in enumerate(specs)}
    return [_fitted(path, array_of(path, arrays, spec), spec, layouts, layout) for spec in specs]


def _fitted(
    path: Path, array: NDArray[Any], spec: TensorSpec, layouts: Mapping[str, str], layout: str
) -> NDArray[Any]:
    """An array in the axes, the number and the type of an input."""
    known = layouts.get(spec.name, "")
    ways = [array] if array.ndim != 4 else [turned(array, "NCHW", known), array]
    if array.ndim == 4 and not known:
        ways.append(turned(array, "NCHW", layout))
    for one in ways:
        batched = one[None] if one.ndim == len(spec.shape) - 1 else one
        if batched.shape[1:] != spec.shape[1:] or batched.ndim != len(spec.shape):
            continue
        if batched.shape == spec.shape:
            return _of_kind(path, batched, spec)
        if batched.shape[0] and spec.shape[0] % batched.shape[0] == 0:
            times = spec.shape[0] // batched.shape[0]
            return _of_kind(path, np.concatenate([batched] * times), spec)
    raise DataError(
        f"{path}: array '{spec.name}' has the shape {array.shape}: expected {spec.shape}, as the "
        f"file takes it"
    )


def _of_kind(path: Path, array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    kind = np.dtype(spec.dtype)
    if spec.scale is not None and array.dtype.kind == "f":
        found = stored_values(array, spec)
    elif array.dtype.kind not in ("iub" if kind.kind in "iub" else "iubf"):
        raise DataError(f"{path}: array '{spec.name}' holds {array.dtype}: expected {spec.dtype}")
    else:
        found = array.astype(kind)
    if not np.isfinite(array).all():
        raise DataError(f"{path}: array '{spec.name}' has numbers that are not finite")
    return np.ascontiguousarray(found).reshape(array.shape)
