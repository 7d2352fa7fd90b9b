"""Integers in ONNX files: forms that have fast kernels, ONNX Runtime's quantizer, the interface."""

from __future__ import annotations

import json
import math
import tempfile
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import NARROW, Scheme, silent_import
from edgekit.errors import ModelError
from exporters._ends import joined_behind
from exporters._onnx_groups import Dense, leave_out_zeros, make_dense
from exporters._onnx_runner import TYPES_KEY
from exporters._onnx_squeeze import multiply_pixels
from exporters._onnx_widths import pad_depthwise

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from edgekit.core import Array

# The histograms of all tensors and images would not fit into memory.
_IMAGES_AT_ONCE = 8

RANGES = ("minmax", "percentile", "entropy")
"""Ways of ONNX Runtime to find the range of a tensor."""

PERCENTILE = 0.01
"""Percent of values that ``percentile`` cuts off on each side."""


FORMS: dict[str, tuple[str, ...]] = {
    "hardswish": ("native", "clamp"),
    "mean": ("mean", "pool"),
    "averages": ("pool", "conv"),
    "stem": ("int8", "float", "narrow"),
    "widths": ("given", "padded"),
    "groups": ("native", "dense"),
    "squeeze": ("conv", "matmul"),
    "activations": ("uint8", "int8"),
    "weights": ("8bit", "7bit"),
}
"""Ways to write a network. ``stem`` is what stays in float at its beginning: the convolution of the
image, or all up to the first tensor of more than `NARROW` channels. Few channels fill no vector of
integers: the first convolution of MobileNetV3 takes 2.4 times as long as in float32. ``weights`` of
seven bits keep the kernels of x86 without dot products of integers exact: they add two products of
unsigned activations and weights in 16 bits, and cut off what does not fit."""

_THREE, _ZERO, _SIX, _A_SIXTH = "hard.three", "hard.zero", "hard.six", "hard.sixth"
_SIXTH = "/sixth"  # ends the names of multiplications that `_merge_sixths` takes away


def write_forms(proto: ModelProto, forms: Mapping[str, str]) -> list[Dense]:
    """Rewrites a network of float32 into the forms that a scheme asks for; exact but for rounding.

    ``hardswish=clamp``: ``x * clamp(x + 3, 0, 6) / 6``, and h-sigmoid without the first factor.
    ONNX Runtime computes both in float32 between conversions from and to integers otherwise;
    additions, clamps and products it computes in integers. ``mean=pool``: means over all pixels as
    global average pools, which it computes in integers, too. ``averages=conv``: pools of windows as
    depthwise convolutions, which it computes six times as fast in integers. ``widths=padded``: see
    `exporters._onnx_widths.pad_depthwise`. ``groups=dense``: see `exporters._onnx_groups`.
    ``squeeze=matmul``: see `exporters._onnx_squeeze`.

    Returns:
        Convolutions whose weights `quantize` stores without zeros.
    """
    dense = make_dense(proto) if forms.get("groups") == "dense" else []
    if forms.get("hardswish") == "clamp":
        _clamp_hard_activations(proto, stem_of(proto, forms))
    if forms.get("mean") == "pool":
        _pool_means(proto)
    if forms.get("averages") == "conv":
        _convolve_averages(proto)
    if forms.get("widths") == "padded":
        pad_depthwise(proto)
    if forms.get("squeeze") == "matmul":
        multiply_pixels(proto, {one.node for one in dense})
    return dense


