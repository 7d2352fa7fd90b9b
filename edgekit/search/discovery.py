"""Groups of channels in networks that are not of the zoo, found by Torch-Pruning.

Depending on what the autograd graph looks like, it may be wrong: nothing that it says is believed
before `edgekit.search.groups.checked` has taken channels out.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.core import ModelSpec, reason
from edgekit.errors import ModelError
from edgekit.foreign import explained
from edgekit.models.adapted import FAMILY_NAME, ChannelSlice, Convolution, build, give, length
from edgekit.models.copying import own_copy
from edgekit.models.family import plain_rows
from edgekit.models.model import Model
from edgekit.models.program import SUFFIX as PROGRAM
from edgekit.models.weights import load_into
from edgekit.native_output import captured
from edgekit.plugins import needed_packages

Side = tuple[int, str]
"""Number of a layer, in the order of the network, and one of its sides."""

Atom = tuple[Side, int]
"""A position of a side."""

Channel = Sequence[Atom]
"""All positions that go together, ascending."""

MOST_RUNS = 4
"""Stretches of channels that the channels of one layer may fall into, as by concatenations; where
there are more, they are mixed."""

UNTOLD = "Torch-Pruning cannot tell what its channels go into"

MIXED = "its channels are mixed by position"


def makeable(model: Model) -> Model:
    """A network of which there is a spec, or what a spec of it can be made of.

    A module that was given in Python gets a name that this process knows.

    Raises:
        ModelError: channels cannot be taken out of it.
    """
    if model.spec is not None or model.code is not None:
        return model
    if model.given is not None:
        return dataclasses.replace(model, code=give(model.given, model.name))
    if Path(model.source).suffix == PROGRAM:
        raise ModelError(
            f"'{model.source}' cannot be searched: an exported program has operators instead of "
            f"layers, and sizes of images written into them, so that no channels can be taken out; "
            f"give the network that it was exported from, as package.module:callable with "
            f"--weights, or as a module in Python"
        )
    raise ModelError(
        f"'{model.source}' cannot be searched as a network of the task {model.task}: expected one "
        f"of a library, or a module of your own; one of the zoo is searched by its labels"
    )


def discovered(model: Model) -> Model:
    """A network as a spec with its groups of channels, all of them there still.

    Args:
        model: as `makeable` gives it.

    Raises:
        UnavailableError: Torch-Pruning is not installed.
        ModelError: the network cannot be traced, or has no groups.
    """
    assert model.code is not None
    if model.signature is not None and model.call is None:
        raise ModelError(
            f"'{model.source}' takes objects of classes of your own, which a checkpoint cannot "
            f"hold: give its inputs as tensors, in tuples, lists or dictionaries"
        )
    with needed_packages("a search of networks that are not of the zoo"):
        import torch_pruning
    told = f"Torch-Pruning cannot find the groups of channels of '{model.source}'"
    with explained(lambda reason: f"{told} ({reason})"), captured():
        rows = _Slices(torch_pruning, model).found()
    spec = ModelSpec(
        name=model.name,
        family=FAMILY_NAME,
        rows=plain_rows(rows),
        stem=0,
        head=(),
        act="",
        classes=model.classes,
        resolution=model.resolution,
        source=model.code,
        call=model.call,
    )
    if not rows:
        raise ModelError(f"Torch-Pruning finds no groups of channels in '{model.source}'")
    module = build(spec)
    load_into(module, model.module.state_dict(), f"'{model.source}'")
    return dataclasses.replace(model, spec=spec, module=module.eval())


class _Slices:
    """The groups of one network, worked out from what depends on each layer's outputs."""

    def __init__(self, torch_pruning: Any, model: Model) -> None:
        module = own_copy(model.module).eval().requires_grad_(True)
        self._graph = torch_pruning.DependencyGraph()
        predictions: Any = getattr(module, "predictions", None)
        if predictions is not None:
            # Behind these a head only moves and decodes numbers, of which there are so many that
            # Torch-Pruning takes minutes for each layer.
            module.forward = predictions
        images: Any = model.tensors[0] if len(model.tensors) == 1 else list(model.tensors)
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            self._graph.build_dependency(module, images, verbose=False)
        self._paths = [path for path, _ in module.named_modules()]
        self._layers = [layer for _, layer in module.named_modules()]
        self._number = {id(layer): i for i, layer in reversed(list(enumerate(self._layers)))}
        self._other: dict[Atom, str] = {}
        self._joined: dict[Atom, Atom] = {}

    def found(self) -> list[ChannelSlice]:
        """All of them, group by group in the order of the network."""
        scores = self._scores()
        for i, layer in enumerate(self._layers):
            if (i, "out") in scores:  # they stay, and may go through many concatenations
                continue
            if isinstance(layer, Convolution | nn.Linear) and layer in self._graph.module2node:
                self._join(i, layer)
        channels: dict[Atom, list[Atom]] = {}
        for atom in sorted(self._joined):
            channels.setdefault(self._root(atom), []).append(atom)
        kinds: dict[tuple[Side, ...], list[Channel]] = {}
        for atoms in channels.values():
            sides = tuple(side for side, _ in atoms)
            if not scores.intersection(sides):
                kinds.setdefault(sides, []).append(atoms)
        rows: list[ChannelSlice] = []
        for sides, members in sorted(kinds.items()):
            rows += self._group(self._paths[sides[0][0]], members, {p.group for p in rows})
        return rows

    def _join(self, number: int, layer: nn.Module) -> None:
        """Joins each output of a layer with all that has to go with it."""
        pruner = self._graph.get_pruner_of_module(layer)
        n = int(pruner.get_out_channels(layer))
        try:
            group = self._graph.get_pruning_group(layer, pruner.prune_out_channels, list(range(n)))
        except (IndexError, KeyError, ValueError, AssertionError) as error:
            # Parts of a split that several layers take, for one.
            for position in range(n):
                atom = ((number, "out"), position)
                self._other[atom] = f"{UNTOLD} ({reason(error)})"
                self._root(atom)
            return
        for item in group:
            target = item.dep.target.module
            at = self._number.get(id(target))
            if at is None:
                if isinstance(target, nn.Parameter):
                    for root in item.root_idxs:
                        first = ((number, "out"), int(root))
                        self._other[first] = "it goes through a parameter of no layer"
                continue
            out = self._graph.is_out_channel_pruning_fn(item.dep.handler)
            side = "out" if out else "in"
            size = length(target, side)
            bad = _unfit(target, self._paths[at], side)
            for position, root in zip(item.idxs, item.root_idxs, strict=True):
                first = ((number, "out"), int(root))
                if bad or size is None or position >= size:
                    self._other[first] = bad or MIXED
                    self._root(first)
                else:
                    self._unite(first, ((at, side), int(position)))

    def _unite(self, one: Atom, other: Atom) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        self._joined[second] = first

    def _root(self, atom: Atom) -> Atom:
        self._joined.setdefault(atom, atom)
        while self._joined[atom] != atom:
            self._joined[atom] = self._joined[self._joined[atom]]
            atom = self._joined[atom]
        return atom

    def _scores(self) -> set[Side]:
        """Outputs of the layers that nothing with weights comes behind."""
        nodes = self._graph.module2node.values()
        behind = [node for node in nodes if not node.outputs]
        found: set[Side] = set()
        seen = set()
        while behind:
            node = behind.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node.module, Convolution | nn.Linear):
                found.add((self._number[id(node.module)], "out"))
            else:
                behind += node.inputs
        return found

    def _group(
        self, path: str, channels: Sequence[Channel], taken: set[str]
    ) -> Iterator[ChannelSlice]:
        """The slices of channels that lie in the same layers.

        Args:
            taken: names that other groups have.
        """
        runs = list(_runs(channels))
        known = (self._other[atom] for atoms in channels for atom in atoms if atom in self._other)
        why = next(known, MIXED if len(runs) > MOST_RUNS else "")
        if why:
            runs = [channels]
        names = _names(path, len(runs), taken)
        for name, run in zip(names, runs, strict=True):
            n = len(run)
            if why:
                # Where they lie cannot be told; it is named, and stays as it is.
                yield ChannelSlice(name, n, n, path, "out", 0, 1, why)
                continue
            for side, start, repeat in _stretches(run[0]):
                yield ChannelSlice(name, n, n, self._paths[side[0]], side[1], start, repeat)


