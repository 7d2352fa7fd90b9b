"""Inputs and outputs of networks as arrays: rows of them, and files.

A row is one inference; see `edgekit.core.interface`. Inputs that are no images come from ``.npz``
files, one an inference, one array an input.
``numpy.savez("scene.npz", left=..., right=...)`` writes such a file. Arrays have the names and the
shapes of the network's inputs; a file of one array may call it anything, where there is one input.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Interface, TensorSpec
from edgekit.core.names import shown
from edgekit.core.reading import open_file
from edgekit.errors import DataError

SUFFIX = ".npz"
LARGEST_ARRAY_BYTES = 1 << 30
"""Of one array; what a file says of its sizes is held against that before memory is taken."""


def arrays_of(
    interface: Interface, row: NDArray[Any], layout: str = "NCHW"
) -> list[NDArray[np.generic]]:
    """The inputs of one inference.

    Args:
        row: what the inputs hold, in their order; any shape.
        layout: that images are to have.

    Raises:
        ValueError: the row is of another length.
    """
    found, values, start = [], row.reshape(-1), 0
    count = sum(prod(spec.shape) for spec in interface.inputs)
    if values.size != count:
        raise ValueError(f"a row of {values.size} numbers: expected {count}")
    for spec in interface.inputs:
        end = start + prod(spec.shape)
        array = _typed(values[start:end], spec.dtype).reshape(spec.shape)
        found.append(np.asarray(turned(array, spec.layout, layout), order="C"))
        start = end
    return found


def row_of(outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The outputs of one inference one behind the other, (1, n)."""
    exact = all(np.can_cast(array.dtype, np.float32) for array in outputs)
    rows = [array.reshape(1, -1) for array in outputs]
    return np.concatenate(rows, axis=1, dtype=np.float32 if exact else np.float64)


def _typed(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers of a row as another type; rounded where that has integers."""
    kind = np.dtype(dtype)
    return (np.rint(values) if kind.kind in "iub" else values).astype(kind, copy=False)


_TO = {("NCHW", "NHWC"): (0, 2, 3, 1), ("NHWC", "NCHW"): (0, 3, 1, 2)}


def turned(array: NDArray[Any], layout: str, other: str) -> NDArray[Any]:
    """Axes in another layout; arrays without one stay as they are."""
    axes = _TO.get((layout, other))
    return array if axes is None else array.transpose(axes)


def array_files(data: str) -> list[Path]:
    """The ``.npz`` files that a path means, sorted: itself, or those in a folder; else none."""
    path = Path(data)
    if path.suffix == SUFFIX:
        return [path]
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []


def readable_files(files: Sequence[Path]) -> tuple[list[Path], tuple[str, ...]]:
    """Those of some files that can be read as arrays, and the names of the others.

    Raises:
        DataError: none can; says why the first one cannot.
    """
    readable, left_out, first = [], [], None
    for path in files:
        try:
            read_arrays(path)
        except DataError as error:
            left_out.append(str(path))
            first = first or error
        else:
            readable.append(path)
    if first is not None and not readable:
        raise first
    return readable, tuple(left_out)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, by name.

    Raises:
        DataError: it is missing or damaged, or holds objects or too much.
    """
    arrays = {}
    try:
        with open_file(path) as file:
            loaded: Any = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds one array: expected a file of numpy.savez")
            _check_sizes(path, loaded.zip)
            for name in loaded.files:
                arrays[name] = loaded[name]
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: expected a file of numpy.savez") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError, MemoryError) as error:
        raise DataError(
            f"{path} is no file of arrays, or is damaged: expected what numpy.savez writes, "
            f"numbers without Python objects"
        ) from error
    if not arrays:
        raise DataError(f"{path} holds no arrays: expected one for each input")
    return arrays


def _check_sizes(path: Path, archive: Any) -> None:
    for entry in archive.infolist():
        if entry.file_size > LARGEST_ARRAY_BYTES:
            raise DataError(
                f"{path}: array '{shown(entry.filename)}' would take {entry.file_size:,} bytes: "
                f"expected at most {LARGEST_ARRAY_BYTES:,}"
            )


def rows_of(files: Sequence[Path], interface: Interface) -> NDArray[np.float32]:
    """Inputs of inferences, one row a file.

    Returns:
        (n, numbers), see `edgekit.core.interface`.

    Raises:
        DataError: a file lacks an input, or has an array of another shape or kind, or of numbers
            that are not finite.
    """
    rows = []
    for path in files:
        arrays = read_arrays(path)
        if len(interface.inputs) == 1 and len(arrays) == 1:
            arrays = {interface.inputs[0].name: next(iter(arrays.values()))}
        parts = [_checked(path, arrays, spec) for spec in interface.inputs]
        rows.append(np.concatenate([part.reshape(1, -1) for part in parts], axis=1))
    return np.concatenate(rows)


def array_of(path: Path, arrays: Mapping[str, NDArray[Any]], spec: TensorSpec) -> NDArray[Any]:
    """The array of an input.

    Raises:
        DataError: there is none.
    """
    if spec.name not in arrays:
        listed = ", ".join(f"'{shown(name)}'" for name in arrays)
        raise DataError(
            f"{path} has no array '{spec.name}' (it has {listed}): expected one for each input"
        )
    return arrays[spec.name]


def _checked(
    path: Path, arrays: Mapping[str, NDArray[Any]], spec: TensorSpec
) -> NDArray[np.float32]:
    array = array_of(path, arrays, spec)
    if array.shape not in (spec.shape, spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape):
        raise DataError(
            f"{path}: array '{spec.name}' has the shape {array.shape}: expected {spec.shape}, as "
            f"the network takes it"
        )
    whole = np.dtype(spec.dtype).kind in "iub"
    if array.dtype.kind not in ("iub" if whole else "iubf"):
        raise DataError(f"{path}: array '{spec.name}' holds {array.dtype}: expected {spec.dtype}")
    values = array.astype(np.float32)
    if whole and not np.array_equal(values.astype(np.float64), array.astype(np.float64)):
        raise DataError(
            f"{path}: array '{spec.name}' has integers beyond 16,777,216: expected smaller ones"
        )
    if not np.isfinite(values).all():
        raise DataError(f"{path}: array '{spec.name}' has numbers that are not finite")
    return values