def _clamp_hard_activations(proto: ModelProto, kept: Collection[str]) -> None:
    """Rewrites all but the nodes of some names, which stay in float32."""
    from onnx import helper, numpy_helper

    graph = proto.graph
    kinds = ("HardSwish", "HardSigmoid")
    if not any(node.op_type in kinds for node in graph.node):
        return
    for name, value in ((_THREE, 3.0), (_ZERO, 0.0), (_SIX, 6.0), (_A_SIXTH, 1 / 6)):
        constant = numpy_helper.from_array(np.array(value, np.float32), name)
        graph.initializer.append(constant)
    nodes: list[NodeProto] = []
    for node in graph.node:
        swish = node.op_type == "HardSwish"
        hard = swish or (node.op_type == "HardSigmoid" and _is_standard(node))
        if not hard or node.name in kept:
            nodes.append(node)
            continue
        (x,), (y,), name = node.input, node.output, node.name
        gate = f"{y}.gate" if swish else y
        for kind, inputs, output, label in (
            ("Add", [x, _THREE], f"{y}.shifted", f"{name}/Add"),
            ("Clip", [f"{y}.shifted", _ZERO, _SIX], f"{y}.clamped", f"{name}/Clip"),
            ("Mul", [f"{y}.clamped", _A_SIXTH], gate, name + _SIXTH),
        ):
            nodes.append(helper.make_node(kind, inputs, [output], label))
        if swish:
            nodes.append(helper.make_node("Mul", [x, gate], [y], f"{name}/Mul"))
    del graph.node[:]
    graph.node.extend(nodes)


def _pool_means(proto: ModelProto) -> None:
    """Means over the two last of four axes."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.shape_inference.infer_shapes(proto).graph
    sizes = {v.name: len(v.type.tensor_type.shape.dim) for v in (*graph.value_info, *graph.input)}
    known = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        axes = options.get("axes", ())
        if len(node.input) > 1 and node.input[1] in known:
            axes = numpy_helper.to_array(known[node.input[1]])
        fits = node.op_type == "ReduceMean" and sizes.get(node.input[0]) == 4
        if not fits or sorted(int(a) % 4 for a in axes) != [2, 3]:
            nodes.append(node)
            continue
        keeps = bool(options.get("keepdims", 1))
        pooled = node.output[0] if keeps else f"{node.output[0]}.pooled"
        nodes.append(helper.make_node("GlobalAveragePool", node.input[:1], [pooled], node.name))
        if not keeps:
            nodes.append(
                helper.make_node("Flatten", [pooled], node.output, f"{node.name}/Flatten", axis=1)
            )
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _convolve_averages(proto: ModelProto) -> None:
    """Average pools whose windows all have as many pixels, as depthwise convolutions."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    for node in proto.graph.node:
        if node.op_type != "AveragePool":
            continue
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        shape, size = shapes.get(node.input[0], []), options["kernel_shape"]
        uneven = any(options.get("pads", [])) and not options.get("count_include_pad", 0)
        if uneven or options.get("ceil_mode", 0) or len(shape) != 4 or not shape[1]:
            continue
        weight = np.full((shape[1], 1, *size), 1 / math.prod(size), np.float32)
        name = f"{node.output[0]}.average"
        proto.graph.initializer.append(numpy_helper.from_array(weight, name))
        kept = [a for a in node.attribute if a.name not in ("count_include_pad", "ceil_mode")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("group", shape[1])])
        node.op_type = "Conv"
        node.input.append(name)


def _break_ties(proto: ModelProto) -> None:
    """Takes a little away from the 3 of h-sigmoids, which is 127.5 steps of what is clamped to 6.

    Where x is 0, as often in squeeze-excite, the sum would lie halfway between two integers, and
    kernels that add in another order would take another one: files gave 32 dB in WebAssembly beside
    x86, and give 42 dB so (docs/measurements/apps.md).
    """
    from onnx import numpy_helper

    for tensor in proto.graph.initializer:
        if tensor.name == f"{_THREE}_scale":
            scale = numpy_helper.to_array(tensor) * np.float32(1 - 1e-4)
            tensor.CopyFrom(numpy_helper.from_array(np.array(scale, np.float32), tensor.name))


