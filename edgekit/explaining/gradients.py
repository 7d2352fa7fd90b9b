"""Maps from gradients, by Captum: Grad-CAM and input saliency of networks in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.errors import ModelError, UnknownNameError
from edgekit.foreign import explained

if TYPE_CHECKING:
    from edgekit.inference import ModelClassifier
    from edgekit.tasks import Aim

LEAST_SIDE = 4
"""Smallest map that a layer is taken for by itself, in places: at 32 px the last map of most
networks is a single one, which says nothing of where."""

BACKBONE = ".backbone."
"""Paths of the layers of a network before its head, whose own layers hardly look around."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that gives a map.

    Attributes:
        path: in the network.
        size: (height, width) of its map.
    """

    path: str
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Ran:
    """A layer that has run: its output, a map or not."""

    path: str
    module: nn.Module
    output: Tensor | None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), if it is a map of more than one place with gradients."""
        one = self.output
        if one is None or one.ndim != 4 or not one.requires_grad or one.shape[2] * one.shape[3] < 2:
            return None
        return int(one.shape[2]), int(one.shape[3])


def saliency(
    classifier: ModelClassifier, prepared: NDArray[np.float32], aim: Aim
) -> NDArray[np.float32]:
    """The largest gradient of the score over the channels of each pixel, (height, width).

    Raises:
        ModelError: the network fails, or gives no gradient.
    """
    from captum.attr import Saliency

    given = _input(classifier, prepared)
    with _failures(classifier):
        if not _score(classifier, aim)(given).requires_grad:
            raise _no_gradient(classifier)
        found: Tensor = Saliency(_score(classifier, aim)).attribute(given, abs=True)
    values = found.detach().numpy().reshape(prepared.shape)
    axis = 0 if classifier.preprocessing.layout == "NCHW" else 2
    return np.ascontiguousarray(values.max(axis=axis), np.float32)


def grad_cam(
    classifier: ModelClassifier, prepared: NDArray[np.float32], aim: Aim, path: str | None
) -> tuple[NDArray[np.float32], Layer]:
    """Channels of a layer's map, weighted by their mean gradient, as large as the network's image.

    Args:
        path: of the layer; by default the last one whose map is as large as that of the last
            convolution with `LEAST_SIDE` places on each side that the score depends on.

    Raises:
        UnknownNameError: there is no such layer; suggests those that are like it.
        ModelError: it gives no map, the network has no convolution, fails, or gives no gradient.
    """
    from captum.attr import LayerGradCam

    with _failures(classifier):
        ran, score = _run(classifier, prepared, aim)
    chosen = _chosen(classifier, ran, score) if path is None else _named(classifier, ran, path)
    assert chosen.size is not None
    given = _input(classifier, prepared)
    with _failures(classifier):
        # Captum's own rectifier: what speaks against the class is left out, as published.
        found = LayerGradCam(_score(classifier, aim), chosen.module).attribute(
            given, relu_attributions=True
        )
    if isinstance(found, tuple):
        found = found[0]
    grown = nn.functional.interpolate(
        found.detach(), classifier.preprocessing.size, mode="bilinear", align_corners=False
    )
    return np.ascontiguousarray(grown[0, 0].numpy(), np.float32), Layer(chosen.path, chosen.size)


def _failures(classifier: ModelClassifier) -> AbstractContextManager[None]:
    return explained(lambda why: f"'{classifier.source}' fails where it is explained: {why}")


def _input(classifier: ModelClassifier, prepared: NDArray[np.float32]) -> Tensor:
    given = torch.from_numpy(classifier.given(prepared[None]).copy())
    return given.requires_grad_()


def _score(classifier: ModelClassifier, aim: Aim) -> Callable[[Tensor], Tensor]:
    """The one number of each image that is explained, as a function of the images."""
    weights = torch.from_numpy(aim.weights)

    def of(images: Tensor) -> Tensor:
        # Some networks write into their input, which gradients do not allow.
        rows: Tensor = classifier.module(images * 1)
        return (rows.reshape(len(images), -1) * weights.to(rows.dtype)).sum(1)

    return of


