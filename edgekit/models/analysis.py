"""Figures of a whole network: shares of its layers, receptive field, memory, intensity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from torch import Tensor, nn

from edgekit.models.count import Layer, layers_of
from edgekit.models.trace import Step, Trace, Window, trace

KINDS = ("depthwise", "pointwise", "convolution", "linear", "other")
"""Values of `Layer.kind`, in the order in which they are shown."""

# What takes in a whole map at once. Behind it there is no receptive field any more.
_GLOBAL = {
    "mean",
    "sum",
    "amax",
    "amin",
    "max",
    "min",
    "var",
    "std",
    "var_mean",
    "native_layer_norm",
}
_MIXING = {"addmm", "mm", "bmm", "baddbmm", "_softmax"}


@dataclass(frozen=True, slots=True)
class Totals:
    """Figures of a whole network for one image, in float32.

    Attributes:
        params: parameters of all layers that ran.
        macs: multiply-accumulates.
        layers: calls of layers.
        macs_share: by `Layer.kind`, from 0 to 1; ``None`` without any MACs.
        params_share: likewise.
        receptive_field_px: see `receptive_field`.
        weights_bytes: of the parameters.
        peak_activation_bytes: see `peak_activation`.
        peak_in_place_bytes: the same with norms, activations and additions done in place.
        moved_bytes: what all convolutions and linear layers read and write: inputs, parameters
            and outputs, each once per layer. Everything else counts as fused into them.
        intensity_macs_per_byte: ``macs / moved_bytes``; ``None`` where nothing is moved.
    """

    params: int
    macs: int
    layers: int
    macs_share: dict[str, float] | None
    params_share: dict[str, float] | None
    receptive_field_px: int | None
    weights_bytes: int
    peak_activation_bytes: int
    peak_in_place_bytes: int
    moved_bytes: int
    intensity_macs_per_byte: float | None


def analyze(module: nn.Module, *inputs: Tensor) -> tuple[list[Layer], Totals]:
    """The layers of a network and its totals, from one run.

    Args:
        module: takes the inputs, one an argument; left as it is.
    """
    run = trace(module, *inputs)
    layers = layers_of(module, run)
    macs, params = sum(layer.macs for layer in layers), sum(layer.params for layer in layers)
    moved = sum(layer.moved_bytes for layer in layers)
    return layers, Totals(
        params,
        macs,
        len(layers),
        _shares((layer.kind, layer.macs) for layer in layers),
        _shares((layer.kind, layer.params) for layer in layers),
        receptive_field(run),
        4 * params,
        peak_activation(run),
        peak_activation(run, in_place=True),
        moved,
        macs / moved if moved else None,
    )


def _shares(amounts: Iterable[tuple[str, int]]) -> dict[str, float] | None:
    by_kind: Counter[str] = Counter()
    for kind, amount in amounts:
        by_kind[kind] += amount
    total = by_kind.total()
    return {kind: by_kind[kind] / total for kind in KINDS} if total else None


@dataclass(frozen=True, slots=True)
class _Field:
    """What one value of a map sees: pixels of the image, and pixels from value to value."""

    size: tuple[float, ...] = (1.0, 1.0)
    step: tuple[float, ...] = (1.0, 1.0)

    def through(self, window: Window) -> _Field:
        """Behind a convolution or pooling."""
        kernel = window.kernel
        if window.transposed:  # stride values of the output lie between two of the input
            kernel = tuple(ceil(k / s) for k, s in zip(kernel, window.stride, strict=True))
        reach = ((k - 1) * d for k, d in zip(kernel, window.dilation, strict=True))
        size = tuple(f + r * j for f, r, j in zip(self.size, reach, self.step, strict=True))
        pairs = zip(self.step, window.stride, strict=True)
        return _Field(size, tuple(j / s if window.transposed else j * s for j, s in pairs))


def receptive_field(run: Trace) -> int | None:
    """Side of the square of pixels that one value of the last feature map depends on.

    It grows by (kernel - 1) x dilation x product of the strides before, for convolutions and
    poolings; where branches meet, the larger counts. Borders are left out: it may be larger than
    the image. What has passed a pooling over the whole map (squeeze-excite, the pooling before
    the classifier) is left out too, as it would see everything: this is the field of the
    convolutional trunk.

    Returns:
        Pixels, of the longer side where kernels are not square; ``None`` without convolutions
        and poolings over two axes.
    """
    fields = {number: _Field() for number in range(run.inputs)}
    last, convolves = None, False
    for step in run.steps:
        known = [fields[number] for number in step.reads if number in fields]
        field = None if _is_global(step) or not known else _joined(known)
        if field is not None and step.window is not None:
            # The first buffer is the input, another one a kernel that is computed.
            inner = fields.get(step.reads[0]) if len(step.window.kernel) == 2 else None
            field = inner.through(step.window) if inner else None
            convolves = convolves or field is not None
        elif field is not None and step.op.startswith("upsample"):
            field = _upsampled(field, step)
        for number in step.writes:
            if field is None:
                fields.pop(number, None)
            else:
                fields[number] = last = field
    return round(max(last.size)) if last is not None and convolves else None


def _joined(fields: Sequence[_Field]) -> _Field:
    return _Field(
        tuple(max(sides) for sides in zip(*(f.size for f in fields), strict=True)),
        tuple(max(steps) for steps in zip(*(f.step for f in fields), strict=True)),
    )


def _upsampled(field: _Field, step: Step) -> _Field:
    """Behind an enlargement, which reads two neighbours per axis unless it takes the nearest."""
    before, after = step.input_shape[2:], step.output_shape[2:]
    if len(before) != 2 or len(after) != 2:
        return field
    nearest = "nearest" in step.op
    size = (f + (0 if nearest else j) for f, j in zip(field.size, field.step, strict=True))
    scaled = (j * b / a for j, b, a in zip(field.step, before, after, strict=True))
    return _Field(tuple(size), tuple(scaled))


def _is_global(step: Step) -> bool:
    """Whether a step mixes values of the whole map."""
    if step.op in _MIXING or "attention" in step.op:
        return True
    before, after = step.input_shape[2:], step.output_shape[2:]
    if step.op in _GLOBAL:
        # Over channels alone it keeps the places of the map.
        kept = step.output_shape[-2:] == step.input_shape[-2:] and len(step.output_shape) > 2
        return not kept or set(before) == {1}
    if "adaptive" in step.op:
        return True
    pools = step.window is not None and step.op != "convolution"
    if not pools or step.window is None or set(after) != {1}:
        return False
    # Written out with the size of the map as its kernel.
    return step.window.kernel == tuple(before) and not any(step.window.padding)


def peak_activation(run: Trace, in_place: bool = False) -> int:
    """Most bytes of activations that are needed at the same time.

    Operations run in the order of the network's own code. A tensor, the image among them, lives
    from the step that writes it to the last step that reads it; the results live to the end.
    At each step all tensors that live are added up: what it reads, what it writes, and what later
    steps will read, such as the input of a residual block. Views share the memory of their
    source. Weights, and memory that an operation uses inside, are not counted.

    Args:
        in_place: let element-wise operations (batch norm, activations, additions, products)
            write over an input that nothing reads later, as runtimes with fused layers do.
    """
    steps = run.steps
    target = _overwritten(run) if in_place else {}
    size = run.sizes_bytes
    first = dict.fromkeys(range(run.inputs), 0)
    last: dict[int, int] = {}
    for i, step in enumerate(steps):
        for number in (*step.reads, *step.writes):
            place = target.get(number, number)
            first.setdefault(place, i)
        for number in step.reads:
            last[target.get(number, number)] = i
    for number in run.results:
        last[target.get(number, number)] = len(steps)
    changes: Counter[int] = Counter()
    for number, end in last.items():  # what nothing reads, as indices of a pooling, is left out
        changes[first[number]] += size[number]
        changes[end + 1] -= size[number]
    peak = living = 0
    for moment in sorted(changes):
        living += changes[moment]
        peak = max(peak, living)
    return peak


def _overwritten(run: Trace) -> dict[int, int]:
    """For each buffer that is written over another one, the latter."""
    last: dict[int, int] = dict.fromkeys(run.results, len(run.steps))
    for i, step in enumerate(run.steps):
        for number in step.reads:
            last[number] = max(i, last.get(number, i))
    target: dict[int, int] = {}
    for i, step in enumerate(run.steps):
        if not step.elementwise or not step.writes or step.writes[0] in step.reads:
            continue
        made = step.writes[0]
        for number in step.reads:
            same = run.sizes_bytes[number] == run.sizes_bytes[made]
            # Inputs belong to the caller.
            if number >= run.inputs and same and last[number] == i:
                target[made] = target.get(number, number)
                break
    return target
