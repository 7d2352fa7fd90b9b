"""State dicts of torchvision's networks with a head: the same networks under other names.

As in `edgekit.models.foreign`, names come from the rows of the backbone, and nothing is matched by
order or by shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgekit.core import ModelSpec
from edgekit.errors import CheckpointError
from edgekit.models.blocks import BottleneckRow
from edgekit.models.family import typed_rows
from edgekit.models.foreign import COUNTER, Names, conv_norm, torchvision_blocks, with_epsilon

AUXILIARY = "aux_classifier."
"""Of torchvision's DeepLabV3: a second head for the training, which gives nothing to the scores."""


PYTORCH_EPS = 1e-5
"""Of batch norms by default, and of torchvision's frozen ones."""


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """How torchvision names the layers of a head and of its backbone.

    Attributes:
        names: path of each layer of ours and of theirs.
        scores: path of a layer of ours whose outputs are of classes.
        columns: outputs of that layer for each class.
        more: classes that the layer has besides those of the network, such as the background.
        instead: heads with the same tensors that compute something else, which these weights are
            not of.
        older: layers that files of earlier versions call otherwise: that name, and today's.
        norm_eps: epsilon that the backbone's batch norms have there; ``None`` where it is the
            spec's.
    """

    names: Callable[[ModelSpec], Names]
    scores: str
    columns: int = 1
    more: int = 0
    instead: tuple[str, ...] = ()
    older: Mapping[str, str] = field(default_factory=dict)
    norm_eps: float | None = None

    def classes(self, state: Mapping[str, Tensor]) -> int | None:
        """That a state dict with our names is for."""
        weight = state.get(f"{self.scores}.weight")
        return None if weight is None else weight.shape[0] // self.columns - self.more


def _backbone(spec: ModelSpec) -> Names:
    """Layers in front of the pool, where torchvision takes them from a classifier by number."""
    for ours, theirs in torchvision_blocks(spec):
        if not ours.startswith("classifier."):
            yield f"backbone.{ours}", f"backbone.{theirs.removeprefix('features.')}"


def _lraspp(spec: ModelSpec) -> Names:
    yield from _backbone(spec)
    yield from conv_norm("reduce", "classifier.cbr.0", "classifier.cbr.1")
    yield "attend", "classifier.scale.1"
    yield "low", "classifier.low_classifier"
    yield "high", "classifier.high_classifier"


def _deeplabv3(spec: ModelSpec) -> Names:
    yield from _backbone(spec)
    pyramid = "classifier.0"
    yield from conv_norm("pyramid.point", f"{pyramid}.convs.0.0", f"{pyramid}.convs.0.1")
    for i in range(3):
        theirs = f"{pyramid}.convs.{i + 1}"
        yield from conv_norm(f"pyramid.atrous.{i}", f"{theirs}.0", f"{theirs}.1")
    yield from conv_norm("pyramid.pooled", f"{pyramid}.convs.4.1", f"{pyramid}.convs.4.2")
    yield from conv_norm("pyramid.project", f"{pyramid}.project.0", f"{pyramid}.project.1")
    yield from conv_norm("mix", "classifier.1", "classifier.2")
    yield "scores", "classifier.4"


def _ssdlite(spec: ModelSpec) -> Names:
    """The backbone is cut where the last stage begins, behind the expansion of that block."""
    rows = typed_rows(spec, BottleneckRow)
    cut = max(i for i, row in enumerate(rows) if row.stride > 1)
    for ours, theirs in torchvision_blocks(spec):
        if ours.startswith("classifier."):
            continue
        _, number, *rest = theirs.split(".")
        place = int(number) - 1  # of the block; the stem stands in front
        if place < cut:
            path = [f"0.{number}", *rest]
        elif place == cut:
            assert rest[0] == "block"
            path = [f"0.{number}", *rest[2:]] if rest[1] == "0" else ["1.0", *rest[1:]]
        else:
            path = [f"1.{place - cut}", *rest]
        yield f"backbone.{ours}", ".".join(["backbone.features", *path])
    for i in range(4):
        for k, part in enumerate(("reduce", "depthwise", "expand")):
            theirs = f"backbone.extra.{i}.{k}"
            yield from conv_norm(f"extra.{i}.{part}", f"{theirs}.0", f"{theirs}.1")
    for ours, kind in (("scores", "classification"), ("deltas", "regression")):
        for i in range(6):
            theirs = f"head.{kind}_head.module_list.{i}"
            yield from conv_norm(f"{ours}.{i}.depthwise", f"{theirs}.0.0", f"{theirs}.0.1")
            yield f"{ours}.{i}.predict", f"{theirs}.1"


