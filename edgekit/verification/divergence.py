"""Where an artifact starts to compute something else than the network.

Converters rename, fuse and reorder, so names do not tell which tensor of a file belongs to which
layer. Values do: the output of a layer is looked for among all tensors of the file that have its
shape (in either layout), as it is and behind the activations that formats fuse with it. Layers that
were fused away are found nowhere, but what comes after them is; past the point of divergence
nothing is found any more.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.core import Target, Written
from edgekit.models.copying import own_copy


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first layer whose output is in the file no more.

    Attributes:
        layer: module path in the network.
        kind: class of the module.
        sqnr_db: agreement of the closest tensor of the file with the layer's output; ``None``
            where no tensor has the shape.
        closest: name of that tensor; ``None`` where none has the shape.
        last_agreeing: the layer before it that is still found; ``None`` when none is.
        which: ``first diverging``, or ``noisiest`` for files of integers, which diverge everywhere.
    """

    layer: str
    kind: str
    sqnr_db: float | None
    closest: str | None
    last_agreeing: str | None
    which: str = "first diverging"

    def describe(self) -> str:
        """One clause for a message."""
        after = f" (after {self.last_agreeing})" if self.last_agreeing else ""
        return f"{self.which} layer: {self.layer} ({self.kind}){after}"


def first_divergence(
    module: nn.Module,
    image: Tensor,
    tensors: Iterable[tuple[str, NDArray[Any]]],
    least_db: float,
) -> Divergence | None:
    """Finds the layer after the last one whose output the file still has.

    Args:
        module: the network, in eval mode.
        image: one input, (1, 3, H, W).
        tensors: what the artifact computes for the same input, by name.
        least_db: a tensor of the file stands for a layer's output when it agrees so closely;
            unrelated tensors of the same shape agree to about 0 dB.

    Returns:
        ``None`` when the last layer agrees.
    """
    layers = layer_agreements(module, image, tensors, reorders=False)
    right = [i for i, layer in enumerate(layers) if (layer.sqnr_db or -np.inf) >= least_db]
    last = right[-1] if right else -1
    if last == len(layers) - 1:
        return None
    layer = layers[last + 1]
    return Divergence(
        layer.layer,
        layer.kind,
        layer.sqnr_db,
        layer.closest,
        layers[last].layer if right else None,
    )


@dataclass(frozen=True, slots=True)
class LayerAgreement:
    """How closely a file follows one layer of the network.

    Attributes:
        layer: module path in the network.
        kind: class of the module.
        sqnr_db: of the file's tensor that is closest to its output; ``None`` where none has the
            shape.
        closest: name of that tensor.
    """

    layer: str
    kind: str
    sqnr_db: float | None
    closest: str | None


def layer_agreements(
    module: nn.Module,
    image: Tensor,
    tensors: Iterable[tuple[str, NDArray[Any]]],
    *,
    reorders: bool = True,
) -> list[LayerAgreement]:
    """Every layer of a network, in order of computation.

    The output of a layer that was fused with the next one is not in the file; what is closest to
    it there agrees to next to nothing. `comparable` leaves such layers out.

    Args:
        module: and what follows, as of `first_divergence`.
        reorders: whether a right file may have channels in another order; such layers have no
            figures.
    """
    by_size: dict[int, list[tuple[str, NDArray[Any]]]] = {}
    for named in tensors:
        by_size.setdefault(named[1].size, []).append(named)
    found = []
    for path, kind, value in layer_outputs(module, image):
        alike = by_size.get(value.size, [])
        sqnr, name = _closest(value, alike)
        if sqnr < _AS_IT_IS_DB:
            for fused in _FUSED:
                behind = _closest(fused(value), alike)
                sqnr, name = max((sqnr, name), behind, key=lambda one: one[0])
        if reorders and sqnr < _REORDERED_DB and _is_reordered(value, name, alike):
            sqnr, name = -np.inf, None
        found.append(LayerAgreement(path, kind, sqnr if np.isfinite(sqnr) else None, name))
    return found


def averaged(images: Sequence[Sequence[LayerAgreement]]) -> list[LayerAgreement]:
    """The layers of several images as one: the mean of noise over signal of each layer.

    Args:
        images: what `layer_agreements` gives for each. The closest tensor is that of the first
            with one.
    """
    found = []
    for layers in zip(*images, strict=True):
        shares = [10 ** (-one.sqnr_db / 10) for one in layers if one.sqnr_db is not None]
        sqnr = -10 * float(np.log10(np.mean(shares))) if shares else None
        named = next((one for one in layers if one.closest is not None), layers[0])
        found.append(dataclasses.replace(named, sqnr_db=sqnr))
    return found


