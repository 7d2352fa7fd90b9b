"""Networks of libraries and of the user's own, with channels taken out of them.

Such a spec has what the network was given as in `source` and a row for every axis of a layer that a
group of channels lies on. The network is made by its own code, and its layers are cut to the
numbers of channels in the rows: which channels went does not matter, as a checkpoint's tensors are
loaded over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from edgekit.core import Call, ModelSpec
from edgekit.errors import ModelError
from edgekit.models.callables import GIVEN, note_given, open_callable, was_named
from edgekit.models.calls import called_as, example_in
from edgekit.models.copying import own_copy
from edgekit.models.family import Family, typed_rows
from edgekit.models.libraries import LIBRARIES, open_library
from edgekit.models.purity import on_copies, pure
from edgekit.models.widths import REST, Axes, Width, name_axes
from edgekit.registry import is_composed

SIDES = ("out", "in")


@dataclass(frozen=True, slots=True)
class ChannelSlice:
    """A row: the channels of a group, as they lie on one side of a layer.

    Attributes:
        group: name of the group.
        channels: that the group has.
        of: that it has in the network as its own code makes it.
        layer: path of the module.
        side: ``out`` for its outputs (of norms and depthwise convolutions both sides), ``in``.
        start: position of the first channel on that side, before anything was taken out.
        repeat: positions of a channel; more than one behind a flattened image.
        frozen: why none can be taken out; empty where they can. Where its channels lie is not
            known then.
    """

    group: str
    channels: int
    of: int
    layer: str
    side: str
    start: int
    repeat: int = 1
    frozen: str = ""


def build(spec: ModelSpec) -> nn.Module:
    """The network with all channels that the spec has, each layer knowing its widths.

    It is made on the CPU whatever the default device: the code of others may compute with tensors.

    Raises:
        ModelError: its code may not be run, or makes another network than that of the spec.
        UnavailableError: a library that is not installed.
    """
    with torch.device("cpu"):
        module = own_copy(_whole(spec.source, spec.classes, spec.resolution, spec.call))
        layers = dict(module.named_modules())
        rows: dict[str, list[ChannelSlice]] = {}
        for row in typed_rows(spec, ChannelSlice):
            if not row.frozen:
                _check(spec, row, layers)
                rows.setdefault(row.layer, []).append(row)
        for path, layer in layers.items():
            _cut(layer, rows.get(path, ()))
    return module


def is_adapted(spec: ModelSpec) -> bool:
    """Whether a spec is of this kind."""
    return spec.family == FAMILY_NAME


def may_run(source: str) -> bool:
    """Whether what a file names may be made: a library's or a composed one, or what was named."""
    return is_composed(source) or source.partition(":")[0] in LIBRARIES or was_named(source)


def give(module: nn.Module, name: str) -> str:
    """Lets specs of this process be of a module that has no name; gives what they call it.

    Args:
        name: of the module, or what specs of it have called it before.
    """
    source = name if ":" in name else f"{GIVEN}{name}"
    note_given(source, own_copy(module))
    _whole.cache_clear()  # another module may have had the name
    return source


def needed_code(source: str, file: str = "FILE") -> str:
    """What has to be given besides a file of an adapted network, for messages."""
    if source.startswith(GIVEN):
        return (
            f"of a module that was given in Python: give that module again with weights='{file}', "
            f"or what makes it as package.module:callable={file}"
        )
    return f"of '{source}', which is code of your own: name it, too, as '{source}={file}'"


Convolution = nn.modules.conv._ConvNd
"""Of one, two or three axes, transposed ones as well."""


def out_axis(layer: nn.Module, tensor: Tensor) -> int:
    """The axis of a tensor of a layer that its outputs lie on."""
    return 1 if tensor.ndim > 1 and getattr(layer, "transposed", False) else 0


def length(layer: nn.Module, side: str) -> int | None:
    """Positions of a side of a layer; ``None`` where its channels cannot be taken out one by one.

    Those are layers of other kinds, and convolutions in groups other than one channel each.
    """
    tensor = layer._parameters.get("weight")
    if tensor is None and not isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return None  # the weight is computed from something else
    if isinstance(layer, Convolution):
        if layer.groups == 1:
            return layer.out_channels if side == "out" else layer.in_channels
        depthwise = layer.groups == layer.in_channels == layer.out_channels
        depthwise = depthwise and not layer.transposed
        return layer.out_channels if depthwise and side == "out" else None
    if isinstance(layer, nn.Linear):
        return layer.out_features if side == "out" else layer.in_features
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return layer.num_features if side == "out" else None
    if isinstance(layer, nn.PReLU):
        return layer.num_parameters if side == "out" and layer.num_parameters > 1 else None
    return None


def example_of(spec: ModelSpec) -> tuple[Tensor, ...]:
    """Inputs of one inference of any network, one an argument: a black image, or noise."""
    if spec.call is None:
        return (torch.zeros(1, 3, spec.resolution, spec.resolution),)
    return example_in(spec.call)


