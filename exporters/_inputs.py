"""What all targets say about inputs: sizes that a file leaves open, types that are no numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.core import TensorSpec
from edgekit.errors import InputError


def fixed_batch(path: Path, batch: int) -> InputError:
    """A file whose layers are written for one number of images."""
    return InputError(
        f"{path} cannot take {batch} images at once: its layers are fixed to the batch it was "
        f"exported with; run it with batch 1, or export the network again"
    )


Size = int | str | None
"""A size as a file has it: a number, or a name, a range, -1 or nothing where it is left open."""


def number_of(size: Size) -> int | None:
    """The number, or ``None`` where the size is left open."""
    return size if isinstance(size, int) and size > 0 else None


def closed(
    path: Path, name: str, sizes: Sequence[Size], batch: int | None, remedy: str
) -> tuple[int, ...]:
    """The shape of an input; where the file leaves the first size open, that is the batch.

    Args:
        name: of the input.
        sizes: as the file has them.
        batch: ``None`` stands for 1.
        remedy: how to fix sizes in files of the format.

    Raises:
        InputError: another size than the first is open.
    """
    shape = tuple(map(number_of, sizes))
    if None in shape[1:]:
        shown = " x ".join("?" if size in (None, -1) else str(size) for size in sizes)
        raise InputError(
            f"{path}: input '{name}' has the shape {shown}; expected numbers behind the first "
            f"size, which is the batch: {remedy}"
        )
    return tuple(batch or 1 if size is None else size for size in shape)


def type_name(dtype: np.dtype[np.generic]) -> str:
    """NumPy's name of a type; text has one name, however it is stored."""
    return "string" if dtype.kind in "SU" else dtype.name


def numbers_only(path: Path, inputs: Sequence[TensorSpec]) -> None:
    """Refuses inputs that NumPy has no numbers for.

    Raises:
        InputError: one takes text, or a type that only some runtimes know.
    """
    for spec in inputs:
        try:
            numbers = np.dtype(spec.dtype).kind in "biuf"
        except TypeError:
            numbers = False
        if not numbers:
            raise InputError(
                f"{path}: input '{spec.name}' takes {spec.dtype}: expected numbers, such as "
                f"float32, float16, uint8 or int64"
            )
