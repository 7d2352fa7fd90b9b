"""Records of networks and of the artifacts made from them.

They travel to devices with an agent, whose Python may be one that knows no slots: no record of
`edgekit.core` has any.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Mapping, Tuple, Union

from edgekit.core.plain import SPARSE
from edgekit.core.preprocessing import Preprocessing

if TYPE_CHECKING:
    from typing import Self

Scalar = Union[bool, int, float, str, None]
Row = Mapping[str, Scalar]
"""One line of a network's table, as plain data; a family turns it into its own typed row."""


@dataclass(frozen=True)
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
        call: what the network takes and gives; ``None`` where that is a square image of three
            channels and scores of classes.
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
    call: Call | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class Scheme:
    """How numbers are to be stored and computed in an artifact; `Written` says how they are.

    Attributes:
        precision: the name users give: ``fp32``, ``int8``.
        weights: storage type of the weights.
        activations: type of what flows between layers in the file.
        per_channel: whether weight scales are per output channel; ``None`` without scales.
        calibration: range estimation method; ``None`` without calibration.
        float_layers: paths of modules that stay in float.
        interface: ``float``, or ``int8`` where inputs and outputs are integers with a scale.
        forms: which of several equal forms to write, by switch of the target.
        isa: the processors that the target chose these forms for, see `edgekit.core.PROCESSORS`;
            ``None`` where it makes no difference, or somebody else chose.
    """

    precision: str
    weights: str
    activations: str
    per_channel: bool | None = None
    calibration: str | None = None
    float_layers: tuple[str, ...] = ()
    interface: str = "float"
    forms: Mapping[str, str] = field(default_factory=dict)
    isa: str | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class Decided:
    """What a target decided while it wrote a file.

    Attributes:
        activations: type of what flows between layers in the file.
        forms: which of several equal forms were written, by switch of the target; ``None`` where
            they are as the scheme asked.
    """

    activations: str
    forms: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Written:
    """How numbers are stored and computed in an artifact: a `Scheme`, and what came of it.

    Attributes:
        calibration_images: how many images the ranges come from.
        calibration_data: where those images come from.
        trained_epochs: of quantization-aware training that the weights had since the checkpoint;
            ``None`` where they are the checkpoint's.
        isa: the processors that the target chose the forms for, see `edgekit.core.PROCESSORS`;
            ``None`` where it makes no difference, somebody else chose, or nobody noted it.
    """

    precision: str
    weights: str
    activations: str
    per_channel: bool | None = None
    calibration: str | None = None
    calibration_images: int | None = None
    calibration_data: str | None = None
    float_layers: tuple[str, ...] = ()
    interface: str = "float"
    forms: Mapping[str, str] = field(default_factory=dict)
    trained_epochs: int | None = None
    isa: str | None = field(default=None, metadata=SPARSE)

    @classmethod
    def of(
        cls,
        scheme: Scheme,
        decided: Decided,
        *,
        calibration_images: int | None = None,
        calibration_data: str | None = None,
        trained_epochs: int | None = None,
    ) -> Self:
        """What was written for a scheme.

        Args:
            decided: what the target chose itself.
        """
        return cls(
            precision=scheme.precision,
            weights=scheme.weights,
            activations=decided.activations,
            per_channel=scheme.per_channel,
            calibration=scheme.calibration,
            calibration_images=calibration_images,
            calibration_data=calibration_data,
            float_layers=scheme.float_layers,
            interface=scheme.interface,
            forms=scheme.forms if decided.forms is None else decided.forms,
            trained_epochs=trained_epochs,
            isa=scheme.isa,
        )


FLOAT_SCHEMES: Mapping[str, Scheme] = {
    "fp32": Scheme("fp32", weights="float32", activations="float32"),
    "fp16": Scheme("fp16", weights="float16", activations="float32"),
}
"""The schemes without scales, which every format has. ``fp16`` halves the file: a runtime on a CPU
widens the weights when it loads them, one with float16 units may compute in float16."""

NARROW = 32
"""Channels up to which convolutions take longer in integers than in float32, which is what the
form ``stem=narrow`` is about: few of them fill no vector, let alone a tile of a processor that
multiplies matrices."""

INT8 = Scheme("int8", "int8", "int8", per_channel=True, calibration="minmax")
"""Weights and activations of 8 bits, with ranges from images."""