Fused = Callable[[NDArray[Any]], NDArray[Any]]

_FUSED: tuple[Fused, ...] = (lambda x: np.maximum(x, 0), lambda x: np.clip(x, 0, 6))
"""Activations that formats have inside of other operators: ReLU and ReLU6."""

_AS_IT_IS_DB = 60.0
"""From here on a tensor is a layer's output itself: none behind an activation is looked for."""

_REORDERED_DB = 15.0
"""Below, what is closest to a layer may be its own channels in another order."""

_REORDERED_GAIN_DB, _REORDERED_PLACES = 10.0, 9
"""What finding each channel by itself has to add for that, and the least places of a channel that
tell it from others."""

OWNED_DB = 10.0
"""A tensor that is closer to another layer by more than that is the other one's."""

VANISHING_DB = 30.0
"""Noise of a layer does not get less by more than that on its way: where a later layer is closer by
more, what was found for the layer is another tensor, and its own is not in the file."""


def comparable(layers: Sequence[LayerAgreement], folded: Collection[str]) -> list[LayerAgreement]:
    """The layers, without figures of those whose output is not in the file.

    Args:
        folded: paths of layers that a norm behind them was folded into.
    """
    found: list[LayerAgreement] = []
    later = -np.inf
    owned: dict[str | None, float] = {}
    for layer in layers:
        if layer.sqnr_db is not None:
            owned[layer.closest] = max(layer.sqnr_db, owned.get(layer.closest, -np.inf))
    for layer in reversed(layers):
        own = -np.inf if layer.sqnr_db is None else layer.sqnr_db
        least = max(later - VANISHING_DB, owned.get(layer.closest, -np.inf) - OWNED_DB)
        if layer.layer in folded or own < least:
            layer = dataclasses.replace(layer, sqnr_db=None, closest=None)
        later = max(later, own)
        found.append(layer)
    return found[::-1]


