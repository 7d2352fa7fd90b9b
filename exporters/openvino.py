"""OpenVINO IR: an ``.xml`` file for the graph and a ``.bin`` file for the weights beside it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from edgekit.core import (
    FLOAT_SCHEMES,
    INT8,
    MIXED,
    Choice,
    Decided,
    Example,
    Scheme,
    Suppression,
    silent_import,
)
from edgekit.errors import InputError
from exporters._openvino_files import contract_inside
from exporters._openvino_frontend import converted, shift_before_turns
from exporters._openvino_opener import (
    ISA_VARIABLE,
    SCALES,
    OpenVinoOpener,
    read,
    request,
    runtime,
)
from exporters._openvino_quantizer import RANGES, quantize, with_integer_interface
from exporters._openvino_suppression import suppress, unsuppress

if TYPE_CHECKING:
    from torch import nn

    from edgekit.core import Array


# Types of nodes of compiled graphs that copy values, or change their order or type.
_MOVING = {
    "Broadcast", "Concatenation", "Const", "Convert", "Gather", "Input", "Output", "Pad", "Reorder",
    "Reshape", "ShuffleChannels", "Split", "StridedSlice", "Transpose",
}  # fmt: skip


class OpenVinoTarget(OpenVinoOpener):
    """IR of the PyTorch frontend, NCHW input, static shapes."""

    name = "openvino"
    suffix = ".xml"
    layout = "NCHW"
    runtime = "OpenVINO"
    packages = ("nncf", "openvino", "torch")
    engines = ("openvino",)
    variables = (ISA_VARIABLE,)
    lowerings = ("order-groups",)
    schemes: Mapping[str, Scheme] = {**FLOAT_SCHEMES, "int8": INT8, "int8-mixed": MIXED}
    ranges = RANGES
    forms: Mapping[str, tuple[str, ...]] = {
        "activations": ("mixed", "performance"),
        "bias": ("fast", "accurate"),
        "weights": ("8bit", "7bit"),
    }
    choices = (
        Choice(
            "int8",
            ("x86",),
            {"weights": "7bit"},
            "sums of 16 bits overflow: MobileNetV3-Small on CIFAR-10 agrees with float by 15.6 dB "
            "with 8 bits, by 23.2 dB with 7; untrained networks are lost with 8",
        ),
    )
    # What stands at the ends of a file of integers takes as long.
    free_casts = True
    timed_alone = False
    dynamic_batch = True
    opener = "exporters._openvino_opener:OPENER"

    def export(
        self,
        model: nn.Module,
        example: Example,
        path: Path,
        scheme: Scheme,
        calibration: Sequence[Sequence[Array]] | None = None,
    ) -> Decided:
        """Writes the model; `edgekit.core.Target.export` describes the arguments."""
        ov = runtime()
        graph = converted(model, example.tensors)
        if scheme.weights != "int8":
            shift_before_turns(graph)
        inputs, outputs = example.names
        _part_results(graph)
        names = zip((*graph.inputs, *graph.outputs), (*inputs, *outputs), strict=True)
        for port, name in names:
            port.get_tensor().set_names({name})
            if port.get_node().get_type_name() == "Result":
                port.get_node().input_value(0).get_tensor().set_names({name})
            port.get_node().set_friendly_name(name)
        _number_names(graph)
        graph.validate_nodes_and_infer_types()
        if scheme.weights == "int8":
            graph = quantize(graph, scheme, calibration or ())
            _number_names(graph)
        if scheme.interface == "int8":
            graph, notes = with_integer_interface(graph, calibration or ())
            graph.set_rt_info(json.dumps(notes), list(SCALES))
        if example.any_batch:
            _leave_batch_open(graph)
        ov.save_model(graph, path, compress_to_fp16=scheme.weights == "float16")
        return Decided(scheme.activations)

    def suppress(self, path: Path, suppression: Suppression) -> None:
        """Adds operators, NonMaxSuppression among them."""
        _rewrite(path, path, suppress(read(path), suppression))

    def unsuppress(self, path: Path, bare: Path) -> None:
        """Leaves these operators out."""
        _rewrite(path, bare, unsuppress(read(path)))

    def files(self, path: Path) -> tuple[Path, ...]:
        """Graph, then weights."""
        return self.written(path)

    def written(self, path: Path) -> tuple[Path, ...]:
        """Graph, then weights."""
        return (path, path.with_suffix(".bin"))

    def embed(self, path: Path, text: str) -> None:
        """Puts ``text`` into the runtime info of the graph."""
        tree = _parse(path)
        root = tree.getroot()
        above = root
        for name in ("rt_info", "edgekit"):
            found = above.find(name)
            above = ElementTree.SubElement(above, name) if found is None else found
        for old in above.findall("contract"):
            above.remove(old)
        ElementTree.SubElement(above, "contract", value=text)
        for element in root.iter():  # indentation is a tenth of a small network's int8 file
            for place in ("text", "tail"):
                if not (getattr(element, place) or "x").strip():
                    setattr(element, place, None)
        tree.write(path, encoding="utf-8", xml_declaration=True)

    def extract(self, path: Path) -> str | None:
        """The text of `embed`."""
        return contract_inside(path)

    def float_operators(self, path: Path) -> tuple[str, ...]:
        """Kinds of what the runtime computes in float, as its compiled graph says."""
        found = []
        compiled = request(read(path), path, None).get_compiled_model()
        for op in compiled.get_runtime_model().get_ordered_ops():
            about = {key: value.astype(str) for key, value in op.get_rt_info().items()}
            kind, names = about["layerType"], about.get("originalLayersNames", "").split(",")
            if about["runtimePrecision"] != "f32" or kind in _MOVING:
                continue
            if not all("/fq_" in name for name in names):  # else it only rounds
                found.append(kind)
        return tuple(found)

    def float_kind(self, kind: str) -> str:
        """The same."""
        return kind


def _rewrite(path: Path, to: Path, graph: Any) -> None:
    """Writes a graph that was read from a file, with what stands in that one's runtime info.

    The runtime may read weights of the old file until the new one is there.
    """
    text = contract_inside(path)
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        made = Path(folder) / to.name
        runtime().save_model(graph, made, compress_to_fp16=False)
        for file in (made.with_suffix(".bin"), made):
            file.replace(to.parent / file.name)
    if text is not None:
        TARGET.embed(to, text)


def _leave_batch_open(graph: Any) -> None:
    """Makes a network that is written for one image take any number of them."""
    opset13 = silent_import("openvino.opset13")
    for op in graph.get_ordered_ops():
        if op.get_type_name() != "Reshape":
            continue
        source = op.input_value(1).get_node()
        shape = list(source.data) if source.get_type_name() == "Constant" else []
        if len(shape) > 1 and shape[0] == 1 and op.get_output_partial_shape(0).is_static:
            rest = list(op.get_output_shape(0))[1:]
            written = opset13.constant(np.array([-1, *rest], np.int64))
            op.input(1).replace_source_output(written.output(0))
    for op in graph.get_parameters():
        sizes = list(op.get_output_partial_shape(0))
        op.set_partial_shape(runtime().PartialShape([-1, *sizes[1:]]))
    graph.validate_nodes_and_infer_types()


def _part_results(graph: Any) -> None:
    """Gives each output a tensor of its own, where it is an input or another output as well.

    A name belongs to a tensor: the second one would take the place of the first.
    """
    ops = silent_import("openvino.opset13")
    seen = set()
    for result in graph.get_results():
        source = result.input_value(0)
        key = (source.get_node().get_friendly_name(), source.get_index())
        if source.get_node().get_type_name() == "Parameter" or key in seen:
            shape = ops.constant(np.array(list(source.get_shape()), np.int64))
            copied = ops.reshape(source, shape, special_zero=False)
            result.input(0).replace_source_output(copied.output(0))
        seen.add(key)


def _number_names(graph: Any) -> None:
    """Counts anew what OpenVINO names after counters of the process.

    Else two exports of the same network would differ.
    """
    graph.set_friendly_name("main")
    for i, op in enumerate(graph.get_ordered_ops()):
        if re.fullmatch(r"[A-Za-z]+_\d+", op.get_friendly_name()):
            op.set_friendly_name(f"{op.get_type_name()}_{i}")


def _parse(path: Path) -> ElementTree.ElementTree[ElementTree.Element]:
    try:
        return ElementTree.parse(path)  # noqa: S314 - expat bounds entity expansion itself
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is no OpenVINO IR, or is damaged") from error


TARGET = OpenVinoTarget()
