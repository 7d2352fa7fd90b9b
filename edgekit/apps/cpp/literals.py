"""What an artifact's contract says, and its golden images, as code in C++."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekit.core import Artifact, Preprocessing, TensorSpec
from edgekit.core.preprocessing import pair

TYPES = ("float32", "uint8", "int8")
"""Of inputs and outputs."""

_SHORT = {ord("\n"): r"\n", ord("\t"): r"\t", ord("\r"): r"\r", ord('"'): r"\"", ord("\\"): r"\\"}


def string(text: str | bytes, ending: str = "s") -> str:
    """A literal of type ``std::string``, in ASCII, whatever is in the text.

    Question marks are escaped, as two of them begin a trigraph in older C++; other bytes are
    three octal digits, behind which any sign may follow.

    Args:
        ending: ``sv`` gives a ``std::string_view``.
    """
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    signs = [
        _SHORT.get(byte) or (r"\?" if byte == ord("?") else None)
        or (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}")
        for byte in content
    ]  # fmt: skip
    return f'"{"".join(signs)}"{ending}'


def number(value: float) -> str:
    """A literal of type ``double`` that is this number to the bit."""
    if math.isfinite(value):
        return repr(float(value))
    return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"


def listed(items: Iterable[str]) -> str:
    """A list in braces."""
    return f"{{{', '.join(items)}}}"


def _numbers(values: Iterable[float]) -> str:
    return listed(map(number, values))


def model(contract: Artifact, file: bytes, size: int) -> str:
    """``model.cc``.

    Args:
        file: name of the model's main file.
        size: of that file, bytes.
    """
    assert contract.preprocessing is not None
    assert contract.scores is not None
    labels = "".join(f"\n    {string(label)}," for label in contract.labels or ())
    lines = [
        "// What the contract says of the model. Written by `edgekit app`; do not edit it.",
        '#include "model.h"',
        "",
        "namespace classifier {",
        "",
        "using namespace std::string_literals;",
        "",
        "static Model written() {",
        "  Model found;",
        f"  found.file = {string(file)};",
        f"  found.bytes = {size};",
        *_preprocessing(contract.preprocessing),
        f"  found.input = {_tensor(contract.inputs[0])};",
        f"  found.output = {_tensor(contract.outputs[0])};",
        f"  found.scores = Scores::{contract.scores};",
        f"  found.labels = {{{labels}}};",
        "  return found;",
        "}",
        "",
        "const Model& model() {",
        "  static const Model found = written();",
        "  return found;",
        "}",
        "",
        "}  // namespace classifier",
    ]
    return "\n".join(lines) + "\n"


def preprocessing(p: Preprocessing) -> dict[str, str]:
    """Values of the fields of ``Preprocessing``."""
    size = "Size{{{}, {}}}".format
    return {
        "fit": f"Fit::{p.fit}",
        "resize": "std::nullopt" if p.resize is None else size(*pair(p.resize)),
        "crop": size(*p.size),
        "pad": str(p.pad),
        "interpolation": f"Interpolation::{p.interpolation}",
        "upright": "true" if p.exif == "upright" else "false",
        "alpha": f"Alpha::{p.alpha}",
        "grey": "true" if p.channels == 1 else "false",
        "blue_first": "true" if p.channel_order.startswith("B") else "false",
        "scale": number(p.scale),
        "mean": _numbers(p.mean),
        "std": _numbers(p.std),
        "layout": f"Layout::{p.layout.lower()}",
    }


def _preprocessing(p: Preprocessing) -> list[str]:
    return [
        f"  found.preprocessing.{field} = {value};" for field, value in preprocessing(p).items()
    ]


def _tensor(spec: TensorSpec) -> str:
    scale = "std::nullopt" if spec.scale is None else number(spec.scale)
    shape = listed(map(str, spec.shape))
    return f"{{Type::{spec.dtype}, {shape}, {scale}, {spec.zero_point or 0}}}"


def golden(
    images: Sequence[Mapping[str, Any]],
    vectors: Sequence[Mapping[str, Any]],
    processors: Sequence[str] | None = None,
) -> str:
    """``golden.cc``: what stands in ``golden.json``.

    Args:
        images: entries of `edgekit.apps.golden.Golden.entry`.
        vectors: of `edgekit.apps.expected.vectors`.
        processors: that the file was written for, none for all; ``None`` for an app that does not
            ask.
    """
    lines = [
        "// What golden.json has, as code. Written by `edgekit app`; do not edit it.",
        '#include "../tests/golden.h"',
        "",
        "#include <cmath>",
        "",
        "using namespace std::string_literals;",
        "using classifier::Scores;",
        "",
        *([] if processors is None else _processors(processors)),
        "std::vector<GoldenImage> golden_images() {",
        "  std::vector<GoldenImage> all;",
    ]
    for image in images:
        off = image["most_off"]
        fields = [string(image["file"]), string(image["pixels"]), number(off["one"])]
        lines.append(
            f"  all.push_back({{{', '.join([*fields, number(off['mean'])])}, {{}}, {{}}}});"
        )
        for of, scores in image["scores"].items():
            told = [string(of), number(image["least_db"][of]), _numbers(scores)]
            lines.append(f"  all.back().scores.push_back({listed(told)});")
        for each in image["labels"]:
            label = string(each["label"] or "")
            told = [str(each["index"]), label, number(each["probability"])]
            lines.append(f"  all.back().labels.push_back({listed(told)});")
    lines += ["  return all;", "}", "", "std::vector<Vector> score_vectors() {", "  return {"]
    for vector in vectors:
        rows = (_numbers(vector[of]) for of in ("scores", "probabilities"))
        row = listed([f"Scores::{vector['kind']}", *rows])
        lines.append(f"      {row},")
    return "\n".join([*lines, "  };", "}"]) + "\n"


def _processors(names: Sequence[str]) -> list[str]:
    found = listed(map(string, names))
    return ["std::vector<std::string> processors() {", f"  return {found};", "}", ""]