def folded_layers(module: nn.Module, image: Tensor) -> set[str]:
    """Paths of layers with weights whose output goes straight into a batch norm.

    Such norms are folded on export: the file has the norm's output, and not the layer's.
    """
    made: dict[int, tuple[str, Tensor]] = {}  # with the tensor, so that no other gets its number
    found = set()
    module = own_copy(module)

    def note(path: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and inputs and id(inputs[0]) in made:
            found.add(made[id(inputs[0])][0])
        elif isinstance(output, Tensor) and isinstance(layer, _FOLDABLE):
            made[id(output)] = (path, output)

    for path, layer in module.named_modules():
        layer.register_forward_hook(functools.partial(note, path))
    with torch.no_grad():
        module(image)
    return found


_FOLDABLE = (nn.modules.conv._ConvNd, nn.Linear)

FUSED_DB = 3.0
"""Below, the closest tensor has nothing to do with a layer: it was fused with another one."""


FAR_DB = 30.0
"""Below, a layer of integers is noisy enough to be looked at: a thousandth of its power."""


def first_far(layers: Sequence[LayerAgreement]) -> str | None:
    """Path of the first layer below `FAR_DB`, fused ones left out; ``None`` without one."""
    return next(
        (
            layer.layer
            for layer in layers
            if layer.sqnr_db is not None and FUSED_DB < layer.sqnr_db < FAR_DB
        ),
        None,
    )


def worst_layers(
    layers: Sequence[LayerAgreement], kinds: Sequence[str] = ("Conv2d", "Linear")
) -> list[str]:
    """Paths of layers with weights by the noise that each adds, the worst one first.

    What a layer is given is noisy already, and what follows it shows the noise of its output, where
    it was fused itself. So each is charged with the rise of noise over signal from the last layer
    before it to the first one from it on that are in the file.
    """
    noise = [
        10 ** (-layer.sqnr_db / 10)
        if layer.sqnr_db is not None and layer.sqnr_db > FUSED_DB
        else None
        for layer in layers
    ]
    rises = []
    for i, layer in enumerate(layers):
        if layer.kind not in kinds:
            continue
        before = next((n for n in reversed(noise[:i]) if n is not None), 0.0)
        after = next((n for n in noise[i:] if n is not None), None)
        if after is not None:
            rises.append((after - before, layer.layer))
    return list(dict.fromkeys(path for _, path in sorted(rises, reverse=True)))


def most_noise(layers: Sequence[LayerAgreement]) -> Divergence | None:
    """The layer that adds the most noise, as what a file of integers fails by."""
    worst = worst_layers(layers)
    if not worst:
        return None
    at = [layer.layer for layer in layers].index(worst[0])
    found = [one.layer for one in layers[:at] if one.sqnr_db is not None]
    one = layers[at]
    return Divergence(
        one.layer, one.kind, one.sqnr_db, one.closest, found[-1] if found else None, "noisiest"
    )


def advice(worst: Sequence[str], target: Target, scheme: Written) -> str:
    """What to do about a file of integers that is too noisy, as a clause of a message.

    Args:
        worst: paths of layers by the noise that each adds.
        target: of the file; only what it has is advised.
    """
    ways = [] if scheme.calibration is None else ["more calibration images"]
    others = ("w8a16",) if worst else ("int8-mixed", "w8a16")
    named = [name for name in others if name in target.schemes and name != scheme.precision]
    ways += [f"--precision {name}" for name in named]
    if not worst:
        return f"try {' or '.join(ways or ['--max-drop POINTS'])}"
    layers = worst[:LAYERS_TOLD]
    text = f"most noise is added by {', '.join(layers)}: keep them in float with --float-layers "
    return " or ".join([text + ",".join(layers), *(f"try {way}" for way in ways)])


LAYERS_TOLD = 3
"""Layers that a message names."""


def layer_outputs(module: nn.Module, image: Tensor) -> list[tuple[str, str, NDArray[Any]]]:
    """Path, class and output of every layer without children, in order of computation.

    Layers that hand their input through (identities, dropout) are left out.
    """
    outputs: list[tuple[str, str, NDArray[Any]]] = []
    module = own_copy(module)
    for path, layer in module.named_modules():
        if any(True for _ in layer.children()) or isinstance(layer, nn.Identity | nn.Dropout):
            continue

        def record(layer: nn.Module, _: Any, output: Any, path: str = path) -> None:
            if isinstance(output, Tensor):
                outputs.append((path, type(layer).__name__, output.numpy().copy()))

        layer.register_forward_hook(record)
    with torch.no_grad():
        module(image)
    return outputs


def _closest(
    value: NDArray[Any], candidates: Iterable[tuple[str, NDArray[Any]]]
) -> tuple[float, str | None]:
    best: tuple[float, str | None] = (-np.inf, None)
    for name, candidate in candidates:
        for arranged in _arrangements(candidate, value.shape):
            sqnr = _sqnr_db(value, arranged)
            if sqnr > best[0]:
                best = (sqnr, name)
    return best


def _is_reordered(
    value: NDArray[Any], name: str | None, candidates: Iterable[tuple[str, NDArray[Any]]]
) -> bool:
    """Whether a tensor of the file has the channels of a layer's output in another order.

    Lowerings reorder channels where what follows takes them in any order. Number by number, such
    tensors agree to a few dB, since channels of one map are alike.
    """
    if value.ndim != 4 or value[0, 0].size < _REORDERED_PLACES:
        return False
    channels = value[0].reshape(value.shape[1], -1).astype(np.float64)
    for candidate in (tensor for other, tensor in candidates if other == name):
        for arranged in _arrangements(candidate, value.shape):
            given = arranged[0].reshape(len(channels), -1).astype(np.float64)
            squares = (channels**2).sum(1)[:, None] + (given**2).sum(1) - 2 * channels @ given.T
            nearest = given[squares.argmin(1)]
            gain = _sqnr_db(channels, nearest) - _sqnr_db(channels, given)
            if gain > _REORDERED_GAIN_DB:
                return True
    return False


def _arrangements(tensor: NDArray[Any], shape: tuple[int, ...]) -> Iterable[NDArray[Any]]:
    """The tensor as it is, and from NHWC to NCHW, where that gives the shape."""
    if tensor.shape == shape:
        yield tensor
    if tensor.ndim == len(shape) == 4:
        moved = tensor.transpose(0, 3, 1, 2)
        if moved.shape == shape:
            yield moved
    elif tensor.ndim != len(shape):  # (1, C, 1, 1) against (1, C)
        yield tensor.reshape(shape)


def _sqnr_db(reference: NDArray[Any], outputs: NDArray[Any]) -> float:
    reference = reference.astype(np.float64)
    signal = float((reference**2).mean())
    noise = float(((reference - outputs) ** 2).mean())
    if noise == 0 or signal == 0:
        return 200.0 if noise == 0 else -np.inf
    return 10 * float(np.log10(signal / noise))
