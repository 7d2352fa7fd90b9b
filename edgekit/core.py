"""Records and protocols that every part of edgekit shares.

Records are frozen and survive a JSON round trip: ``from_json(T, to_json(x)) == x``. Each
quantity has one unit, and the unit stands in the name. Absence is ``None``, never 0.

This module needs the standard library and NumPy only, so that it can be imported anywhere: in
an exporter, in the agent on a device, in ``edgekit list``.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Union, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    Array = NDArray[np.generic]
    Pixels = NDArray[np.uint8]

Scalar = bool | int | float | str | None
Row = Mapping[str, Scalar]
"""One line of a network's table, as plain data; a family turns it into its own typed row."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A network as data: everything needed to build it, nothing about its weights.

    Attributes:
        name: canonical name with its width multiplier, such as ``mobilenetv2@0.75``.
        family: key of the registry's family table.
        rows: the body, one mapping per block; the family documents the columns.
        stem: output channels of the first convolution.
        head: output channels of the layers between body and classifier.
        act: activation of stem and head; key of `edgekit.models.blocks.ACTIVATIONS`.
        classes: outputs of the classifier.
        resolution: side of the square input in pixels.
        width: multiplier that the rows were computed with.
        norm_eps: epsilon of the batch norms.
        norm_momentum: share of a new batch in the running statistics, PyTorch's convention.
        padding: ``symmetric``, or ``same`` where the weights come from TensorFlow, whose strided
            convolutions pad an even image at its end only.
        dropout: probability before the classifier.
        drop_path: probability of leaving out the last residual branch (stochastic depth,
            arXiv:1603.09382); it falls linearly to 0 at the first.
        source: paper or file that the numbers come from.
    """

    name: str
    family: str
    rows: tuple[Row, ...]
    stem: int
    head: tuple[int, ...]
    act: str
    classes: int = 1000
    resolution: int = 224
    width: float = 1.0
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1
    padding: str = "symmetric"
    dropout: float = 0.0
    drop_path: float = 0.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes the network's input.

    The image is decoded to 8-bit RGB, its shorter side is resized to ``resize`` px (``None``: no
    resizing), the middle ``crop`` x ``crop`` px are cut out, channels are put in
    ``channel_order``, and each value becomes ``(value * scale - mean) / std``.

    Attributes:
        layout: ``NCHW`` or ``NHWC``, the axes of the finished array.
    """

    resize: int | None
    crop: int
    channel_order: str = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    layout: str = "NCHW"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How numbers are stored and computed in an artifact.

    Attributes:
        precision: the name users give: ``fp32``, ``fp16``.
        weights: storage type of the weights.
        activations: type of inputs, outputs and what flows between layers in the file.
        per_channel: whether weight scales are per output channel; ``None`` without scales.
        calibration: range estimation method; ``None`` without calibration.
        calibration_images: how many images the ranges come from.
        float_layers: layers that were kept in float.
    """

    precision: str
    weights: str
    activations: str
    per_channel: bool | None = None
    calibration: str | None = None
    calibration_images: int | None = None
    float_layers: tuple[str, ...] = ()


FLOAT_SCHEMES: Mapping[str, Scheme] = {
    "fp32": Scheme("fp32", weights="float32", activations="float32"),
    "fp16": Scheme("fp16", weights="float16", activations="float32"),
}
"""The schemes without scales, which every format has. ``fp16`` halves the file: a runtime on a CPU
widens the weights when it loads them, one with float16 units may compute in float16."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of an artifact.

    Attributes:
        shape: all axes, batch first.
        layout: ``NCHW``, ``NHWC``, or ``NC`` for class scores.
        scale: quantization step; ``None`` for float tensors.
        zero_point: integer that stands for 0.0; ``None`` for float tensors.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How closely an artifact's outputs follow the network's.

    Attributes:
        n: samples compared.
        sqnr_db: power of the reference's spread over samples against power of the difference.
        max_abs: largest absolute difference.
        max_rel: largest absolute difference over the standard deviation of the reference.
        cosine: mean cosine of centred outputs, per sample.
        top1_match: share of samples with the same arg max.
        passed: whether every bound of ``tolerance`` holds.
        tolerance: the bounds, by field name.
    """

    n: int
    sqnr_db: float
    max_abs: float
    max_rel: float
    cosine: float
    top1_match: float
    passed: bool
    tolerance: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Artifact:
    """An exported file and all that is needed to use and trust it: the contract.

    Attributes:
        path: file name of the model, relative to the contract's folder.
        sha256: digest of the artifact's files, concatenated in the target's order.
        size_bytes: size of all those files.
        spec: the network; ``None`` when it came from a callable.
        model: the words that named the network on export.
        parent_sha256: digest of the checkpoint it was made from; ``None`` without one.
        labels: class names by output index; ``None`` when unknown.
        data: the image source the network was trained on; ``None`` when untrained or unknown.
        trained: whether weights were given.
        lowerings: rewrites applied before export, in order.
        tools: versions of what wrote the file.
        agreement: result of the verification on export.
    """

    path: str
    target: str
    scheme: Scheme
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing
    model: str
    spec: ModelSpec | None = None
    labels: tuple[str, ...] | None = None
    data: str | None = None
    trained: bool = True
    parent_sha256: str | None = None
    lowerings: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    size_bytes: int | None = None
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """What an operator of an artifact takes, by the runtime's own profiler.

    Attributes:
        name: in the file; begins with the path of the module it comes from, where the format
            keeps that.
        kind: such as ``Conv``, as the runtime names it.
        ms: median over the profiled inferences.
    """

    name: str
    kind: str
    ms: float


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of one inference.

    Attributes:
        kind: ``measured``, ``estimated`` (never comparable with measured values), or
            ``unavailable``.
        meter: registry name of the meter.
        scope: what is metered: ``package``, ``gpu``, ``rail``, ``board``, ``device``, ``wall``.
        detail: zones, rails or labels that are summed up.
        mj_per_inference: what an inference adds to the energy of idling.
        gross_mj_per_inference: including the share of idling.
        idle_mw: power before the inferences.
        ci95: interval of ``mj_per_inference``, from windows.
        windows: number of them.
        model: how it was estimated.
        coefficients: of the estimate, each with its unit in its name.
        reason: why it is unavailable.
    """

    kind: str
    meter: str | None = None
    scope: str | None = None
    detail: str | None = None
    mj_per_inference: float | None = None
    gross_mj_per_inference: float | None = None
    idle_mw: float | None = None
    ci95: tuple[float, ...] | None = None
    windows: int | None = None
    model: str | None = None
    coefficients: Mapping[str, float] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Inferences in a row, and the reference network right behind them in the same process.

    Attributes:
        start_s: since the measurement began.
        instance: how often the artifact had been loaded before; where its memory lies differs.
        samples_ms: every inference, the first ones behind another network included.
        reference_ms: every run of the reference network.
    """

    start_s: float
    instance: int
    samples_ms: tuple[float, ...]
    reference_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """How fast an artifact ran on a device, as raw samples; statistics are derived from them.

    Attributes:
        artifact: the words that named it.
        sha256: digest of its files; ``None`` for networks in PyTorch.
        target: its format; ``pytorch`` for networks.
        device: name of the device profile.
        runtime: what ran it, with its version and mode.
        threads: of the runtime.
        batch: images of one inference.
        started: date and time in UTC, ISO 8601.
        blocks: in the order in which they were taken.
        load_ms: from the file to a runner, in a fresh process with the runtime imported.
        first_ms: the first inference behind that.
        peak_rss_mib: most memory of that process, over what it had before it loaded the file.
        size_bytes: of the artifact's files.
        environment: what could explain the numbers; keys have units.
        tools: versions.
        command: what repeats it.
        operators: time per operator, where asked for.
        stable: whether nothing that was watched disturbed it.
        reasons: what did.
    """

    artifact: str
    target: str
    device: str
    runtime: str
    threads: int
    batch: int
    started: str
    blocks: tuple[Block, ...]
    energy: Energy
    sha256: str | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_rss_mib: float | None = None
    size_bytes: int | None = None
    environment: Mapping[str, Scalar] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    operators: tuple[OperatorTime, ...] | None = None
    stable: bool = True
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """Declared facts about a device.

    Attributes:
        transport: URL of the way to it: ``local:``, ``ssh://host``, ``adb:serial``.
        sources: where each declared fact comes from, by field name.
    """

    name: str
    description: str
    transport: str
    soc: str | None = None
    isa: tuple[str, ...] = ()
    cores: int | None = None
    max_mhz: float | None = None
    ram_mib: int | None = None
    meter: str | None = None
    runtimes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


Record = TypeVar("Record")


def to_json(record: Any) -> Any:
    """Turns a record into plain JSON data; tuples become lists, paths become strings."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_json(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [to_json(value) for value in record]
    if isinstance(record, Path):
        return str(record)
    return record


