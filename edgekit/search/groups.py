"""Which channels of a network can be taken out together, and the network without them.

A group is a named width: all channels of one name go together, in every layer that carries it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec, reason_with_layer
from edgekit.core.reasons import PASSING
from edgekit.errors import ModelError
from edgekit.models import family_of
from edgekit.models.adapted import ChannelSlice, Convolution, is_adapted, out_axis
from edgekit.models.copying import own_copy
from edgekit.models.family import typed_rows
from edgekit.models.size import laid_out
from edgekit.models.widths import REST, Axes, axes_of, named_axes
from edgekit.search.inputs import ON_IMAGES, Running
from edgekit.tasks.agreement import is_float

FIXED = ("image", "classes", REST)
"""Widths that the task gives, or that have no name."""

EXACTNESS = 1e-4
"""Largest relative difference between zeroing channels and taking them out."""

CRITERIA = ("l2", "taylor", "norm")
"""How channels are ranked: by the norm of their filters (arXiv:1804.03230, section 3.2), by the
first-order effect on the loss (arXiv:1611.06440), or by the scales of their batch norms
(arXiv:1708.06519)."""

Kept = Mapping[str, Sequence[int]]
"""Positions of the channels that stay, ascending, by the name of their width."""


@dataclass(frozen=True, slots=True)
class Group:
    """Channels of one name.

    Attributes:
        layers: paths of the modules that carry them, in or out.
        frozen: why none can be taken out; ``None`` where they can.
    """

    name: str
    channels: int
    layers: tuple[str, ...]
    frozen: str | None = None


def groups_of(spec: ModelSpec, module: nn.Module) -> tuple[Group, ...]:
    """The groups of a network, in the order of its layers."""
    if is_adapted(spec):
        return _discovered(spec)
    layers: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    bound: set[str] = set()
    for path, _, axes in named_axes(module):
        for width in (width for axis in axes for width in axis or ()):
            owner = path.rpartition(".")[0]
            if owner not in layers.setdefault(width.name, []):
                layers[width.name].append(owner)
            sizes[width.name] = width.n
            if not width.free:
                bound.add(width.name)
    sizes = {name: n for name, n in sizes.items() if name not in FIXED}
    free = {name: 2 * n for name, n in sizes.items() if name not in bound}
    others = widths_of(resized(spec, free))
    if any(others.get(name) != free.get(name, n) for name, n in sizes.items()):
        # Something follows another width: whose change changes more than itself stays as it is.
        alone = {name: widths_of(resized(spec, {name: n})) for name, n in free.items()}
        others = {
            name: widths[name]
            for name, widths in alone.items()
            if sum(widths.get(other) != n for other, n in sizes.items()) == 1
        }
    groups = []
    for name, n in sizes.items():
        why = None
        if name in bound:
            why = "a channel shuffle or a grouped convolution mixes its channels by position"
        elif others.get(name) != 2 * n:
            why = f"family {spec.family} has no place for another number of them alone"
        groups.append(Group(name, n, tuple(layers[name]), why))
    return tuple(groups)


def _discovered(spec: ModelSpec) -> tuple[Group, ...]:
    """The groups of a network that is not of the zoo: its rows."""
    rows: dict[str, list[ChannelSlice]] = {}
    for row in typed_rows(spec, ChannelSlice):
        rows.setdefault(row.group, []).append(row)
    return tuple(
        Group(
            name,
            slices[0].channels,
            tuple(dict.fromkeys(row.layer for row in slices)),
            slices[0].frozen or None,
        )
        for name, slices in rows.items()
    )


def widths_of(spec: ModelSpec) -> dict[str, int]:
    """Channels of every named width of a network, without building its weights."""
    module = laid_out(spec, family_of(spec).build)
    every = {
        width.name: width.n
        for _, _, axes in named_axes(module)
        for axis in axes
        for width in axis or ()
    }
    return {name: n for name, n in every.items() if name not in FIXED}


def resized(spec: ModelSpec, sizes: Mapping[str, int]) -> ModelSpec:
    """A spec with other numbers of channels.

    The names say where they stand: ``stem``, ``head`` and ``hidden`` are the network's own,
    ``block3.expand`` is column ``expand`` of row 3, and ``stage2.out`` column ``out`` of all rows
    of that stage. In networks that are not of the zoo they are the names of groups. Names that it
    has no place for change nothing.
    """
    if is_adapted(spec):
        changed = tuple(
            {**row, "channels": sizes.get(str(row["group"]), row["channels"])} for row in spec.rows
        )
        return dataclasses.replace(spec, rows=changed)
    stem, head = spec.stem, list(spec.head)
    rows: list[dict[str, Any]] = [dict(row) for row in spec.rows]
    for name, n in sizes.items():
        if name == "stem":
            stem = n
        elif name in ("head", "hidden") and len(head) > (name == "hidden"):
            head[name == "hidden"] = n
        else:
            owner, _, column = name.rpartition(".")
            for i, row in enumerate(rows):
                if owner in (f"block{i}", row.get("stage")) and column in row:
                    row[column] = n
    out = stem
    for row in rows:  # what is added to its input has the input's channels
        if row.get("residual"):
            row["out"] = out
        out = row.get("out", out)
    return dataclasses.replace(spec, stem=stem, head=tuple(head), rows=tuple(rows))


def shrunk(spec: ModelSpec, module: nn.Module, kept: Kept) -> tuple[ModelSpec, nn.Module]:
    """The network without the channels that are not kept; weights are inherited.

    Args:
        module: of ``spec``; stays as it is.

    Returns:
        The smaller network's spec, and it, freshly built around the tensors that are left.

    Raises:
        ModelError: a group that the spec has no place for.
    """
    smaller = resized(spec, {name: len(stay) for name, stay in kept.items()})
    built = laid_out(smaller, family_of(smaller).build)
    state = {name: value.detach().clone() for name, value in module.state_dict().items()}
    for path, tensor, axes in named_axes(module):
        value = tensor.detach()
        for axis in range(value.ndim):
            stay = _positions(axes, axis, kept)
            if stay is not None:
                value = value.index_select(axis, stay.to(value.device))
        state[path] = value
    try:
        built.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ModelError(
            f"'{spec.name}' has no place for {', '.join(kept)}: {str(error).splitlines()[-1]}"
        ) from error
    return smaller, built.train(module.training)


def zeroed(module: nn.Module, kept: Kept) -> nn.Module:
    """A copy in which no layer gives anything on the channels that are not kept."""
    module = own_copy(module)
    with torch.no_grad():
        for path, tensor, axes in named_axes(module):
            axis = out_axis(module.get_submodule(path.rpartition(".")[0]), tensor)
            stay = _positions(axes, axis, kept)
            if stay is not None and path.endswith((".weight", ".bias")):
                gone = torch.ones(tensor.shape[axis], dtype=torch.bool)
                gone[stay] = False
                tensor.index_fill_(axis, gone.nonzero().flatten(), 0)
    return module


def _positions(axes: Axes, axis: int, kept: Kept) -> Tensor | None:
    """Positions of an axis that stay; ``None`` for all of them."""
    widths = axes[axis]
    if widths is None or all(width.name not in kept for width in widths):
        return None
    positions: list[int] = []
    offset = 0
    for width in widths:
        for i in kept.get(width.name, range(width.n)):
            first = offset + i * width.repeat
            positions += range(first, first + width.repeat)
        offset += width.n * width.repeat
    return torch.tensor(positions)


@torch.no_grad()
def checked(
    spec: ModelSpec, module: nn.Module, images: Tensor, run: Running = ON_IMAGES
) -> tuple[Group, ...]:
    """The groups of a network, those frozen that cannot be taken out by name.

    From each group half of the channels, which follow no pattern, are zeroed in one copy and taken
    out in another, which must give the same outputs.

    Args:
        images: as the network takes them: normalized, (N, 3, H, W), or rows of inputs.
        run: how it does.
    """
    module, images = _precise(own_copy(module).eval(), images, run)
    order = torch.Generator().manual_seed(0)
    found = []
    for group in groups_of(spec, module):
        if group.frozen is None:
            stay = torch.randperm(group.channels, generator=order)[: (group.channels + 1) // 2]
            kept = {group.name: sorted(stay.tolist())}
            expected = run(zeroed(module, kept), images)
            try:
                scores = run(shrunk(spec, module, kept)[1].to(images.dtype), images)
                if scores.shape != expected.shape:
                    raise ModelError(f"the scores have shape {tuple(scores.shape)} then")
            except PASSING:
                raise
            except BaseException as error:  # the user's code may raise anything
                why = f"the network does not run without some of them: {reason_with_layer(error)}"
                group = dataclasses.replace(group, frozen=why)
            else:
                off = max(_off(a, b) for a, b in _by_output(run, scores, expected))
                if not off <= EXACTNESS:
                    why = f"taking channels out differs from zeroing them by {off:.1e}"
                    group = dataclasses.replace(group, frozen=why)
        found.append(group)
    return tuple(found)


def _by_output(run: Running, outputs: Tensor, expected: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Outputs of floats, each by itself: one of small numbers would not show beside others."""
    if run.interface is None:
        return [(outputs, expected)]
    columns = run.interface.columns
    names = [spec.name for spec in run.interface.outputs if is_float(spec)]
    return [(outputs[:, columns[name]], expected[:, columns[name]]) for name in names]