MIXED = replace(INT8, precision="int8-mixed")
"""The same, but for chosen layers, which compute in float."""

DYNAMIC = Scheme("int8-dynamic", "int8", "float32", per_channel=True)
"""Weights of 8 bits; the runtime finds the range of each activation anew for every image."""


@dataclass(frozen=True)
class Draw:
    """What noise is like that stands for an input.

    Attributes:
        mean: of floats, which are drawn from a normal distribution.
        spread: its standard deviation.
        values: of integers, which are drawn from these.
    """

    mean: float
    spread: float
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of an artifact.

    Attributes:
        shape: all axes, batch first.
        layout: ``NCHW`` or ``NHWC`` for images, ``NC`` for class scores; empty for tensors whose
            axes mean what the network's code makes of them.
        scale: quantization step; ``None`` for float tensors.
        zero_point: integer that stands for 0.0; ``None`` for float tensors.
        role: what it means to the task, such as ``image`` or ``scores``; empty where nobody said.
        draw: what noise for an input is like that is no image of a classifier; ``None`` of all
            others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    scale: float | None = None
    zero_point: int | None = None
    role: str = ""
    draw: Draw | None = None


@dataclass(frozen=True)
class Call:
    """What a network takes and gives, and how its code wants that, as plain data.

    Attributes:
        inputs: of one inference, in the order of its arguments.
        outputs: of one inference, those that are kept; none of classifiers.
        arguments: JSON text of what the code takes the tensors in, where that is more than one
            argument each; see `edgekit.models.arguments.written`.
        kept: numbers of the outputs among all that the code gives; none where it gives them as
            they are.
        copies: whether it writes into its inputs, so that it is given copies.
        classes: that a library's network is made with; 0 for its own number.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    arguments: str = ""
    kept: tuple[int, ...] = ()
    copies: bool = False
    classes: int = 0


@dataclass(frozen=True)
class OutputAgreement:
    """How closely one output of an artifact follows that of the network.

    Attributes:
        sqnr_db: see `Agreement`; ``None`` for integers.
        match: share of the values that are equal, of integers; ``None`` for floats.
        passed: whether its bound holds.
        part: of an output that the network puts together from several tensors the one that the
            figures are of, the worst: ``2 of 2``; empty of others.
    """

    name: str
    sqnr_db: float | None
    match: float | None
    passed: bool
    part: str = ""


@dataclass(frozen=True)
class Agreement:
    """How closely an artifact's outputs follow the network's.

    Attributes:
        n: samples compared.
        left_out: further samples, on which float32 itself is not reproducible.
        inexact: why float64 could not tell which; ``None`` where it could, or was not needed.
        sqnr_db: power of the reference's spread over samples against power of the difference.
        max_abs: largest absolute difference.
        max_rel: largest absolute difference over the standard deviation of the reference.
        cosine: mean cosine of centred outputs, per sample.
        top1_match: share of samples with the same arg max; ``None`` where outputs are no scores.
        passed: whether every bound of ``tolerance`` holds.
        tolerance: the bounds, by field name.
        outputs: each output by itself, where they are no class scores; the figures above are those
            of the worst one then.
    """

    n: int
    sqnr_db: float
    max_abs: float
    max_rel: float
    cosine: float
    top1_match: float | None
    passed: bool
    tolerance: Mapping[str, float]
    left_out: int = 0
    inexact: str | None = None
    outputs: tuple[OutputAgreement, ...] = ()


@dataclass(frozen=True)
class Rung:
    """One try to reach an accuracy with integers; see `edgekit.quantize.ladder`.

    Attributes:
        name: what was done.
        top1: of a classifier on held-out images, a fraction; ``None`` where no file could be made.
        drop_points: points of the headline figure below the float network's.
        latency_ms: p50 of a short measurement by itself, to see the order of magnitude.
        passed: whether the drop is within the bound.
        error: why no file could be made.
        headline: the figure of the task that the drop is one of, a fraction; ``None`` in contracts
            that had only top-1.
    """

    name: str
    top1: float | None
    drop_points: float | None
    size_bytes: int | None
    latency_ms: float | None
    passed: bool
    error: str | None = None
    headline: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to write a file, measured against the one that was the fastest so far.

    Attributes:
        precision: of the file; the last candidate of integers is the float file.
        forms: values by switch of the target; see `edgekit.core.Quantizing`.
        sha256: of the file before the contract was put into it, so that equal networks have equal
            ones; ``None`` where none could be made.
        ratio: latency over that of the fastest one before it, measured in turns; ``None`` for the
            first one.
        verdict: ``faster``, ``slower``, ``indistinguishable``, ``first``, or why it was dropped.
    """

    precision: str
    forms: Mapping[str, str]
    sha256: str | None
    verdict: str
    ratio: float | None = None
    ci95: tuple[float, ...] = ()


