"""State dicts of torchvision and timm: the same networks under other names.

A layout gives, for a spec, the name that a library has for each layer of ours. It is worked out
from the rows of the spec, so it holds for every width and depth. Nothing is matched by order or by
shape: a file whose names are not exactly those of a layout is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.core import ModelSpec
from edgekit.core.text import counted_words
from edgekit.errors import CheckpointError
from edgekit.models.blocks import BottleneckRow
from edgekit.models.family import typed_rows

Names = Iterator[tuple[str, str]]
"""Path of a layer of ours and of theirs."""

COUNTER = "num_batches_tracked"
SCORES = "classifier.scores"
OURS = ("stem.conv", "stem.conv.conv", SCORES)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a library names the layers of a family.

    Attributes:
        library: ``torchvision`` or ``timm``.
        names: all layers of a spec.
        norm_eps: epsilon that the library's batch norms have, where it is not the spec's.
    """

    library: str
    names: Callable[[ModelSpec], Names]
    norm_eps: Callable[[ModelSpec], float] = lambda spec: spec.norm_eps


def timm_eps(spec: ModelSpec) -> float:
    """Timm's default, but TensorFlow's in networks with TensorFlow's padding."""
    return 1e-3 if spec.padding == "same" else 1e-5


def detect(
    state: Mapping[str, Tensor], spec: ModelSpec, layouts: tuple[Layout, ...], origin: str
) -> Layout | None:
    """The layout that a state dict has; ``None`` for edgekit's own names.

    Raises:
        CheckpointError: names of a library, but not all of them, or more; or other names.
    """
    present = {name.rpartition(".")[0] for name in state}
    if not present.isdisjoint(OURS):
        return None
    nearest, theirs = None, set[str]()
    for layout in layouts:
        expected = {name for _, name in layout.names(spec)}
        if expected == present:
            return layout
        if len(expected & present) > len(theirs & present):
            nearest, theirs = layout, expected
    # A single name, such as 'bn1', is in many networks of any kind.
    if nearest is None or 2 * len(theirs & present) < min(len(theirs), len(present)):
        raise CheckpointError(_other_names(state, spec, layouts, origin))
    missing, extra = sorted(theirs - present), sorted(present - theirs)
    problems = []
    if missing:
        problems.append(
            f"{counted_words(len(missing), 'layer is', 'layers are')} missing, the first is "
            f"'{missing[0]}'"
        )
    if extra:
        problems.append(f"{len(extra)} have no place in it, the first is '{extra[0]}'")
    raise CheckpointError(
        f"{origin} has names as {nearest.library} has, but does not fit {spec.name}: "
        + "; ".join(problems)
    )


def _other_names(
    state: Mapping[str, Tensor], spec: ModelSpec, layouts: tuple[Layout, ...], origin: str
) -> str:
    firsts = [("edgekit", OURS[0])]
    for layout in layouts:
        firsts += [(layout.library, theirs) for _, theirs in layout.names(spec)][:1]
    known = ", ".join(f"{library}'s ('{layer}.weight', ...)" for library, layer in firsts)
    return (
        f"{origin} does not fit {spec.name}: its first tensor is '{next(iter(state))}', expected "
        f"the names of a network of this family: {known}"
    )


def scores_of(state: Mapping[str, Tensor], spec: ModelSpec, layouts: tuple[Layout, ...]) -> int:
    """Outputs of the network that a state dict is of; the spec's where nothing tells."""
    for layout in (None, *layouts):
        name = SCORES if layout is None else dict(layout.names(spec)).get(SCORES)
        weight = state.get(f"{name}.weight")
        if weight is not None and weight.ndim:
            return max(2, weight.shape[0])
    return spec.classes