def _off(outputs: Tensor, expected: Tensor) -> float:
    """Their difference, relative."""
    return float((outputs - expected).norm() / expected.norm().clamp(min=1e-30))


def _precise(module: nn.Module, images: Tensor, run: Running) -> tuple[nn.Module, Tensor]:
    """Both in double precision, but for code that needs single."""
    try:
        double = own_copy(module).double()
        run(double, images.double())
    except PASSING:
        raise
    except BaseException:  # it runs in single precision all the same
        return module, images
    return double, images.double()


def importances(
    module: nn.Module,
    criterion: str,
    effect: Callable[[nn.Module], Tensor] | None = None,
) -> dict[str, Tensor]:
    """How much each channel matters, by the name of its width.

    Layers that make channels of the same name add up, each in units of its own mean, so that one
    order holds for all of them.

    Args:
        criterion: one of `CRITERIA`.
        effect: for ``taylor``, what a network comes to that channels have a part in, such as its
            loss on some images.

    Returns:
        Of every width one value per channel, larger for channels that should stay.
    """
    if criterion == "taylor":
        assert effect is not None
        module = own_copy(module).eval()
        torch.autograd.backward(effect(module))
    # Other people's layers may have neither a norm nor a bias: their filters tell, then.
    return {**_added(module, criterion, lone=True), **_added(module, criterion)}


