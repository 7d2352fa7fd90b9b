"""Records and protocols that every part of edgekit shares.

Records are frozen and survive a JSON round trip: ``from_json(T, to_json(x)) == x``. Each
quantity has one unit, and the unit stands in the name. Absence is ``None``, never 0.

This package needs the standard library and NumPy only, so that it can be imported anywhere: in
an exporter, in the agent on a device, in ``edgekit list``. All of it is imported from here:
`edgekit.core.records`, `edgekit.core.preprocessing`, `edgekit.core.interface` and
`edgekit.core.measurements` hold the records, `edgekit.core.plain` the way to JSON and back,
`edgekit.core.text` that to terminals and spreadsheets, `edgekit.core.protocols` the protocols,
`edgekit.core.forms` what forms are, `edgekit.core.runtimes` the way to import foreign packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.core.forms import PROCESSORS, Choice
from edgekit.core.interface import CLASSIFY, TENSORS, Example, Interface, classifier, of_image
from edgekit.core.measurements import (
    Block,
    DeviceProfile,
    EmbeddedOperator,
    Energy,
    Measurement,
    MeterRecord,
    OperatorTime,
    Reading,
    Simulation,
)
from edgekit.core.objects import IGNORE, Boxes
from edgekit.core.plain import FormError, canonical_json, from_json, to_json
from edgekit.core.preprocessing import Preprocessing, Side
from edgekit.core.protocols import (
    BoxSource,
    Convertible,
    Embedded,
    FolderFormat,
    ImageSource,
    Inspectable,
    LabelSource,
    Lowering,
    MaskSource,
    Meter,
    MeterKind,
    Profilable,
    Quantizing,
    Runner,
    Shapes,
    Simulator,
    Stock,
    Suppressing,
    Target,
    Transport,
)
from edgekit.core.reasons import ending, reason, reason_with_layer, with_kind
from edgekit.core.records import (
    BARE,
    DYNAMIC,
    FLOAT_SCHEMES,
    INT8,
    MIXED,
    NARROW,
    SCORES,
    SUPPRESSED,
    Agreement,
    Artifact,
    Call,
    Candidate,
    Decided,
    Draw,
    ModelSpec,
    OutputAgreement,
    Parameter,
    Row,
    Rung,
    Scalar,
    Scheme,
    Suppression,
    TensorSpec,
    Written,
    class_count,
    scores_fit,
)
from edgekit.core.runtimes import SILENCE, keep_silent, silent_import
from edgekit.core.text import printable, write_csv

if TYPE_CHECKING:
    from edgekit.core.protocols import Array as Array
    from edgekit.core.protocols import Pixels as Pixels

__all__ = [
    "BARE",
    "CLASSIFY",
    "DYNAMIC",
    "FLOAT_SCHEMES",
    "IGNORE",
    "INT8",
    "MIXED",
    "NARROW",
    "PROCESSORS",
    "SCORES",
    "SILENCE",
    "SUPPRESSED",
    "TENSORS",
    "Agreement",
    "Artifact",
    "Block",
    "BoxSource",
    "Boxes",
    "Call",
    "Candidate",
    "Choice",
    "Convertible",
    "Decided",
    "DeviceProfile",
    "Draw",
    "Embedded",
    "EmbeddedOperator",
    "Energy",
    "Example",
    "FolderFormat",
    "FormError",
    "ImageSource",
    "Inspectable",
    "Interface",
    "LabelSource",
    "Lowering",
    "MaskSource",
    "Measurement",
    "Meter",
    "MeterKind",
    "MeterRecord",
    "ModelSpec",
    "OperatorTime",
    "OutputAgreement",
    "Parameter",
    "Preprocessing",
    "Profilable",
    "Quantizing",
    "Reading",
    "Row",
    "Rung",
    "Runner",
    "Scalar",
    "Scheme",
    "Shapes",
    "Side",
    "Simulation",
    "Simulator",
    "Stock",
    "Suppressing",
    "Suppression",
    "Target",
    "TensorSpec",
    "Transport",
    "Written",
    "canonical_json",
    "class_count",
    "classifier",
    "ending",
    "from_json",
    "keep_silent",
    "of_image",
    "printable",
    "reason",
    "reason_with_layer",
    "scores_fit",
    "silent_import",
    "to_json",
    "with_kind",
    "write_csv",
]