def translated(state: Mapping[str, Tensor], spec: ModelSpec, layout: Layout) -> dict[str, Tensor]:
    """The same tensors under the names of ours.

    Counters of batches, which old files lack and nothing reads, are added where they are
    missing.
    """
    ours = {theirs: name for name, theirs in layout.names(spec)}
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        # timm writes the layers behind the pool as 1x1 convolutions.
        linear = ours[layer].startswith("classifier.") and value.ndim == 4
        tensors[f"{ours[layer]}.{kind}"] = value.flatten(1) if linear else value
        if kind == "running_var":
            tensors.setdefault(f"{ours[layer]}.{COUNTER}", torch.zeros((), dtype=torch.int64))
    tensors.update(
        (f"{ours[layer]}.{COUNTER}", value)
        for name, value in state.items()
        for layer, _, kind in [name.rpartition(".")]
        if kind == COUNTER
    )
    return tensors


def with_epsilon(state: Mapping[str, Tensor], theirs: float, ours: float) -> dict[str, Tensor]:
    """Tensors that compute the same with batch norms of another epsilon, in eval mode.

    Weights of norms are scaled, so that nothing but the tensors has to know of it.

    Args:
        theirs: epsilon that the tensors were trained with.
        ours: of the network that they go into.
    """
    found = dict(state)
    for name, spread in state.items():
        layer, _, kind = name.rpartition(".")
        weight = state.get(f"{layer}.weight")
        if kind != "running_var" or weight is None or theirs == ours:
            continue
        more = ((spread.double() + ours) / (spread.double() + theirs)).sqrt()
        found[f"{layer}.weight"] = (weight.double() * more).to(weight.dtype)
    return found


def parts(row: BottleneckRow) -> list[str]:
    """Names of the parts of a block of ours, in order."""
    whole = row.fused and row.expand is None
    has = {
        "start": row.start is not None,
        "expand": row.expand is not None,
        "depthwise": row.kernel is not None and not row.fused and not whole,
        "squeeze": row.squeeze is not None,
        "project": True,
    }
    return [name for name, there in has.items() if there]


def stages(labels: list[str]) -> Iterator[tuple[int, int]]:
    """Stage and place in it of each block, where a new label opens a stage."""
    stage, place = -1, 0
    for i, label in enumerate(labels):
        if i == 0 or label != labels[i - 1]:
            stage, place = stage + 1, 0
        yield stage, place
        place += 1


def by_stride(strides: list[int]) -> list[str]:
    """Labels for `stages` where every stride opens a stage."""
    labels, stage = [], 0
    for stride in strides:
        stage += stride > 1
        labels.append(str(stage))
    return labels


def conv_norm(ours: str, conv: str, norm: str) -> Names:
    """A convolution and its batch norm."""
    yield f"{ours}.conv", conv
    yield f"{ours}.norm", norm


def torchvision_blocks(spec: ModelSpec) -> Names:
    """The ``block.k`` layout of torchvision's MobileNetV3 and EfficientNet."""
    rows = typed_rows(spec, BottleneckRow)
    v3 = spec.family == "mobilenetv3"
    places = list(stages([str(i) if v3 else row.stage for i, row in enumerate(rows)]))
    yield from conv_norm("stem", "features.0.0", "features.0.1")
    for i, (row, (stage, place)) in enumerate(zip(rows, places, strict=True)):
        theirs = f"features.{stage + 1}" + ("" if v3 else f".{place}") + ".block"
        for k, part in enumerate(parts(row)):
            if part == "squeeze":
                yield f"blocks.{i}.squeeze.reduce", f"{theirs}.{k}.fc1"
                yield f"blocks.{i}.squeeze.expand", f"{theirs}.{k}.fc2"
            else:
                yield from conv_norm(f"blocks.{i}.{part}", f"{theirs}.{k}.0", f"{theirs}.{k}.1")
    last = f"features.{places[-1][0] + 2}"
    yield from conv_norm("head", f"{last}.0", f"{last}.1")
    if v3:
        yield "classifier.hidden", "classifier.0"
    yield SCORES, "classifier.3" if v3 else "classifier.1"


