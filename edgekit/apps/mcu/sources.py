"""What an app for microcontrollers has of an artifact, as code in C++."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.apps.cpp import literals
from edgekit.apps.cpp.literals import listed, number
from edgekit.core import Artifact, EmbeddedOperator
from edgekit.data import preprocess
from edgekit.data.scores import class_names
from edgekit.data.stored import stored_values

_BYTES_A_LINE = 32
_NOTE = "Written by `edgekit app`; do not edit it."
_HEADER = """\
// What the contract says of the model. {note}
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "geometry.h"

// Longest side of a frame, in pixels; memory for preparing frames grows with it.
#ifndef CLASSIFIER_MAX_SIDE
#define CLASSIFIER_MAX_SIDE 320
#endif

// What {measured} took on a 64-bit machine, where its records are larger
// than on 32 bits. Kernels of a chip's maker may take more: begin() fails then, or arena_used()
// tells.
#ifndef CLASSIFIER_ARENA_BYTES
#define CLASSIFIER_ARENA_BYTES {arena}
#endif

namespace classifier {{

enum class Scores {{ logits, probabilities, sigmoid }};

constexpr int kMaxSide = CLASSIFIER_MAX_SIDE;
constexpr size_t kArenaBytes = CLASSIFIER_ARENA_BYTES;

constexpr Geometry kGeometry = {geometry};
constexpr int kChannels = {channels};
constexpr bool kBlueFirst = {blue_first};
constexpr bool kPlanes = {planes};  // each channel by itself, not side by side
constexpr size_t kInputBytes = {input_bytes};

// What the values of each channel become: scaled, normalized, and in steps of the input's scale.
extern const uint8_t kInputOf[kChannels][256];

constexpr int kScoreCount = {scores};
constexpr float kOutputScale = {scale};
constexpr int kOutputZeroPoint = {zero_point};
constexpr Scores kScores = Scores::{kind};

constexpr int kLabelCount = {label_count};
extern const std::string_view kLabels[];  // in UTF-8

constexpr size_t kModelBytes = {model_bytes};
extern const uint8_t kModel[];

}}  // namespace classifier
"""


def header(contract: Artifact, model_bytes: int, arena_bytes: int, measured: str) -> str:
    """``model.h``.

    Args:
        model_bytes: of the file.
        arena_bytes: that the interpreter took.
        measured: the interpreter, with its version.
    """
    how, (given,), (got,) = contract.preprocessing, contract.inputs, contract.outputs
    assert how is not None
    assert contract.scores is not None
    fields = literals.preprocessing(how)
    geometry = listed(fields[key] for key in ("fit", "resize", "crop", "pad", "interpolation"))
    scale = 1.0 if got.scale is None else float(np.float32(got.scale))
    return _HEADER.format(
        note=_NOTE,
        measured=measured,
        arena=-(-arena_bytes // 16) * 16,
        geometry=geometry,
        channels=how.channels,
        blue_first=fields["blue_first"],
        planes="true" if how.layout == "NCHW" else "false",
        input_bytes=int(np.prod(given.shape)),
        scores=got.shape[-1],
        scale=f"{number(scale)}f",
        zero_point=got.zero_point or 0,
        kind=contract.scores,
        label_count=len(_names(contract)),
        model_bytes=model_bytes,
    )


def _names(contract: Artifact) -> tuple[str, ...]:
    return class_names(contract.labels, contract.outputs[0].shape[-1]) or ()


def tables(contract: Artifact) -> str:
    """``model.cc``: names, and the bytes that pixels become."""
    how = contract.preprocessing
    assert how is not None
    every = np.repeat(np.arange(256, dtype=np.uint8), how.channels).reshape(256, 1, how.channels)
    stored = stored_values(preprocess.normalize(every, how), contract.inputs[0])
    channels = np.moveaxis(stored, 0 if how.layout == "NCHW" else 2, 0).reshape(how.channels, 256)
    names = [f"    {literals.string(name, 'sv')}," for name in _names(contract)]
    return "\n".join(
        [
            f"// What the contract says of the model. {_NOTE}",
            '#include "model.h"',
            "",
            "namespace classifier {",
            "",
            "using namespace std::string_view_literals;",
            "",
            "const uint8_t kInputOf[kChannels][256] = {",
            *(f"    {{\n{_bytes(row.view(np.uint8))}    }}," for row in channels),
            "};",
            "",
            "const std::string_view kLabels[] = {",
            *(names or ["    {},"]),
            "};",
            "",
            "}  // namespace classifier",
            "",
        ]
    )


def _bytes(content: NDArray[np.uint8] | bytes) -> str:
    """Lines of numbers."""
    values = bytes(content)
    lines = (values[i : i + _BYTES_A_LINE] for i in range(0, len(values), _BYTES_A_LINE))
    return "".join(f"{','.join(map(str, line))},\n" for line in lines)


def array(content: bytes) -> str:
    """``model_data.cc``: the file, aligned as the interpreter needs it."""
    return (
        f'// The model\'s file. {_NOTE}\n#include "model.h"\n\nnamespace classifier {{\n\n'
        f"alignas(16) const uint8_t kModel[kModelBytes] = {{\n{_bytes(content)}}};\n\n"
        f"}}  // namespace classifier\n"
    )


def operators(several: Sequence[EmbeddedOperator]) -> str:
    """``operators.h``: those that the file needs."""
    rows = [f"  ROW({each.name}, {each.number}, {each.kernel}, {each.parser})" for each in several]
    return "\n".join(
        [
            f"// The operators that the model needs. {_NOTE}",
            "// Each with its name, its number in the file, and the interpreter's functions.",
            "#pragma once",
            "",
            f"#define CLASSIFIER_OPERATORS {len(several)}",
            "#define CLASSIFIER_EACH_OPERATOR(ROW) \\",
            " \\\n".join(rows),
            "",
        ]
    )


def picture(pixels: NDArray[np.uint8], name: str, shows: int) -> str:
    """``picture.cc``: a frame.

    Args:
        pixels: (height, width, 3), RGB.
        name: of its file.
        shows: its class.
    """
    height, width, channels = pixels.shape
    return (
        f'// {name} of the golden images. {_NOTE}\n#include "picture.h"\n\n'
        f"static const uint8_t kPixels[] = {{\n{_bytes(pixels.tobytes())}}};\n\n"
        f"const classifier::Frame kPicture = "
        f"{{kPixels, {width}, {height}, {width * channels}}};\n"
        f"const int kPictureClass = {shows};\n"
    )