def _no_gradient(classifier: ModelClassifier) -> ModelError:
    return ModelError(
        f"'{classifier.source}' gives scores without gradients: its code cuts them off, with "
        f"torch.no_grad() or detach(); --method occlusion goes without"
    )


def _run(
    classifier: ModelClassifier, prepared: NDArray[np.float32], aim: Aim
) -> tuple[list[_Ran], Tensor]:
    """All layers in the order in which they end, and the score."""
    ran: list[_Ran] = []
    hooks = []

    def hook(path: str) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, _: object, output: object) -> None:
            ran.append(_Ran(path, module, output if isinstance(output, Tensor) else None))

        return keep

    for path, module in classifier.module.named_modules():
        if path and not isinstance(module, torch.jit.ScriptModule):
            hooks.append(module.register_forward_hook(hook(path)))
    try:
        with torch.enable_grad():
            given = _input(classifier, prepared)
            score = _score(classifier, aim)(given)
    finally:
        for one in hooks:
            one.remove()
    if not score.requires_grad:
        raise _no_gradient(classifier)
    return ran, score


def _chosen(classifier: ModelClassifier, ran: list[_Ran], score: Tensor) -> _Ran:
    """The layer that is taken where nobody names one; see `grad_cam`."""
    convolutions = [
        one for one in ran if isinstance(one.module, _CONVOLUTIONS) and one.size is not None
    ]
    inner = [one for one in convolutions if _of_backbone(one)]
    useful = _with_gradient(inner, score) or _with_gradient(convolutions, score)
    if not useful:
        raise ModelError(
            f"'{classifier.source}' has no convolution with a map of several places: "
            f"--method saliency and --method occlusion go without"
        )
    large = [one for one in useful if min(one.size or (0,)) >= LEAST_SIDE]
    if large:
        last = large[-1]
    else:
        most = max((h * w for one in useful for h, w in [one.size or (0, 0)]), default=0)
        last = [one for one in useful for h, w in [one.size or (0, 0)] if h * w == most][-1]
    assert last.output is not None
    shape = last.output.shape
    begin = next(i for i, one in enumerate(ran) if one is last)
    # Behind it the norm and activation, or the block that it is in, of the same shape.
    alike = [
        one
        for one in ran[begin:]
        if one.size is not None and one.output is not None and one.output.shape == shape
    ]
    if _of_backbone(last):
        alike = [one for one in alike if _of_backbone(one)]
    return _with_gradient(alike, score)[-1]


def _of_backbone(layer: _Ran) -> bool:
    return BACKBONE in f".{layer.path}."


def _with_gradient(layers: list[_Ran], score: Tensor) -> list[_Ran]:
    """Those whose map the score depends on."""
    maps = [one.output for one in layers if one.output is not None]
    if not maps:
        return []
    found = torch.autograd.grad(score.sum(), maps, retain_graph=True, allow_unused=True)
    return [
        one
        for one, gradient in zip(layers, found, strict=True)
        if gradient is not None and bool(gradient.any())
    ]


def _named(classifier: ModelClassifier, ran: list[_Ran], path: str) -> _Ran:
    """The layer of a path.

    Raises:
        UnknownNameError: there is none.
        ModelError: it is not run, or gives no map.
    """
    maps = list(dict.fromkeys(one.path for one in ran if one.size is not None))
    some = f"such as {', '.join(maps[-3:])}" if maps else "of which it has none"
    known = [name for name, _ in classifier.module.named_modules() if name]
    if path not in known:
        hint = f"expected the path of a layer with a map, {some}; see 'edgekit describe'"
        raise UnknownNameError("layer", path, maps, hint)
    found = [one for one in ran if one.path == path]
    if not found:
        raise ModelError(
            f"layer '{path}' of '{classifier.source}' is not run: expected one with a map, {some}"
        )
    if found[-1].size is None:
        one = found[-1].output
        what = "several tensors" if one is None else f"the shape {tuple(one.shape)}"
        raise ModelError(
            f"layer '{path}' of '{classifier.source}' gives {what}: expected a map of several "
            f"places, (1, channels, height, width), {some}"
        )
    return found[-1]
