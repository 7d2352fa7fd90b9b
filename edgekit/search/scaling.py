"""Scaling of whole networks: the plain ways that a search has to beat.

Each method gives a row of ever smaller networks, numbered from 0, the network as it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edgekit.core import ModelSpec, Preprocessing
from edgekit.errors import UsageError
from edgekit.models import family_of
from edgekit.models.size import laid_out
from edgekit.search.groups import groups_of, resized

GRID = 8
"""Widths are multiples of it: runtimes are fast there, and up to four times slower between
(docs/search-method.md)."""

LEAST_SHARE = 0.125
"""No group gets narrower than this share of what it was."""

SIZES = 512
"""Networks of each method, of which the last one has all groups at `LEAST_SHARE`. Widths are
rounded, so many are equal; of 64, neighbours differed by up to 18 % in latency."""

_DEPTH, _WIDTH, _RESOLUTION = 1.2, 1.1, 1.15
"""EfficientNet's coefficients: one step of them doubles the work (arXiv:1905.11946, section 3.3).
Networks are made smaller here, by negative steps."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A network's layers and input, apart from its widths.

    Attributes:
        rows: numbers of the rows of its spec that stay.
        resolution: side of its images.
    """

    rows: tuple[int, ...]
    resolution: int


@dataclass(frozen=True, slots=True)
class Scaled:
    """A smaller network as a plan.

    Attributes:
        sizes: channels by group.
        outline: ``None`` where only widths change.
    """

    spec: ModelSpec
    sizes: Mapping[str, int]
    outline: Outline | None


def on_grid(channels: int, share: float) -> int:
    """Channels that are left of a group, a multiple of `GRID` unless it stays as it is."""
    if share >= 1:
        return channels
    least = max(GRID, round(channels * LEAST_SHARE / GRID) * GRID)
    return min(channels, max(least, round(channels * share / GRID) * GRID))


def least(channels: int) -> int:
    """The narrowest that a group may become."""
    return on_grid(channels, 0.0)


def scaled(
    method: str, spec: ModelSpec, channels: Mapping[str, int], size: int, seed: Sequence[int]
) -> Scaled:
    """A network of a method's row.

    Args:
        method: ``uniform``, ``random`` or ``compound``.
        channels: of the groups that may change.
        size: its number, from 0 to `SIZES` - 1.
        seed: of random shares.

    Raises:
        UsageError: the method cannot take this network.
    """
    part = size / (SIZES - 1)
    if method == "compound":
        return _compound(spec, -12.0 * part)
    if method == "uniform":
        exponents = np.ones(len(channels))
    else:
        exponents = np.random.default_rng(seed).uniform(0, 2, len(channels))
    sizes = {
        name: on_grid(n, LEAST_SHARE ** (part * float(exponent)))
        for (name, n), exponent in zip(channels.items(), exponents, strict=True)
    }
    sizes = {name: n for name, n in sizes.items() if n != channels[name]}
    return Scaled(resized(spec, sizes), sizes, None)


def _compound(spec: ModelSpec, phi: float) -> Scaled:
    if not any("stride" in row for row in spec.rows):
        raise UsageError(
            f"method compound needs rows that say what their blocks do; '{spec.name}' of family "
            f"{spec.family} has none"
        )
    smallest = family_of(spec).stride(spec)
    side = max(smallest, round(spec.resolution * _RESOLUTION**phi / 4) * 4)
    outline = Outline(_shallower(spec, _DEPTH**phi), min(side, spec.resolution))
    smaller = outline_spec(spec, outline)
    module = laid_out(smaller, family_of(smaller).build)
    sizes = {
        group.name: on_grid(group.channels, _WIDTH**phi)
        for group in groups_of(smaller, module)
        if group.frozen is None
    }
    widths = {group.name: group.channels for group in groups_of(smaller, module)}
    sizes = {name: n for name, n in sizes.items() if n != widths[name]}
    return Scaled(resized(smaller, sizes), sizes, outline)


def _shallower(spec: ModelSpec, depth: float) -> tuple[int, ...]:
    """Rows that stay: of each run of blocks that could be left out, the last ones go."""
    kept: list[int] = []
    run: list[int] = []
    channels = spec.stem
    for i, row in enumerate(spec.rows):
        out = row.get("out", channels)
        if not (row.get("stride") == 1 and out == channels):
            kept += _first(run, depth)
            run = []
        run.append(i)
        channels = out if isinstance(out, int) else channels
    return tuple(kept + _first(run, depth))


def _first(run: Sequence[int], depth: float) -> list[int]:
    # The first of a run changes channels or size, so it stays.
    return list(run[: max(1, math.ceil(len(run) * depth))])


def outline_spec(spec: ModelSpec, outline: Outline) -> ModelSpec:
    """The spec of a network with fewer rows and smaller images."""
    rows = tuple(spec.rows[i] for i in outline.rows)
    return dataclasses.replace(spec, rows=rows, resolution=outline.resolution)


def outlined(
    spec: ModelSpec, module: nn.Module, preprocessing: Preprocessing, outline: Outline
) -> tuple[ModelSpec, nn.Module, Preprocessing]:
    """The network with the outline; weights are inherited.

    Args:
        module: of ``spec``; stays as it is.
        preprocessing: how its images become inputs.
    """
    smaller = outline_spec(spec, outline)
    state: dict[str, torch.Tensor] = {}
    places = {old: new for new, old in enumerate(outline.rows)}
    for name, value in module.state_dict().items():
        steps = name.split(".")
        if steps[0] == "blocks":
            place = places.get(int(steps[1]))
            if place is None:
                continue
            steps[1] = str(place)
        state[".".join(steps)] = value.detach().clone()
    built = laid_out(smaller, family_of(smaller).build)
    built.load_state_dict(state, assign=True)
    return smaller, built.eval(), preprocessing.at(outline.resolution)