def _fasterrcnn(spec: ModelSpec) -> Names:
    for ours, theirs in _backbone(spec):
        yield ours, theirs.replace("backbone.", "backbone.body.", 1)
    for i in range(2):
        yield f"pyramid.inner.{i}", f"backbone.fpn.inner_blocks.{i}.0"
        yield f"pyramid.layer.{i}", f"backbone.fpn.layer_blocks.{i}.0"
    yield "proposals.shared", "rpn.head.conv.0.0"
    yield "proposals.objectness", "rpn.head.cls_logits"
    yield "proposals.deltas", "rpn.head.bbox_pred"
    yield "hidden.first", "roi_heads.box_head.fc6"
    yield "hidden.second", "roi_heads.box_head.fc7"
    yield "scores", "roi_heads.box_predictor.cls_score"
    yield "deltas", "roi_heads.box_predictor.bbox_pred"


OLDER_PYRAMID = {
    "rpn.head.conv": "rpn.head.conv.0.0",
    **{
        f"backbone.fpn.{kind}_blocks.{i}": f"backbone.fpn.{kind}_blocks.{i}.0"
        for kind in ("inner", "layer")
        for i in range(2)
    },
}
"""Before torchvision 0.13, as the published files have them."""


LAYOUTS: Mapping[str, HeadLayout] = {
    "lraspp": HeadLayout(_lraspp, "low"),
    "deeplabv3-wide": HeadLayout(_deeplabv3, "scores", instead=("deeplabv3",)),
    "ssdlite-softmax": HeadLayout(_ssdlite, "scores.0.predict", columns=6, more=1),
    "fasterrcnn-fpn": HeadLayout(
        _fasterrcnn, "scores", more=1, older=OLDER_PYRAMID, norm_eps=PYTORCH_EPS
    ),
}
"""By head; of backbones that torchvision has in them, MobileNetV3."""

FAMILIES = ("mobilenetv3",)


def translated(
    head: str, spec: ModelSpec, state: Mapping[str, Tensor], origin: str
) -> tuple[Mapping[str, Tensor], int | None, tuple[str, ...]]:
    """A state dict with our names, where it has those of torchvision; else as it is.

    Args:
        head: key of the registry's table.
        spec: of the backbone.
        origin: where the tensors come from, for messages.

    Returns:
        The tensors; the number of classes that they are for, where that shows; and the names of
        tensors that were left out, as nothing in eval mode needs them.

    Raises:
        CheckpointError: they are of a head of the same tensors that computes something else.
    """
    for name, layout in LAYOUTS.items():
        if head != name and head not in layout.instead:
            continue
        left = tuple(key for key in state if key.startswith(AUXILIARY))
        kept = {_today(key, layout): value for key, value in state.items() if key not in left}
        if spec.family in FAMILIES and _layers(kept) == {t for _, t in layout.names(spec)}:
            if head != name:
                raise CheckpointError(
                    f"{origin} has the names of torchvision's network, which is that of "
                    f"'{spec.name}+{name}': the head '{head}' computes something else with them"
                )
            found = dict(_renamed(kept, {t: o for o, t in layout.names(spec)}))
            if layout.norm_eps is not None:
                found = with_epsilon(found, layout.norm_eps, spec.norm_eps)
            return found, layout.classes(found), left
        return state, layout.classes(state), ()
    return state, None, ()


def _today(name: str, layout: HeadLayout) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{layout.older.get(layer, layer)}.{kind}"


def _layers(state: Mapping[str, Tensor]) -> set[str]:
    return {name.rpartition(".")[0] for name in state}


def _renamed(state: Mapping[str, Tensor], ours: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Tensors by our names; counters of batches, which old files lack, are added."""
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        yield f"{ours[layer]}.{kind}", value
        counter = f"{layer}.{COUNTER}"
        if kind == "running_var" and counter not in state:
            yield f"{ours[layer]}.{COUNTER}", torch.zeros((), dtype=torch.int64)