def _merge_sixths(proto: ModelProto) -> None:
    """Takes away the multiplications by 1/6 behind a clamp: integers keep, their scale changes."""
    from onnx import helper, numpy_helper

    graph = proto.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    maker = {value: node for node in graph.node for value in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for value in node.input:
            readers.setdefault(value, []).append(node)
    gone: list[NodeProto] = []
    places: dict[int, NodeProto] = {}
    for product in [node for node in graph.node if node.name.endswith(_SIXTH)]:
        given = maker.get(product.input[0])
        writers = readers.get(product.output[0], [])
        quantized = given is not None and given.op_type == "DequantizeLinear"
        if not quantized or [node.op_type for node in writers] != ["QuantizeLinear"]:
            continue
        assert given is not None
        old = readers.get(writers[0].output[0], [])
        if any(node.op_type != "DequantizeLinear" for node in old):
            continue
        scale = f"{product.name}.scale"
        value = np.array(numpy_helper.to_array(known[given.input[1]]) / 6, np.float32)
        graph.initializer.append(numpy_helper.from_array(value, scale))
        for node in old:
            places[id(node)] = helper.make_node(
                "DequantizeLinear",
                [given.input[0], scale, given.input[2]],
                list(node.output),
                node.name,
            )
        gone += [product, *writers]
    leaving = {id(node) for node in gone}
    kept = [places.get(id(node), node) for node in graph.node if id(node) not in leaving]
    del graph.node[:]
    graph.node.extend(kept)
    _drop_unread(proto)


def _drop_unread(proto: ModelProto) -> None:
    """Takes away conversions whose output nothing reads any more."""
    graph = proto.graph
    outputs = {value.name for value in graph.output}
    while True:
        read = {value for node in graph.node for value in node.input} | outputs
        kept = [node for node in graph.node if any(value in read for value in node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _is_standard(node: NodeProto) -> bool:
    """Whether a h-sigmoid is PyTorch's, relu6(x + 3) / 6; the format's own default is another."""
    values = {str(attribute.name): float(attribute.f) for attribute in node.attribute}
    alpha, beta = values.get("alpha", 0.2), values.get("beta", 0.5)
    return abs(alpha - 1 / 6) < 1e-6 and abs(beta - 0.5) < 1e-6


def quantize(
    proto: ModelProto,
    scheme: Scheme,
    images: Sequence[Sequence[Array]],
    dense: Sequence[Dense] = (),
) -> ModelProto:
    """The network with weights and activations of the scheme's types.

    Args:
        proto: of float32, with nodes named ``module.path/Kind``.
        images: inputs that the ranges come from, an array for each input of the file; none for a
            scheme without calibration.
        dense: what `write_forms` returned.

    Raises:
        ModelError: no layer of the network could be quantized.
    """
    import onnx

    quantization = silent_import("onnxruntime.quantization")
    names = [value.name for value in proto.graph.input]
    excluded = [node.name for node in proto.graph.node if _kept(node, scheme.float_layers)]
    stem, kept = stem_of(proto, scheme.forms), set(excluded)
    weighty = [n.name for n in proto.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    if any(name not in kept for name in weighty if name not in stem):
        excluded += stem  # else a small network would have nothing but a stem
    # Its kernel of integers takes twice as long as that of float32, where float32 surrounds it.
    excluded += [node.name for node in proto.graph.node if node.op_type == "AveragePool"]
    # Norms have none, and the quantizer fails on factors of several axes.
    excluded += [node.name for node in proto.graph.node if node.op_type in _NORMS]
    if scheme.interface == "float":
        excluded += joined_ends(proto)
    before = len(proto.graph.node)
    types = {
        "int8": quantization.QuantType.QInt8,
        "uint8": quantization.QuantType.QUInt8,
        "uint16": quantization.QuantType.QUInt16,
    }
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder, _names_by_chance():
        path = Path(folder) / "quantized.onnx"
        common: dict[str, Any] = {
            "nodes_to_exclude": excluded,
            "weight_type": types[scheme.weights],
            "per_channel": bool(scheme.per_channel),
            "reduce_range": scheme.forms.get("weights") == "7bit",
        }
        if scheme.calibration is None:
            # It transposes weights of linear layers, and what was noted of their shape stays.
            del proto.graph.value_info[:]
            quantization.quantize_dynamic(proto, path, **common)
        else:
            stride = max(n for n in range(1, _IMAGES_AT_ONCE + 1) if len(images) % n == 0)
            quantization.quantize_static(
                proto,
                path,
                _Images(names, images),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=types[scheme.activations],
                calibrate_method=_method(scheme.calibration),
                extra_options={
                    "CalibStridedMinMax": stride,  # of all methods
                    "CalibPercentile": 100 - 2 * PERCENTILE,
                },
                **common,
            )
        quantized = onnx.load(str(path))
    if len(quantized.graph.node) == before:
        kinds = sorted({str(node.op_type) for node in proto.graph.node})
        raise ModelError(
            f"the network has no layer that ONNX Runtime's quantizer knows: it has "
            f"{', '.join(kinds)}"
        )
    _break_ties(quantized)
    _merge_sixths(quantized)
    leave_out_zeros(quantized, dense)
    return quantized


_WEIGHTY = (
    "AveragePool", "Conv", "ConvTranspose", "GRU", "Gemm", "GlobalAveragePool", "LSTM", "MatMul",
    "MaxPool", "RNN", "ReduceMean", "Resize",
)  # fmt: skip
"""What pays in integers: it has weights or works on whole maps."""


def joined_ends(proto: ModelProto) -> list[str]:
    """Names of what outputs are made of behind the last layers, where they are joined of parts.

    See the quantizer of TFLite: parts may be of other units or ranges, and stay in float.
    """
    nodes = list(proto.graph.node)
    maker = {value: at for at, node in enumerate(nodes) for value in node.output}
    layers = joined_behind(
        [[maker[name] for name in node.input if name in maker] for node in nodes],
        [maker[output.name] for output in proto.graph.output if output.name in maker],
        weighty=[node.op_type in _WEIGHTY for node in nodes],
        joining=[node.op_type == "Concat" for node in nodes],
    )
    return [nodes[at].name for at in layers]


@contextmanager
def _names_by_chance() -> Iterator[None]:
    """Else onnx names passing files after the address of a network card, for which it takes a
    socket.
    """
    from onnx import external_data_helper

    helper: Any = external_data_helper
    kept = getattr(helper, "uuid", uuid)
    helper.uuid = SimpleNamespace(uuid1=uuid.uuid4, uuid4=uuid.uuid4)
    try:
        yield
    finally:
        helper.uuid = kept


_PREPARING = ("Cast", "Gather", "Mul", "Sub", "Transpose")
"""What makes a network's input of the bytes of an image."""


def stem_of(proto: ModelProto, forms: Mapping[str, str]) -> list[str]:
    """Names of the nodes at the beginning that stay in float32."""
    import onnx

    form = forms.get("stem", "int8")
    if form == "int8":
        return []
    channels = NARROW if form == "narrow" else 0
    graph = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    known = {tensor.name for tensor in graph.initializer}
    inputs = {value.name for value in graph.input}
    begun, written, names = set(inputs), set[str](), []
    for node in graph.node:
        given = [name for name in node.input if name and name not in known]
        prepares = node.op_type in _PREPARING and inputs.issuperset(given)
        if prepares:
            inputs.update(node.output)
        first = prepares or (node.op_type == "Conv" and node.input[0] in inputs)
        made = shapes.get(node.output[0], [])
        narrow = len(made) == 4 and made[1] <= channels and all(name in begun for name in given)
        if node.op_type == "MaxPool" and node.input[0] in {*begun, *written}:
            # ONNX Runtime would move the step to integers in front of it, where it has a fast
            # kernel only behind a convolution of integers.
            return []
        if first or narrow:
            names.append(node.name)
            written.update(node.output)
        if narrow:
            begun.update(node.output)
    return names


class _Images:
    """What ONNX Runtime's calibration reads; the base class only says so."""

    def __init__(self, names: Sequence[str], images: Sequence[Sequence[Array]]) -> None:
        self._names, self._images = names, images
        self._rest: Iterator[Sequence[Array]] = iter(images)

    def get_next(self) -> dict[str, Array] | None:
        image = next(self._rest, None)
        return None if image is None else dict(zip(self._names, image, strict=True))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._images[start_index:end_index])


def _method(ranges: str) -> Any:
    method = silent_import("onnxruntime.quantization").CalibrationMethod
    return {
        "minmax": method.MinMax,
        "percentile": method.Percentile,
        "entropy": method.Entropy,
    }[ranges]


_NORMS = ("BatchNormalization", "InstanceNormalization", "LayerNormalization")


def _kept(node: NodeProto, layers: Sequence[str]) -> bool:
    """Whether a node belongs to one of some modules."""
    scope = str(node.name).partition("/")[0]
    return any(scope == layer or scope.startswith(f"{layer}.") for layer in layers)


def with_integer_interface(proto: ModelProto, images: Sequence[Sequence[Array]]) -> None:
    """Lets integers in and out, and notes what they stand for; inputs of integers stay as they are.

    Args:
        images: that the range of an input comes from, where its first layer computes in float32;
            an array for each input.

    Raises:
        ModelError: a last layer computes in float32.
    """
    from onnx import TensorProto

    graph = proto.graph
    notes: dict[str, list[float]] = {}
    for scores in graph.output:
        if scores.type.tensor_type.elem_type == TensorProto.FLOAT:
            notes[scores.name] = _integers_out(graph, scores)
    for i, image in enumerate(graph.input):
        if image.type.tensor_type.elem_type == TensorProto.FLOAT:
            notes[image.name] = _integers_in(graph, image, [one[i] for one in images])
    proto.metadata_props.add(key=TYPES_KEY, value=json.dumps(notes))


def _integers_out(graph: Any, scores: Any) -> list[float]:
    """Makes an output one of integers; scale and zero point."""
    from onnx import numpy_helper

    known = {tensor.name: tensor for tensor in graph.initializer}
    writer = next((node for node in graph.node if scores.name in node.output), None)
    if writer is None or writer.op_type != "DequantizeLinear":
        raise ModelError(
            f"what gives '{scores.name}' computes in float32, so that it has no integer interface: "
            f"export with --io float"
        )
    zero_of_scores = known[writer.input[2]]
    scale, zero = (numpy_helper.to_array(known[name]) for name in writer.input[1:3])
    quantized = writer.input[0]
    if any(scores.name in node.input for node in graph.node):  # it goes on in the network
        _rename(graph, scores.name, f"{scores.name}.float")
    else:
        graph.node.remove(writer)
    _rename(graph, quantized, scores.name)
    scores.type.tensor_type.elem_type = zero_of_scores.data_type
    for value in [value for value in graph.value_info if value.name == quantized]:
        graph.value_info.remove(value)
    return [float(scale), int(zero)]


def _integers_in(graph: Any, image: Any, images: Sequence[Array]) -> list[float]:
    """Makes an input one of integers; scale and zero point."""
    from onnx import TensorProto, helper, numpy_helper

    known = {tensor.name: tensor for tensor in graph.initializer}
    readers = [node for node in graph.node if image.name in node.input]
    if [node.op_type for node in readers] == ["QuantizeLinear"]:
        (reader,) = readers
        scale, zero = (numpy_helper.to_array(known[name]) for name in reader.input[1:3])
        image.type.tensor_type.elem_type = known[reader.input[2]].data_type
        graph.node.remove(reader)
        _rename(graph, reader.output[0], image.name)
        return [float(scale), int(zero)]
    values = np.concatenate([one.reshape(-1) for one in images])
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    step = np.float32((high - low) / 255)
    offset = np.uint8(round(-low / float(step)))
    for node in readers:
        for i, name in enumerate(node.input):
            if name == image.name:
                node.input[i] = f"{image.name}.float"
    constants: dict[str, np.ndarray[Any, Any]] = {
        "scale": np.array(step),
        "zero": np.array(offset),
    }
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value, f"{image.name}.{name}"))
    inputs = [image.name, *(f"{image.name}.{name}" for name in constants)]
    name = f"{image.name}/float"
    graph.node.insert(
        0, helper.make_node("DequantizeLinear", inputs, [f"{image.name}.float"], name)
    )
    image.type.tensor_type.elem_type = TensorProto.UINT8
    return [float(step), int(offset)]


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
