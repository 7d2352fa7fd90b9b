"""ONNX files, written by torch.onnx's graph exporter and run by ONNX Runtime."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from edgekit.errors import ModelError
from exporters._calls import CALLS, rewritten
from exporters._onnx_files import external_files, metadata
from exporters._onnx_graphs import KeptGraphs
from exporters._onnx_opener import OnnxOpener, read
from exporters._onnx_operators import float_operators
from exporters._onnx_quantizer import (
    FORMS,
    RANGES,
    quantize,
    with_integer_interface,
    write_forms,
)
from exporters._onnx_runner import leave_batch_open
from exporters._onnx_suppression import suppress, unsuppress

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from torch import nn

    from edgekit.core import Array

KEY = "edgekit.contract"

# Smaller tensors stay in float32: they are shapes, scalars and single biases, which save nothing
# and cost a Cast node each.
SMALLEST_FP16 = 16

LARGEST_WEIGHTS = 2**31 - 2**24
"""Bytes of weights beside which a graph fits into protobuf's 2 GiB, in all steps of an export."""


CHOICES = (
    Choice(
        "int8",
        ("x86", "x86-vnni"),
        {
            "activations": "uint8",
            "averages": "conv",
            "groups": "dense",
            "hardswish": "clamp",
            "mean": "pool",
            "stem": "narrow",
            "widths": "padded",
        },
        "signed activations take 2 to 3 times as long; MobileNetV3-Small 2.1 instead of 2.4 ms; "
        "ShuffleNetV1 twice as fast; the same with AVX-512 VNNI and with AVX2 alone",
    ),
    Choice(
        "int8",
        ("arm",),
        {"activations": "int8", "hardswish": "clamp", "mean": "pool"},
        "the kernels of Arm take signed activations",
    ),
    *(
        Choice(
            precision,
            ("x86",),
            {"weights": "7bit"},
            "sums of 16 bits overflow: MobileNetV3-Small on CIFAR-10 agrees with float by 18.7 dB "
            "with 8 bits, by 23.2 dB with 7; untrained networks are lost with 8",
        )
        for precision in ("int8", "int8-dynamic")
    ),
)