def _added(module: nn.Module, criterion: str, *, lone: bool = False) -> dict[str, Tensor]:
    importances: dict[str, Tensor] = {}
    for layer in module.modules():
        axes, weight = (axes_of(layer) or {}).get("weight"), layer._parameters.get("weight")
        if axes is None or weight is None or (widths := axes[out_axis(layer, weight)]) is None:
            continue
        if isinstance(layer, nn.BatchNorm2d):
            values = _of_norm(layer, criterion)
        elif isinstance(layer, Convolution | nn.Linear):
            values = _of_filters(layer, criterion, lone or layer.bias is not None)
        else:
            continue
        if values is None:
            continue
        parts = torch.split(values.detach(), [width.n * width.repeat for width in widths])
        for width, part in zip(widths, parts, strict=True):
            if width.name not in FIXED:
                own = part.view(width.n, width.repeat).sum(1)
                share = own / own.mean().clamp(min=1e-30)
                importances[width.name] = (
                    importances.get(width.name, torch.zeros_like(share)) + share
                )
    return importances


def _of_norm(norm: nn.BatchNorm2d, criterion: str) -> Tensor | None:
    if criterion == "norm":
        return norm.weight.abs()
    if criterion == "taylor" and norm.weight.grad is not None and norm.bias.grad is not None:
        # What the loss changes by, to first order, if the channel is gone.
        return (norm.weight * norm.weight.grad + norm.bias * norm.bias.grad).abs()
    return None


def _of_filters(layer: nn.Module, criterion: str, lone: bool) -> Tensor | None:
    """Values of a layer's filters.

    Args:
        lone: there is no norm behind it, as with those that have a bias: squeeze-excite, the
            classifier's hidden layer.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)

    def filtered(values: Tensor) -> Tensor:
        return values.movedim(out_axis(layer, values), 0).flatten(1)

    if criterion == "l2" or (criterion == "norm" and lone):
        return filtered(weight).square().sum(1).sqrt()
    if criterion == "taylor" and lone and weight.grad is not None:
        return (filtered(weight) * filtered(weight.grad)).sum(1).abs()
    return None


def most_important(values: Tensor, count: int) -> list[int]:
    """Positions of the ``count`` largest values, ascending; of equal ones the first."""
    order = torch.sort(values, descending=True, stable=True).indices[:count]
    return sorted(int(i) for i in order)