def _unfit(layer: nn.Module, path: str, side: str) -> str:
    """Why channels of a layer cannot be taken out one by one; empty where they can."""
    through = f"it goes through {path}, a "
    if isinstance(layer, Convolution) and layer.groups > 1 and length(layer, "out") is None:
        return f"{through}convolution in {layer.groups} groups, which mixes channels by position"
    if length(layer, side) is None:
        return f"{through}{type(layer).__name__}, whose channels cannot be taken out"
    return ""


def _names(path: str, count: int, taken: set[str]) -> Iterator[str]:
    """Names of the runs of a layer's channels: its path, and a number where there are several."""
    wanted = 0
    for _ in range(count):
        while True:
            name = path if count == 1 and wanted == 0 else f"{path}:{wanted}"
            wanted += 1
            if name not in taken:
                break
        yield name


def _runs(channels: Sequence[Channel]) -> Iterator[Sequence[Channel]]:
    """Stretches in which the positions go on evenly, on every side, from channel to channel."""
    begin, going = 0, None
    for i in range(1, len(channels)):
        steps = _steps(channels[i - 1], channels[i])
        if steps is None or (going is not None and steps != going):
            yield channels[begin:i]
            begin, going = i, None
        else:
            going = steps
    yield channels[begin:]


def _steps(one: Channel, other: Channel) -> tuple[int, ...] | None:
    """Positions from one channel to the next, by side; ``None`` where they are uneven."""
    found: list[int] = []
    for (_, here), (_, there) in zip(_by_side(one), _by_side(other), strict=True):
        steps = {b - a for a, b in zip(here, there, strict=True)}
        if steps != {1} and not (_is_block(here) and steps == {len(here)}):
            return None
        found += steps
    return tuple(found)


def _stretches(channel: Channel) -> Iterator[tuple[Side, int, int]]:
    """Side, first position and positions per channel of the slices of a run, by its first one."""
    for side, positions in _by_side(channel):
        if _is_block(positions):
            yield side, positions[0], len(positions)
        else:
            yield from ((side, position, 1) for position in positions)


def _is_block(positions: Sequence[int]) -> bool:
    return positions[-1] - positions[0] == len(positions) - 1


def _by_side(channel: Channel) -> list[tuple[Side, list[int]]]:
    return [
        (side, [position for _, position in atoms])
        for side, atoms in itertools.groupby(channel, key=lambda atom: atom[0])
    ]
