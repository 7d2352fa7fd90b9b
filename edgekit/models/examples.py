"""Inputs of one inference, as ``--example`` names them: a file of arrays, or code of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.arrays import SUFFIX, read_arrays
from edgekit.errors import ModelError, UsageError
from edgekit.models.arguments import Arguments, leaves
from edgekit.models.callables import called, named_object


def open_example(example: str) -> Any:
    """An example of a network's inputs.

    Args:
        example: a ``.npz`` file, whose arrays bear the names of the network's arguments, or
            ``arr_0`` and so on for those by position; or ``package.module:callable``, which gives
            a tensor, a tuple of them, or a mapping by names.

    Returns:
        What `edgekit.models.arguments.arguments` takes; of tensors. Arrays of float64 become
        float32.

    Raises:
        DataError: the file cannot be read.
        ModelError: the code cannot be run, or gives no tensors.
        UsageError: neither a file nor code.
    """
    if Path(example).suffix == SUFFIX:
        arrays = {
            name: _tensor(name, one, f"--example {example}")
            for name, one in read_arrays(Path(example)).items()
        }
        places = [f"arr_{i}" for i in range(len(arrays))]
        if set(arrays) == set(places):  # numpy.savez's own names
            return tuple(arrays[name] for name in places)
        return arrays
    if ":" not in example:
        raise UsageError(
            f"--example {example}: expected a {SUFFIX} file, or package.module:callable"
        )
    found = called(named_object(example), example, "a function that gives inputs")
    return as_tensors(found, f"--example {example}")


def as_tensors(value: Any, text: str = "example") -> Any:
    """The same with tensors in place of NumPy's arrays.

    Args:
        text: what it is, for messages.

    Raises:
        ModelError: it holds something else than tensors and arrays.
    """
    if isinstance(value, Arguments):
        return value
    if isinstance(value, np.ndarray):
        return _tensor("", value, text)
    if isinstance(value, Mapping):
        return {str(name): as_tensors(one, text) for name, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(as_tensors(one, text) for one in value))
    if type(value) in (tuple, list):
        return type(value)(as_tensors(one, text) for one in value)
    for path, one in leaves(value):
        if not isinstance(one, torch.Tensor):
            where = f" as '{'.'.join(path)}'" if path else ""
            raise ModelError(
                f"{text} gives a {type(one).__name__}{where}: expected tensors or arrays"
            )
    return value


def _tensor(name: str, array: Any, text: str) -> torch.Tensor:
    if array.dtype.kind not in "iubf":
        where = f"array '{name}' " if name else ""
        raise ModelError(f"{text}: {where}holds {array.dtype}: expected numbers")
    # NumPy makes float64 where nobody says otherwise, which hardly any network takes.
    kind = np.float32 if array.dtype == np.float64 else array.dtype
    return torch.from_numpy(np.array(array, kind, order="C"))