class OnnxTarget(OnnxOpener):
    """One ``.onnx`` file: opset of the exporter's choice, NCHW images, weights inside."""

    name = "onnx"
    suffix = ".onnx"
    layout = "NCHW"
    runtime = "ONNX Runtime"
    packages = ("onnx", "onnxscript", "onnxruntime", "torch")
    engines = ("onnxruntime",)
    variables = ()
    lowerings = ("order-channels", "norms-to-convolutions")
    schemes: Mapping[str, Scheme] = {
        **FLOAT_SCHEMES,
        "int8": INT8,
        "int8-dynamic": replace(DYNAMIC, per_channel=False),
        "int8-mixed": MIXED,
        "w8a16": replace(INT8, precision="w8a16", activations="uint16"),
    }
    ranges = RANGES
    forms: Mapping[str, tuple[str, ...]] = FORMS
    choices = CHOICES
    free_casts = False
    timed_alone = False
    dynamic_batch = True
    opener = "exporters._onnx_opener:OPENER"

    def __init__(self) -> None:
        self._graphs = KeptGraphs(_exported)

    def export(
        self,
        model: nn.Module,
        example: Example,
        path: Path,
        scheme: Scheme,
        calibration: Sequence[Sequence[Array]] | None = None,
    ) -> Decided:
        """Writes the model; `edgekit.core.Target.export` describes the arguments."""
        import onnx

        _check_size(model)
        proto = self._graphs.of(model, example)
        if scheme.weights == "float16":
            _store_as_float16(proto)
        dense = write_forms(proto, scheme.forms)
        activations = scheme.activations
        if scheme.weights == "int8":
            if activations == "int8":
                activations = scheme.forms.get("activations", "uint8")
            proto = quantize(
                proto, replace(scheme, activations=activations), calibration or (), dense
            )
        if scheme.interface == "int8":
            with_integer_interface(proto, calibration or ())
        if example.any_batch:
            leave_batch_open(proto)
        onnx.checker.check_model(proto)
        path.write_bytes(proto.SerializeToString())
        return Decided(activations)

    def export_stock(self, model: nn.Module, example: Example, path: Path) -> None:
        """What ``torch.onnx.export`` writes by itself, with its weights inside."""
        import torch

        inputs, outputs = example.names
        torch.onnx.export(
            model,
            example.tensors,
            path,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            external_data=False,
            verbose=False,
        )

    def suppress(self, path: Path, suppression: Suppression) -> None:
        """Adds nodes with the operator NonMaxSuppression."""
        import onnx

        proto = read(path)
        suppress(proto, suppression)
        onnx.checker.check_model(proto)
        path.write_bytes(proto.SerializeToString())

    def unsuppress(self, path: Path, bare: Path) -> None:
        """Leaves these nodes out."""
        proto = read(path)
        unsuppress(proto)
        bare.write_bytes(proto.SerializeToString())

    def files(self, path: Path) -> tuple[Path, ...]:
        """The file, then external data of its tensors, as other tools write them."""
        return (path, *external_files(path))

    def written(self, path: Path) -> tuple[Path, ...]:
        """The one file."""
        return (path,)

    def embed(self, path: Path, text: str) -> None:
        """Puts ``text`` into the model's metadata properties."""
        proto = read(path)
        kept = [(p.key, p.value) for p in proto.metadata_props if p.key != KEY]
        del proto.metadata_props[:]
        for key, value in [*kept, (KEY, text)]:
            proto.metadata_props.add(key=key, value=value)
        path.write_bytes(proto.SerializeToString())

    def extract(self, path: Path) -> str | None:
        """The text of `embed`."""
        return metadata(path, KEY)

    def float_operators(self, path: Path) -> tuple[str, ...]:
        """Kinds of what the runtime computes in float."""
        return float_operators(path)

    def float_kind(self, kind: str) -> str:
        """QLinearConv, QGemm and FusedConv are what Conv and Gemm became."""
        return re.sub("^(QLinear|Fused|Q(?=[A-Z]))", "", kind)