def from_json(kind: type[Record], data: Any) -> Record:
    """Builds a record from plain JSON data, checking every name and type.

    Raises:
        ValueError: a key is missing, unknown, or holds a value of another type. The message
            names the key by its path.
    """
    return typing.cast(Record, _decode(kind, data, kind.__name__))


def canonical_json(data: Any) -> str:
    """JSON text that is the same for the same data: sorted keys, no spaces."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_record(kind, data, where)
    if origin in (Union, types.UnionType):
        return _decode_union(typing.get_args(kind), data, where)
    if origin is tuple:
        if not isinstance(data, list):
            raise ValueError(f"{where}: expected a list, found {type(data).__name__}")
        (item, *_) = typing.get_args(kind)
        return tuple(_decode(item, value, f"{where}[{i}]") for i, value in enumerate(data))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, dict):
            raise ValueError(f"{where}: expected an object, found {type(data).__name__}")
        item = typing.get_args(kind)[1]
        return {key: _decode(item, value, f"{where}.{key}") for key, value in data.items()}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise ValueError(f"{where}: expected {kind.__name__}, found {data!r}")
    return data


def _decode_record(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected an object, found {type(data).__name__}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise ValueError(f"{where}: unknown key '{unknown[0]}'")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise ValueError(f"{where}: key '{name}' is missing")
    values = {name: _decode(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    return kind(**values)


def _decode_union(kinds: Sequence[Any], data: Any, where: str) -> Any:
    if data is None and types.NoneType in kinds:
        return None
    choices = [kind for kind in kinds if kind is not types.NoneType]
    exact = [kind for kind in choices if type(data) is kind]
    problems = []
    for kind in exact or choices:
        try:
            return _decode(kind, data, where)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(problems[0] if problems else f"{where}: expected null, found {data!r}")


class Runner(Protocol):
    """A loaded artifact, ready to compute."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference.

        Args:
            inputs: one array per input tensor, in the order of `tensors`.

        Returns:
            One freshly owned array per output tensor, in the order of `tensors`.
        """

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs as the runtime reports them."""