def torchvision_mobilenetv2(spec: ModelSpec) -> Names:
    """The ``conv.k`` layout of torchvision's MobileNetV2."""
    rows = typed_rows(spec, BottleneckRow)
    yield from conv_norm("stem", "features.0.0", "features.0.1")
    for i, row in enumerate(rows):
        theirs = f"features.{i + 1}.conv"
        *inner, last = parts(row)
        for k, part in enumerate(inner):
            yield from conv_norm(f"blocks.{i}.{part}", f"{theirs}.{k}.0", f"{theirs}.{k}.1")
        k = len(inner)
        yield from conv_norm(f"blocks.{i}.{last}", f"{theirs}.{k}", f"{theirs}.{k + 1}")
    head = f"features.{len(rows) + 1}"
    yield from conv_norm("head", f"{head}.0", f"{head}.1")
    yield SCORES, "classifier.1"


def torchvision_mnasnet(spec: ModelSpec) -> Names:
    """The ``layers.k`` layout of torchvision's MNASNet, whose first block lies flat in it.

    torchvision has B1 only; a network with squeeze-excite has no names there.
    """
    rows = typed_rows(spec, BottleneckRow)
    if any(row.squeeze is not None for row in rows):
        return
    places = list(stages([row.stage for row in rows]))
    yield from conv_norm("stem", "layers.0", "layers.1")
    for i, (row, (stage, place)) in enumerate(zip(rows, places, strict=True)):
        theirs, first = ("layers", 3) if stage == 0 else (f"layers.{7 + stage}.{place}.layers", 0)
        for k, part in enumerate(parts(row)):
            at = first + 3 * k
            yield from conv_norm(f"blocks.{i}.{part}", f"{theirs}.{at}", f"{theirs}.{at + 1}")
    last = 8 + places[-1][0]
    yield from conv_norm("head", f"layers.{last}", f"layers.{last + 1}")
    yield SCORES, "classifier.1"


def timm_blocks(spec: ModelSpec) -> Names:
    """The layout of all of timm's networks that are made of inverted residuals."""
    rows = typed_rows(spec, BottleneckRow)
    universal = spec.family == "mobilenetv4"
    labels = by_stride([r.stride for r in rows]) if universal else [r.stage for r in rows]
    places = list(stages(labels))
    yield from conv_norm("stem", "conv_stem", "bn1")
    for i, (row, (stage, place)) in enumerate(zip(rows, places, strict=True)):
        yield from _timm_block(f"blocks.{i}", f"blocks.{stage}.{place}", row, universal)
    if len(spec.head) == 1:
        yield from conv_norm("head", "conv_head", "bn2")
    else:
        last = f"blocks.{places[-1][0] + 1}.0"
        yield from conv_norm("head", f"{last}.conv", f"{last}.bn1")
        if universal:
            yield from conv_norm("neck", "conv_head", "norm_head")
        else:
            yield "classifier.hidden", "conv_head"
    yield SCORES, "classifier"


_UNIVERSAL = {
    "start": "dw_start",
    "expand": "pw_exp",
    "depthwise": "dw_mid",
    "project": "pw_proj",
}


def _timm_block(ours: str, theirs: str, row: BottleneckRow, universal: bool) -> Names:
    if universal and not row.fused:
        for part in parts(row):
            name = f"{theirs}.{_UNIVERSAL[part]}"
            yield from conv_norm(f"{ours}.{part}", f"{name}.conv", f"{name}.bn")
        return
    expands = row.expand is not None
    if row.fused:
        convs = {"expand": "conv_exp", "project": "conv_pwl" if expands else "conv"}
    else:
        last = "conv_pwl" if expands else "conv_pw"
        convs = {"expand": "conv_pw", "depthwise": "conv_dw", "project": last}
    number = 0
    for part in parts(row):
        if part == "squeeze":
            yield f"{ours}.squeeze.reduce", f"{theirs}.se.conv_reduce"
            yield f"{ours}.squeeze.expand", f"{theirs}.se.conv_expand"
        else:
            number += 1
            yield from conv_norm(
                f"{ours}.{part}", f"{theirs}.{convs[part]}", f"{theirs}.bn{number}"
            )


TORCHVISION_BLOCKS = Layout("torchvision", torchvision_blocks)
TIMM_BLOCKS = Layout("timm", timm_blocks, timm_eps)
