"""TensorFlow Lite files, written by edgekit's own converter or litert-torch, run by LiteRT.

Images are NHWC, as mobile apps feed them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.core import (
    DYNAMIC,
    FLOAT_SCHEMES,
    INT8,
    MIXED,
    Choice,
    Decided,
    Example,
    Scheme,
    Suppression,
)
from edgekit.core.reading import open_file
from exporters.tflite.flatbuffer import metadata_of, pack, schema, unpack
from exporters.tflite.image_bytes import with_fast_bytes
from exporters.tflite.lowering import STEMS
from exporters.tflite.opener import TfliteOpener
from exporters.tflite.outside import check_inside
from exporters.tflite.quantizer import RANGES, float_operators, quantize, stem_of
from exporters.tflite.runtime import content_of, parsing
from exporters.tflite.suppression import suppress, unsuppress

if TYPE_CHECKING:
    from torch import nn

    from edgekit.core import Array

KEY = "edgekit.contract"


def _own(model: nn.Module, example: Example, scheme: Scheme) -> bytes:
    from exporters.tflite.converter import convert
    from exporters.tflite.lowering import Forms

    return convert(model, example, Forms(**scheme.forms), half=scheme.weights == "float16")


def _litert_torch(model: nn.Module, example: Example, scheme: Scheme) -> bytes:
    from exporters.tflite.litert import convert

    return convert(model, example, half=scheme.weights == "float16")


CONVERTERS: dict[str, Callable[[nn.Module, Example, Scheme], bytes]] = {
    "edgekit": _own,
    "litert-torch": _litert_torch,
}

FORMS: Mapping[str, tuple[str, ...]] = {
    "hardswish": ("native", "clamp"),
    "mean": ("mean", "pool"),
    "pointwise": ("conv", "dense"),
    "grouped": ("native", "split"),
    "stem": ("int8", *STEMS),
}
"""Values of `exporters.tflite.lowering.Forms`, the default one first."""


_SHORTER = dict(itertools.pairwise((*STEMS, "int8")))
"""What is tried instead of a form ``stem`` that would leave most of the weights in float."""


def _with_stem(scheme: Scheme, stem: str) -> Scheme:
    """The scheme of a network that begins in another way, where there is a choice."""
    if "stem" not in scheme.forms:
        return scheme
    return replace(scheme, forms={**scheme.forms, "stem": stem})


class TfliteTarget(TfliteOpener):
    """One ``.tflite`` file with one signature.

    Attributes:
        converter: what writes it; the first of `converters` by default.
    """

    name = "tflite"
    suffix = ".tflite"
    benchmark_program = "exporters.tflite.benchmark_model"
    layout = "NHWC"
    runtime = "LiteRT"
    engines: tuple[str, ...] = ("ai-edge-litert", "tflite-runtime")
    variables = ()
    lowerings = ("norms-to-convolutions",)  # the converter knows where channels lie
    converters = tuple(CONVERTERS)
    schemes: Mapping[str, Scheme] = {
        **FLOAT_SCHEMES,
        "int8": INT8,
        "int8-dynamic": DYNAMIC,
        "int8-mixed": MIXED,
        "w8a16": replace(INT8, precision="w8a16", activations="int16"),
    }
    ranges = RANGES
    choices = (
        Choice(
            "int8",
            (),
            {"hardswish": "clamp"},
            "HARD_SWISH of integers has no fast kernel: MobileNetV3-Small 3.4 times as fast "
            "without",
        ),
        Choice(
            "int8",
            ("x86", "x86-vnni"),
            {"stem": "narrow"},
            "few channels fill no vectors of integers: six networks 1.15 to 1.4 times as fast",
        ),
    )
    free_casts = False
    timed_alone = True
    dynamic_batch = False
    opener = "exporters.tflite.opener:OPENER"

    def __init__(self, converter: str = "edgekit") -> None:
        self.converter = converter
        own = () if converter == "edgekit" else ("litert-torch",)
        self.packages = ("ai-edge-litert", "ai-edge-quantizer", *own, "torch")
        # litert-torch decides for itself.
        self.forms: Mapping[str, tuple[str, ...]] = FORMS if converter == "edgekit" else {}

    def by(self, converter: str) -> TfliteTarget:
        """The same target, whose files another converter writes."""
        return TfliteTarget(converter)

    def export(
        self,
        model: nn.Module,
        example: Example,
        path: Path,
        scheme: Scheme,
        calibration: Sequence[Sequence[Array]] | None = None,
    ) -> Decided:
        """Writes the model; `edgekit.core.Target.export` describes the arguments."""
        if scheme.interface == "int8":
            # Integers at both ends are for hardware that has nothing else.
            scheme = _with_stem(scheme, "int8")
        content = CONVERTERS[self.converter](model, example, scheme)
        while (stem := scheme.forms.get("stem")) in _SHORTER and not stem_of(unpack(content), stem):
            scheme = _with_stem(scheme, _SHORTER[stem])
            content = CONVERTERS[self.converter](model, example, scheme)
        if scheme.weights == "int8":
            content = quantize(content, scheme, calibration or ())
        path.write_bytes(with_fast_bytes(content))
        return Decided(scheme.activations, scheme.forms)

    def suppress(self, path: Path, suppression: Suppression) -> None:
        """Adds operators, a NON_MAX_SUPPRESSION_V5 for each class among them."""
        flat = unpack(content_of(path))
        suppress(flat, suppression)
        path.write_bytes(pack(flat))

    def unsuppress(self, path: Path, bare: Path) -> None:
        """Leaves these operators out."""
        with parsing(path):
            flat = unpack(content_of(path))
            there = unsuppress(flat)
            bare.write_bytes(pack(flat))
        if not there:
            raise LookupError(path)

    def files(self, path: Path) -> tuple[Path, ...]:
        """The one file; see `exporters.tflite.outside.check_inside` for what is raised."""
        check_inside(path)
        return (path,)

    def written(self, path: Path) -> tuple[Path, ...]:
        """The one file."""
        return (path,)

    def embed(self, path: Path, text: str) -> None:
        """Puts ``text`` into a metadata buffer."""
        with parsing(path):
            flat = unpack(content_of(path))
        entry = next((m for m in flat.metadata or [] if m.name == KEY.encode()), None)
        if entry is None:
            flat.buffers.append(schema().BufferT())
            entry = schema().MetadataT()
            entry.name = KEY
            entry.buffer = len(flat.buffers) - 1
            flat.metadata = [*(flat.metadata or []), entry]
        flat.buffers[entry.buffer].data = np.frombuffer(text.encode(), np.uint8)
        path.write_bytes(pack(flat))

    def extract(self, path: Path) -> str | None:
        """The text of `embed`."""
        with parsing(path), open_file(path) as file:
            return metadata_of(path, file, KEY.encode())

    def float_operators(self, path: Path) -> tuple[str, ...]:
        """Kinds of operators with an input of float that is no constant."""
        with parsing(path):
            return float_operators(unpack(content_of(path)))

    def float_kind(self, kind: str) -> str:
        """The same."""
        return kind


TARGET = TfliteTarget()