@runtime_checkable
class Inspectable(Protocol):
    """A target that can show what flows between the layers of a file."""

    def activations(self, path: Path, inputs: Sequence[Array]) -> Iterator[tuple[str, Array]]:
        """Yields every float tensor that the artifact computes, with its name, in file order."""


class Target(Protocol):
    """A file format with its runtime.

    Attributes:
        name: key of the registry's target table.
        suffix: ending of the main file, with the dot.
        layout: axes of the image input in exported files.
        runtime: what runs the file, for people.
        schemes: what the format can hold, by precision name.
        packages: distributions whose versions belong into the contract.
    """

    name: str
    suffix: str
    layout: str
    runtime: str
    schemes: Mapping[str, Scheme]
    packages: tuple[str, ...]

    def export(
        self,
        model: nn.Module,
        example: Tensor,
        path: Path,
        scheme: Scheme,
        calibration: Sequence[Array] | None = None,
    ) -> Scheme:
        """Writes ``model`` to ``path``.

        Args:
            model: in eval mode, NCHW float input, class scores as output.
            example: an input of the exported shape, NCHW, batch 1.
            path: of the main file; companions lie beside it.
            calibration: inputs for range estimation, where the scheme needs them.

        Returns:
            What was written: ``scheme`` with what calibration and quantizer decided.
        """

    def open(self, path: Path, threads: int | None = None) -> Runner:
        """Loads an artifact; ``threads`` None leaves the choice to the runtime.

        Denormals stay as they are: the runtimes' switches flush them for the calling thread as
        well and never undo it, so that is for a process that only measures.
        """

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files of the artifact whose main file is ``path``, in digest order."""

    def embed(self, path: Path, text: str) -> None:
        """Stores ``text`` in the artifact's own metadata."""

    def extract(self, path: Path) -> str | None:
        """The text that `embed` stored, ``None`` where there is none."""