def _exported(model: nn.Module, example: Example) -> ModelProto:
    """The graph of a network, in float32."""
    import onnx
    import torch

    inputs, outputs = example.names
    # Names are one each in a file: parameters that are called like an input or output give way.
    taken = {*model.state_dict()}.intersection((*inputs, *outputs))
    other = {name: f"{name}/tensor" for name in taken}
    # Autograd refuses some changes in place that compute what they should.
    with _operators_listed_once(), rewritten(CALLS), torch.no_grad():
        program = torch.onnx.export(
            model,
            example.tensors,
            dynamo=True,
            input_names=[other.get(name, name) for name in inputs],
            output_names=[other.get(name, name) for name in outputs],
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ModelError("torch.onnx gave no program")
    proto: ModelProto = program.model_proto
    if taken:
        _rename(proto.graph, {name: f"{name}/parameter" for name in taken})
        _rename(proto.graph, {there: name for name, there in other.items()})
    unused = set(inputs).difference(value.name for value in proto.graph.input)
    if unused or [value.name for value in proto.graph.output] != outputs:
        raise ModelError(
            f"torch.onnx leaves out {', '.join(sorted(unused)) or 'outputs'}: an input that no "
            f"output depends on, or an output that is an input; leave it out"
        )
    _clean(proto)
    _keep_pads(proto)
    del proto.graph.value_info[:]  # in the order and form in which onnx itself finds them
    return onnx.shape_inference.infer_shapes(proto)


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Gives values of a graph, and of those within it, other names."""
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)


@contextlib.contextmanager
def _operators_listed_once() -> Iterator[None]:
    """Keeps torch.onnx from listing all operators anew at every export of the block.

    It parses the source of 500 functions and the types of their arguments, over half the time that
    a small network takes, and there is no public way to keep the list. A version without these
    names does as ever.
    """
    try:
        place: Any = importlib.import_module("torch.onnx._internal.exporter._registration")
        registry, ever = place.ONNXRegistry, place.ONNXRegistry.__dict__["from_torchlib"]
    except (ImportError, AttributeError, KeyError):
        yield
        return
    registry.from_torchlib = staticmethod(_listed(registry, "torchvision" in sys.modules))
    try:
        yield
    finally:
        registry.from_torchlib = ever  # others may add operators to their list


@functools.cache
def _listed(registry: Any, with_torchvision: bool) -> Any:
    """The function that lists operators, which does it once: those of libraries that are there."""
    return functools.cache(registry.from_torchlib)


def _check_size(model: nn.Module) -> None:
    """Refuses weights that one file cannot hold, before time is taken.

    Raises:
        ModelError: protobuf, and so each step of the export, ends at 2 GiB.
    """
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    if size > LARGEST_WEIGHTS:
        raise ModelError(
            f"the network has {size / 2**30:.2f} GiB of weights, and an ONNX file holds "
            f"{LARGEST_WEIGHTS / 2**30:.2f}: export it to another target, or make it narrower"
        )


def _clean(proto: ModelProto) -> None:
    """Names nodes after modules and drops the exporter's diary.

    The diary holds source paths of the machine that exported, which do not belong into a file
    that is shipped, and makes two exports of the same network differ.
    """
    count: Counter[str] = Counter()
    for node in proto.graph.node:
        scope = _module_path(node)
        name = f"{scope}/{node.op_type}" if scope else node.op_type
        count[name] += 1
        node.name = name if count[name] == 1 else f"{name}_{count[name]}"
        del node.metadata_props[:]
        node.ClearField("doc_string")
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del value.metadata_props[:]
        value.ClearField("doc_string")
    del graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.ClearField("doc_string")
    graph.name = "main"


def _module_path(node: NodeProto) -> str:
    """Dotted path of the innermost module that a node comes from; empty at the top."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return ""


def _keep_pads(proto: ModelProto) -> None:
    """Lets zeros around an image count in the max pooling behind them.

    ONNX Runtime 1.31 makes a Pad with zeros part of that, which pads with less than any number;
    with the smallest positive number it does not.
    """
    from onnx import numpy_helper

    pooled = {node.input[0] for node in proto.graph.node if node.op_type == "MaxPool"}
    pads = [n for n in proto.graph.node if n.op_type == "Pad" and n.output[0] in pooled]
    zeros = {t.name for t in proto.graph.initializer if not numpy_helper.to_array(t).any()}
    for node in pads:
        values = [*node.input, "", ""][2:4]
        if values[0] and values[0] not in zeros:
            continue
        if not any(tensor.name == "pad.smallest" for tensor in proto.graph.initializer):
            smallest = np.array(np.finfo(np.float32).tiny)
            proto.graph.initializer.append(numpy_helper.from_array(smallest, "pad.smallest"))
        given = [*node.input[:2], "pad.smallest", *filter(None, values[1:])]
        del node.input[:]
        node.input.extend(given)


def _store_as_float16(proto: ModelProto) -> None:
    """Stores weights in half the bytes; the runtime widens them once, when it loads the file.

    Computing in float16 instead would be slower on CPUs: ONNX Runtime has float16 kernels for few
    operators there and puts casts around all others.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST_FP16:
            continue
        name = tensor.name
        largest = float(np.finfo(np.float16).max)
        if np.abs(values).max() > largest:
            raise ModelError(
                f"weight '{name}' reaches {np.abs(values).max():.3g}, beyond float16's "
                f"{largest:.0f}: export with --precision fp32"
            )
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(
            helper.make_node(
                "Cast", [f"{name}.fp16"], [name], name=f"{name}/Cast", to=TensorProto.FLOAT
            )
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


TARGET = OnnxTarget()
