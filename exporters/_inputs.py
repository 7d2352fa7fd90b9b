"""What all targets say about inputs: sizes that a file leaves open, types that are no numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Sequence, Tuple, TypeVar, Union

import numpy as np

from edgekit.core import Shapes, TensorSpec
from edgekit.core.names import shown
from edgekit.errors import InputError, UnavailableError

_One = TypeVar("_One")
_Other = TypeVar("_Other")


def paired(ones: Sequence[_One], others: Sequence[_Other]) -> Iterable[tuple[_One, _Other]]:
    """Pairs of what belongs together, one each: ``zip(strict=True)`` for Python before 3.10.

    Raises:
        ValueError: they are not equally many.
    """
    if len(ones) != len(others):
        raise ValueError(f"expected {len(ones)} values, found {len(others)}")
    return zip(ones, others)


@contextmanager
def needing(package: str, path: Path, what: str) -> Iterator[None]:
    """Tells what cannot be done with a file where a package is missing that its runtime lacks.

    Args:
        package: to install.
        what: is done in the block.

    Raises:
        UnavailableError: the block imports something that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"{path}: {what} needs the package '{package}' where the file runs (there is no module "
            f"'{error.name}'): pip install {package}"
        ) from error


def fixed_batch(path: Path, batch: int) -> InputError:
    """A file whose layers are written for one number of images."""
    return InputError(
        f"{path} cannot take {batch} images at once: its layers are fixed to the batch it was "
        f"exported with; run it with batch 1, or export the network again"
    )


Size = Union[int, str, None]
"""A size as a file has it: a number, or a name, a range, -1 or nothing where it is left open."""

Inputs = Sequence[Tuple[str, Sequence[Size]]]
"""Names of the inputs of a file, with the sizes that it has of them."""

ANY_RANK = "..."
"""Stands for all further sizes where a file leaves open how many there are."""


def number_of(size: Size) -> int | None:
    """The number, or ``None`` where the size is left open."""
    return size if isinstance(size, int) and size > 0 else None


def closed(
    path: Path,
    inputs: Inputs,
    batch: int | None,
    shapes: Shapes | None,
    remedy: Callable[[str, str], str],
) -> list[tuple[int, ...]]:
    """The shapes of the inputs of a file; where it leaves the first size open, that is the batch.

    Args:
        batch: ``None`` stands for 1.
        shapes: see `edgekit.core.Target.open`.
        remedy: how to fix sizes in files of the format, given an input and sizes that it might
            have.

    Raises:
        InputError: another size than the first is open, and not among ``shapes``; or those are
            not of this file.
    """
    given = _given(path, inputs, shapes or {})
    named = _named_sizes(path, inputs, given)
    found = []
    for name, sizes in inputs:
        filled = [named.get(size, size) if isinstance(size, str) else size for size in sizes]
        numbers: tuple[int | None, ...] = given.get(name) or tuple(map(number_of, filled))
        if None in numbers[1:]:
            text = (
                f"{path}: input '{shown(name)}' has the shape {_words(sizes)}; expected numbers "
                f"behind the first size, which is the batch: "
            )
            if shapes is None:
                raise InputError(text + remedy(name, _example(sizes)))
            text += f"give them, as with --input-shape {shown(name)}={_example(sizes)}"
            strange = _strangers(inputs, shapes)
            raise InputError(f"{text} (it has no input '{strange[0]}')" if strange else text)
        found.append(tuple(batch or 1 if size is None else size for size in numbers))
    return found


def _given(path: Path, inputs: Inputs, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes that are for inputs of this file, by their names.

    Raises:
        InputError: they contradict the file, or nothing tells which input is meant.
    """
    if "" in shapes and len(inputs) != 1:
        names = ", ".join(f"'{shown(name)}'" for name, _ in inputs)
        raise InputError(
            f"{path} has {len(inputs)} inputs ({names}): name the one that is meant, as with "
            f"--input-shape NAME={','.join(map(str, shapes['']))}"
        )
    found = {}
    for name, sizes in inputs:
        shape = shapes.get(name, shapes.get(""))
        if shape is None:
            continue
        text = ",".join(map(str, shape))
        open_rank = ANY_RANK in sizes
        if len(shape) != len(sizes) and not open_rank:
            raise InputError(
                f"{path}: --input-shape {text} has {len(shape)} sizes, and input '{shown(name)}' "
                f"has {len(sizes)} ({_words(sizes)}){_for_this(path, name, sizes, shape)}"
            )
        if not open_rank and not all(map(_fits, sizes, shape)):
            only_first = all(map(_fits, sizes[1:], shape[1:]))
            raise InputError(
                f"{path}: --input-shape {text} does not fit input '{shown(name)}', which is "
                f"{_words(sizes)}: only sizes that the file leaves open can be chosen"
                + (
                    f"; for another batch, give --batch {shape[0]} instead"
                    if only_first
                    else _for_this(path, name, sizes, shape)
                )
            )
        found[name] = shape
    return found


def _for_this(path: Path, name: str, sizes: Sequence[Size], given: Sequence[int]) -> str:
    """How to give a shape to one of several files, whose inputs may differ in what comes last."""
    other = [given[0], *given[2:], given[1]] if len(given) == 4 else []
    back = [given[0], given[3], *given[1:3]] if len(given) == 4 else []
    fitting = [turned for turned in (other, back) if turned and all(map(_fits, sizes, turned))]
    shape = ",".join(map(str, fitting[0])) if fitting else _example(sizes)
    return f"; for this file alone: --input-shape {path}:{shown(name)}={shape}"


def _fits(size: Size, given: int) -> bool:
    """Whether a number may stand for a size of the file."""
    if isinstance(size, str) and (bounds := re.fullmatch(r"(\d*)\.\.(\d*)", size)):
        return int(bounds[1] or 0) <= given <= int(bounds[2] or given)
    return number_of(size) in (None, given)


def _named_sizes(
    path: Path, inputs: Inputs, given: Mapping[str, tuple[int, ...]]
) -> dict[str, int]:
    """Numbers of sizes that the file has a name for, which is one size wherever it stands.

    Raises:
        InputError: it was given two.
    """
    by_name: dict[str, int] = {}
    for name, sizes in inputs:
        for size, number in zip(sizes, given.get(name, ())):
            if not isinstance(size, str) or not size.isidentifier():
                continue
            if by_name.setdefault(size, number) != number:
                raise InputError(
                    f"{path}: --input-shape gives the size '{shown(size)}' as {by_name[size]} and "
                    f"as {number}: it is one size of the file, which takes one number"
                )
    return by_name


def _strangers(inputs: Inputs, shapes: Shapes) -> list[str]:
    """Names that no input has."""
    return [shown(name) for name in shapes if name and name not in dict(inputs)]


def _words(sizes: Sequence[Size]) -> str:
    return " x ".join("?" if size in (None, -1) else shown(str(size)) for size in sizes)


def _example(sizes: Sequence[Size]) -> str:
    """Sizes that an input might have, for messages: those of a photograph where it may be one."""
    if ANY_RANK in sizes:
        return "1,3,224,224"
    numbers = [number_of(size) for size in sizes]
    image = len(sizes) == 4 and (numbers[1] in (1, 3) or numbers[3] in (1, 3))
    usual = 224 if image else 128
    return ",".join(str(number or (usual if place else 1)) for place, number in enumerate(numbers))


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