@runtime_checkable
class Profilable(Protocol):
    """A target whose runtime tells the time of each operator."""

    def operators(
        self, path: Path, inputs: Sequence[Array], *, threads: int | None, runs: int
    ) -> tuple[OperatorTime, ...]:
        """Times every operator of ``runs`` inferences, in the order of execution."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter showed.

    Attributes:
        time_s: of the reading, on the clock that `Meter` names.
        value: mJ since some beginning, or mW.
    """

    time_s: float
    value: float


class Meter(Protocol):
    """An open energy or power meter.

    Attributes:
        name: key of the registry's meter table.
        scope: see `Energy`.
        detail: zones, rails or labels that are summed up.
        quantity: ``energy`` for a counter in mJ, ``power`` for samples in mW.
        range_mj: value at which a counter begins again at 0; ``None`` if it never does, or if
            nobody tells.
        period_s: time between updates of the reading.
    """

    name: str
    scope: str
    detail: str
    quantity: str
    range_mj: float | None
    period_s: float

    def read(self) -> Sequence[Reading]:
        """All readings since the last call, oldest first; one for meters without a memory.

        Times are those of `time.monotonic`.

        Raises:
            MeterError: the meter cannot be read, or shows what cannot be.
        """

    def close(self) -> None:
        """Gives back what is open."""


class MeterKind(Protocol):
    """What the registry's meter table names: a kind of meter that a device may have."""

    def open(self, root: Path) -> Meter:
        """Opens the meter.

        Args:
            root: of the file system, ``/`` but in tests.

        Raises:
            UnavailableError: the device has none, or it must not be read; the message says what
                was looked for and what would help.
        """


class Lowering(Protocol):
    """A rewrite of a network before export, exact up to float rounding."""

    name: str

    def applies(self, model: nn.Module, target: str, scheme: Scheme) -> bool:
        """Whether the rewrite is meant for this network, target and scheme."""

    def rewrite(self, model: nn.Module, example: Tensor) -> nn.Module:
        """A rewritten copy; ``model`` stays as it is."""


class ImageSource(Protocol):
    """Labelled images with fixed splits.

    Attributes:
        name: the words that open it again.
        classes: class names by label.
        flippable: whether a mirrored image keeps its label.
        splits: names of the splits that it has.
        keeps_test: whether its test split is its own, rather than cut by edgekit from images
            that somebody may mean to use as a whole.
    """

    name: str
    classes: tuple[str, ...]
    flippable: bool
    splits: tuple[str, ...]
    keeps_test: bool

    def size(self, split: str) -> int:
        """Number of images in a split."""

    def label(self, split: str, index: int) -> int:
        """Label of one image."""

    def image(self, split: str, index: int) -> Pixels:
        """One image: 8-bit RGB, shape (height, width, 3)."""