SCORES = ("logits", "probabilities", "sigmoid")
"""What class scores can be; see `edgekit.data.scores`."""


def scores_fit(kind: str, columns: int) -> bool:
    """Whether so many outputs may be of a kind of `SCORES`."""
    return kind in SCORES and (kind != "probabilities" or columns > 1)


def class_count(columns: int) -> int:
    """How many classes so many outputs tell apart."""
    return max(2, columns)


SUPPRESSED = ("boxes", "scores", "classes", "count")
"""Outputs of a file with `Suppression`, float32: corners (1, n, 4) in pixels of its input, the
highest score first; scores and classes (1, n); how many of the n places hold objects, (1,). The
others hold zeros."""

BARE = SUPPRESSED[:2]
"""Outputs of a detector's file without it: every box, and its scores of all classes."""

Parameter = Union[str, float, Tuple[str, ...], Tuple[float, ...]]
"""Of a task: a word, a number, or several of them."""


@dataclass(frozen=True)
class Suppression:
    """Non-maximum suppression inside a file of a detector.

    Attributes:
        classes: that the network tells apart.
        score_threshold: least score of an object, from 0 to 1.
        nms_iou: overlap above which the lower of two boxes of a class goes, from 0 to 1.
        max_detections: objects of an image at most, as many as the file's outputs have places.
        candidates: pairs of box and class that are looked at, those of the highest scores.
    """

    classes: int
    score_threshold: float
    nms_iou: float
    max_detections: int
    candidates: int


@dataclass(frozen=True)
class Artifact:
    """An exported file and all that is needed to use and trust it: the contract.

    Attributes:
        path: file name of the model, relative to the contract's folder.
        sha256: digest of the artifact's files, concatenated in the target's order.
        size_bytes: size of all those files.
        preprocessing: how images become its input; ``None`` where its inputs are no images, or
            nobody said.
        spec: the network; ``None`` when it came from a callable.
        model: the source of the network, as it was given on export.
        parent_sha256: digest of the checkpoint it was made from; ``None`` without one.
        labels: class names by output index; ``None`` when unknown.
        data: the image source the network was trained on; ``None`` when untrained or unknown.
        trained: whether weights were given.
        scores: what the outputs of a classifier are, of `SCORES`; ``None`` for other tasks.
        task: what the outputs are for; key of the registry's task table.
        parameters: what its task has to know of this network besides, by name.
        lowerings: rewrites applied before export, in order.
        tools: versions of what wrote the file.
        ladder: what was tried to keep the accuracy, where a bound was asked for.
        tuning: what was measured to choose the forms of ``scheme``.
        float_operators: kinds of what the runtime computes in float in a file of integers.
        agreement: result of the verification on export.
        dynamic_batch: whether the file takes any batch: the first size of its inputs and outputs,
            which are told for 1.
        baked: how the network's images are prepared, where the file does all of it that changes
            values and axes itself: ``preprocessing`` is what is left then, and its input takes
            bytes. ``None`` for other files.
        suppression: of a detector's boxes, where it is part of the file; its outputs are then
            `SUPPRESSED`. ``None`` for other files.
    """

    path: str
    target: str
    scheme: Written
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    model: str
    spec: ModelSpec | None = None
    labels: tuple[str, ...] | None = None
    data: str | None = None
    trained: bool = True
    scores: str | None = "logits"
    task: str = "classify"
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    parent_sha256: str | None = None
    lowerings: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    ladder: tuple[Rung, ...] = ()
    tuning: tuple[Candidate, ...] = ()
    float_operators: tuple[str, ...] = ()
    sha256: str | None = None
    size_bytes: int | None = None
    agreement: Agreement | None = None
    dynamic_batch: bool = False
    baked: Preprocessing | None = field(default=None, metadata=SPARSE)
    suppression: Suppression | None = field(default=None, metadata=SPARSE)
