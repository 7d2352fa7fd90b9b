"""How a tensor of the network lies in memory, without moving it.

PyTorch's networks are NCHW to the eye, LiteRT's kernels want NHWC. A `Value` keeps both: its
dimensions as the network sees them, and the order in which they lie in memory. Dimensions are made
of atoms, pieces that are never torn apart: splitting channels into groups splits an atom, swapping
dimensions reorders them, flattening joins them. None of that moves a number; only an operator
that needs another order in memory does (`edgekit` has one `TRANSPOSE` for a channel shuffle, and
none for flattening before a classifier, whose weights are reordered instead).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

NHWC = (0, 2, 3, 1)

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Atom:
    """A piece of a dimension.

    Attributes:
        number: tells atoms of one size apart.
    """

    size: int
    number: int = field(default_factory=lambda: next(_numbers))


Dimension = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Dimensions, and the order of their atoms in memory.

    Attributes:
        dimensions: as the network sees them, outermost first; within one, the outermost atom first.
        memory: all atoms, the one whose neighbours lie farthest apart first.
    """

    dimensions: tuple[Dimension, ...]
    memory: tuple[Atom, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes as the network sees them."""
        return tuple(math.prod(atom.size for atom in atoms) for atoms in self.dimensions)

    def wanted(self, order: Sequence[int]) -> tuple[Atom, ...]:
        """Memory in which dimensions lie in some order, each in one piece."""
        return tuple(atom for i in order for atom in self.dimensions[i])

    def lies(self, memory: Sequence[Atom]) -> bool:
        """Whether memory has that order already; atoms of one element lie anywhere."""
        return _real(self.memory) == _real(memory)

    def permuted(self, order: Sequence[int]) -> Layout:
        """The dimensions in another order."""
        return Layout(tuple(self.dimensions[i] for i in order), self.memory)

    def reshaped(self, shape: Sequence[int]) -> Layout | None:
        """The same elements in other dimensions; ``None`` where an atom would be torn apart."""
        atoms = [atom for dimension in self.dimensions for atom in dimension if atom.size > 1]
        memory = [atom for atom in self.memory if atom.size > 1]
        dimensions: list[Dimension] = []
        for size in shape:
            taken: list[Atom] = []
            left = size
            while left > 1:
                if not atoms:
                    return None
                atom = atoms.pop(0)
                if left % atom.size and atom.size % left:
                    return None
                if atom.size > left:
                    outer, inner = Atom(left), Atom(atom.size // left)
                    at = memory.index(atom)
                    memory[at : at + 1] = [outer, inner]
                    atoms.insert(0, inner)
                    atom = outer
                taken.append(atom)
                left //= atom.size
            dimensions.append(tuple(taken))
        return Layout(tuple(dimensions), tuple(memory)) if not atoms else None


@dataclass(frozen=True, slots=True)
class Value:
    """What an operator of the file computes.

    Attributes:
        tensor: its number in the graph.
    """

    tensor: int
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes as PyTorch sees them."""
        return self.layout.shape


def plain(shape: Sequence[int], order: Sequence[int]) -> Layout:
    """New dimensions that lie in memory in some order."""
    dimensions = tuple((Atom(size),) for size in shape)
    return Layout(dimensions, tuple(dimensions[i][0] for i in order))


def moved(layout: Layout, memory: Sequence[Atom]) -> tuple[list[int], list[int], list[int]]:
    """How to bring memory into another order, in as few dimensions as possible.

    Returns:
        Sizes before, their order, and sizes behind it.
    """
    before, after = _real(layout.memory), _real(memory)
    # Neighbours that stay neighbours move as one.
    runs: list[list[Atom]] = []
    place = {atom: i for i, atom in enumerate(before)}
    for atom in after:
        if runs and place[runs[-1][-1]] + 1 == place[atom]:
            runs[-1].append(atom)
        else:
            runs.append([atom])
    ordered = sorted(runs, key=lambda run: place[run[0]])
    sizes = [math.prod(atom.size for atom in run) for run in ordered]
    order = [ordered.index(run) for run in runs]
    return sizes, order, [sizes[i] for i in order]


def _real(atoms: Sequence[Atom]) -> list[Atom]:
    return [atom for atom in atoms if atom.size > 1]