@lru_cache(maxsize=2)
def _whole(source: str, classes: int, side: int, call: Call | None) -> nn.Module:
    """The network as its code makes it, made once: a search cuts it hundreds of times.

    One that changes its input gets copies, as networks of a search share their images.
    """
    if not may_run(source):
        raise ModelError(f"it is {needed_code(source)}")
    # The same fresh weights and buffers every time.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if is_composed(source):
            return _composed(source, call)
        library = source.partition(":")[0] in LIBRARIES
        if call is not None and call.outputs:
            classes = call.classes
        made = open_library(source, classes or None).module if library else open_callable(source)
    if call is not None and call.outputs:
        return _of_tensors(made.eval(), call, source)
    shape = (3, side, side) if call is None else call.inputs[0].shape[1:]
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return pure(made.eval(), images, source).module


def _composed(source: str, call: Call | None) -> nn.Module:
    """A backbone with a head, for the images and classes of a call."""
    from edgekit.models.composed import compose  # which needs what needs this

    if call is None or not call.outputs or len(call.inputs[0].shape) != 4:
        raise ModelError(f"it says nothing of the images of '{source}': its spec is damaged")
    height, width = call.inputs[0].shape[2:]
    return compose(source, call.classes, (height, width))


def _of_tensors(made: nn.Module, call: Call, source: str) -> nn.Module:
    """A network as a function of tensors; that it is one was looked at when it was opened."""
    module = called_as(made, call, source)
    if any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            module(*example_in(call))
    return on_copies(module, source) if call.copies else module


def _check(spec: ModelSpec, row: ChannelSlice, layers: Mapping[str, nn.Module]) -> None:
    """Refuses a row that the network has no place for.

    Raises:
        ModelError: says which.
    """
    layer = layers.get(row.layer)
    size = None if layer is None or row.side not in SIDES else length(layer, row.side)
    numbers = (row.channels, row.of, row.start, row.repeat)
    if (
        size is None
        or not all(isinstance(n, int) for n in numbers)
        or not 1 <= row.channels <= row.of
        or row.repeat < 1
        or not 0 <= row.start <= size - row.of * row.repeat
    ):
        raise ModelError(
            f"'{spec.source}' has no layer '{row.layer}' with {row.of} channels of group "
            f"'{row.group}': its code makes another network than when the checkpoint was written"
        )


def _cut(layer: nn.Module, rows: Iterable[ChannelSlice]) -> None:
    """Takes channels out of a layer and tells it the widths of its axes."""
    widths: dict[str, tuple[Width, ...]] = {}
    for side in SIDES:
        here = sorted((p for p in rows if p.side == side), key=lambda row: row.start)
        size = length(layer, side)
        if here and size is not None:
            kept, widths[side] = _kept(here, size)
            _slice(layer, side, kept)
    name_axes(layer, {name: _axes(layer, tensor, widths) for name, tensor in _own(layer).items()})


def _kept(rows: Iterable[ChannelSlice], size: int) -> tuple[list[int], tuple[Width, ...]]:
    """Positions of a side that stay, and the widths that they are made of."""
    kept: list[int] = []
    widths: list[Width] = []
    at = 0
    for row in rows:
        if row.start < at:
            raise ModelError(f"groups overlap in layer '{row.layer}': its spec is damaged")
        if row.start > at:
            widths.append(Width(REST, row.start - at, free=False))
        kept += range(at, row.start + row.channels * row.repeat)
        widths.append(Width(row.group, row.channels, repeat=row.repeat))
        at = row.start + row.of * row.repeat
    if at < size:
        widths.append(Width(REST, size - at, free=False))
    return kept + list(range(at, size)), tuple(widths)


def _slice(layer: nn.Module, side: str, kept: list[int]) -> None:
    n, positions = len(kept), torch.tensor(kept)
    if n == length(layer, side):
        return
    if isinstance(layer, Convolution):
        if side == "out":
            layer.out_channels = n
        if side == "in" or layer.groups > 1:
            layer.in_channels = n
        if layer.groups > 1:
            layer.groups = n
    elif isinstance(layer, nn.Linear):
        setattr(layer, f"{side}_features", n)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = n
    else:
        assert isinstance(layer, nn.modules.batchnorm._BatchNorm)
        layer.num_features = n
    for name, tensor in _own(layer).items():
        axis = (out_axis(layer, tensor) + SIDES.index(side)) % 2
        if axis < tensor.ndim:
            value = tensor.detach().index_select(axis, positions)
            if isinstance(tensor, nn.Parameter):
                setattr(layer, name, nn.Parameter(value, tensor.requires_grad))
            else:
                setattr(layer, name, value)


def _own(layer: nn.Module) -> dict[str, Tensor]:
    """The tensors that a layer holds itself and that have axes."""
    own = {**layer._parameters, **layer._buffers}
    return {name: tensor for name, tensor in own.items() if tensor is not None and tensor.ndim}


def _axes(layer: nn.Module, tensor: Tensor, widths: Mapping[str, tuple[Width, ...]]) -> Axes:
    sides = SIDES[: tensor.ndim] if length(layer, "out") is not None else ()
    if out_axis(layer, tensor):
        sides = sides[::-1]
    found = tuple(widths.get(side) for side in sides)
    return found + (None,) * (tensor.ndim - len(found))


FAMILY_NAME = "adapted"
FAMILY = Family(variants={}, build=build, stride=lambda spec: 1)
