"""Damage to the graphs of ONNX files."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (0, -1, 2**31 - 1, 2**31, 2**63 - 1, -(2**63), 1 << 20, 65536)


def changing(
    change: Callable[[Any, random.Random], None],
) -> Callable[[Path, random.Random], None]:
    """Damage to a file, from a change to its graph."""

    def damage(path: Path, rng: random.Random) -> None:
        import onnx

        proto = onnx.load(str(path), load_external_data=False)
        change(proto, rng)
        path.write_bytes(proto.SerializeToString())

    damage.__name__ = change.__name__
    return damage


def initializer_sizes(proto: Any, rng: random.Random) -> None:
    tensor = rng.choice(proto.graph.initializer)
    if tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(SIZES)
    else:
        tensor.dims.extend([1 << 16] * 4)


def initializer_types(proto: Any, rng: random.Random) -> None:
    for tensor in rng.sample(list(proto.graph.initializer), 2):
        tensor.data_type = rng.choice((*range(24), 99, -1))


def input_sizes(proto: Any, rng: random.Random) -> None:
    value = rng.choice([*proto.graph.input, *proto.graph.output])
    sizes = value.type.tensor_type.shape.dim
    for _ in range(rng.choice((1, 2))):
        sizes[rng.randrange(len(sizes))].dim_value = rng.choice(SIZES)
    if rng.random() < 0.2:
        value.type.tensor_type.elem_type = rng.choice((0, 8, 9, 11, 16, 99))


def attributes(proto: Any, rng: random.Random) -> None:
    having = [n for n in proto.graph.node if n.attribute]
    for node in rng.sample(having, min(len(having), rng.choice((1, 4)))):
        attribute = rng.choice(node.attribute)
        number = rng.choice((0, -1, *SIZES))
        if attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = number
        elif attribute.type == 2:
            attribute.i = number
        elif attribute.type == 1:
            attribute.f = rng.choice((float("nan"), float("inf"), -1.0))
        else:
            attribute.s = b"\xff\x00" * 20


def edges(proto: Any, rng: random.Random) -> None:
    for node in rng.sample(list(proto.graph.node), rng.choice((1, 3))):
        if not node.input:
            continue
        name = rng.choice((node.output[0], "", "nowhere", proto.graph.node[-1].output[0], "x" * 99))
        node.input[rng.randrange(len(node.input))] = name


def operators(proto: Any, rng: random.Random) -> None:
    node = rng.choice(proto.graph.node)
    node.op_type = rng.choice(("Nothing", "Loop", "If", "Scan", "Conv", "Gather", "Reshape", ""))
    node.domain = rng.choice(("", "", "com.microsoft", "nobody"))


def versions(proto: Any, rng: random.Random) -> None:
    if rng.random() < 0.5:
        proto.ir_version = rng.choice((0, 1, 99, 2**62))
    else:
        proto.opset_import[0].version = rng.choice((0, 1, 6, 9999, 2**62, -1))


def weights(proto: Any, rng: random.Random) -> None:
    from onnx import numpy_helper

    for tensor in rng.sample(list(proto.graph.initializer), 3):
        values = numpy_helper.to_array(tensor).copy()
        if values.dtype.kind == "f":
            values[...] = rng.choice((np.nan, np.inf, 3e38))
        elif values.size:
            values[...] = np.iinfo(values.dtype).max
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def external(proto: Any, rng: random.Random) -> None:
    """Weights that lie in another file, which is no business of this one."""
    from onnx import TensorProto

    tensor = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    place = rng.choice(("/dev/zero", "../../../../../../etc/passwd", "missing.bin", "/dev/stdin"))
    length = rng.choice(("10", str(2**62), "-1", "text"))
    for key, value in (
        ("location", place),
        ("offset", rng.choice(("0", "-5"))),
        ("length", length),
    ):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _before(proto: Any, nodes: list[Any]) -> None:
    """Puts nodes before all others, and their last output beside the image."""
    old = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes, *old])


def _output(proto: Any, name: str, kind: int = 1) -> None:
    from onnx import helper

    proto.graph.output.append(helper.make_tensor_value_info(name, kind, None))


def _constant(proto: Any, name: str, values: Any) -> str:
    from onnx import numpy_helper

    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def huge_fill(proto: Any, rng: random.Random) -> None:
    """Operators that make tensors of any size from next to nothing."""
    size = rng.choice(([10**10], [1 << 14, 1 << 14, 8], [2**62, 2], [-1], [1 << 28]))
    fill(proto, size, rng.choice(("ConstantOfShape", "Expand", "Tile", "Range", "RandomNormal")))


def fill(proto: Any, size: list[int], kind: str) -> None:
    """An operator that makes a tensor of a size."""
    from onnx import helper

    shape = _constant(proto, "huge.shape", np.array(size, np.int64))
    one = _constant(proto, "huge.one", np.ones([1] * len(size), np.float32))
    if kind == "ConstantOfShape":
        made = [helper.make_node(kind, [shape], ["huge"])]
    elif kind == "RandomNormal":
        made = [helper.make_node(kind, [], ["huge"], shape=size)]
    elif kind == "Range":
        ends = [
            _constant(proto, f"huge.{i}", np.array(n, np.int64))
            for i, n in enumerate((0, abs(size[0]), 1))
        ]
        made = [
            helper.make_node(kind, ends, ["huge.r"]),
            helper.make_node("Cast", ["huge.r"], ["huge"], to=1),
        ]
    else:
        made = [helper.make_node(kind, [one, shape], ["huge"])]
    _before(proto, [*made, helper.make_node("ReduceMax", ["huge"], ["huge.max"], keepdims=0)])
    first = next(n for n in proto.graph.node if "image" in n.input)
    proto.graph.node.append(
        helper.make_node("Add", [proto.graph.output[0].name, "huge.max"], ["sum"])
    )
    proto.graph.output[0].name = "sum"
    assert first is not None


def loop(proto: Any, rng: random.Random) -> None:
    """A loop without an end, or with one in a thousand years."""
    from onnx import TensorProto, helper

    scalar = helper.make_tensor_value_info
    growing = rng.random() < 0.3
    inner = [helper.make_node("Identity", ["c"], ["c.out"])]
    if growing:
        inner.append(helper.make_node("Concat", ["v", "v"], ["v.out"], axis=0))
    else:
        inner.append(helper.make_node("Mul", ["v", "v"], ["v.out"]))
    body = helper.make_graph(
        inner,
        "body",
        [scalar("i", TensorProto.INT64, []), scalar("c", TensorProto.BOOL, []),
         scalar("v", TensorProto.FLOAT, None)],
        [scalar("c.out", TensorProto.BOOL, []), scalar("v.out", TensorProto.FLOAT, None)],
    )  # fmt: skip
    trips = "" if rng.random() < 0.5 else _constant(proto, "trips", np.array(2**62, np.int64))
    condition = _constant(proto, "go", np.array(True))
    start = _constant(proto, "start", np.ones(1, np.float32))
    _before(proto, [helper.make_node("Loop", [trips, condition, start], ["looped"], body=body)])
    proto.graph.node.append(helper.make_node("ReduceMax", ["looped"], ["looped.max"], keepdims=0))
    last = proto.graph.output[0].name
    proto.graph.node.append(helper.make_node("Add", [last, "looped.max"], ["sum"]))
    proto.graph.output[0].name = "sum"


def deep(proto: Any, rng: random.Random) -> None:
    """Conditions in conditions."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("deep", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["one"], ["deep"])], "g", [], [value])
    _constant(proto, "one", np.ones(1, np.float32))
    condition = _constant(proto, "yes", np.array(True))
    for _ in range(rng.choice((5, 20, 30))):
        node = helper.make_node("If", [condition], ["deep"], then_branch=graph, else_branch=graph)
        if node.ByteSize() > 1 << 24:
            break
        graph = helper.make_graph([node], "g", [], [value])
    _before(proto, [node])


def nested_bytes(proto: Any, rng: random.Random) -> None:
    """Messages in messages, thousands deep, written by hand."""
    content = b""
    for _ in range(rng.choice((200, 5000))):
        # Attribute g (6) of a node's attribute (5) of a graph's node (1).
        for field in (5, 1, 6):
            size, head = len(content), bytearray([field << 3 | 2])
            while size > 127:
                head.append(size & 127 | 128)
                size >>= 7
            content = bytes(head) + bytes([size]) + content
    proto.graph.node[0].MergeFromString(b"")
    proto.graph.node.add().ParseFromString(b"")
    proto.metadata_props.add(key="deep", value="x")
    proto.graph.doc_string = content.decode("latin-1")


def quantization(proto: Any, rng: random.Random) -> None:
    from onnx import numpy_helper

    scales = [
        t for t in proto.graph.initializer
        if t.name in {i for n in proto.graph.node if "Quantize" in n.op_type for i in n.input[1:2]}
    ]  # fmt: skip
    for tensor in rng.sample(scales, min(4, len(scales))):
        values = numpy_helper.to_array(tensor).copy()
        values[...] = rng.choice((0.0, np.nan, np.inf, -1.0, 1e-45))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def reshaped(proto: Any, rng: random.Random) -> None:
    """Pads, resizes and shapes of any size."""
    from onnx import helper

    kind = rng.choice(("Pad", "Resize", "Reshape", "Tile"))
    if kind == "Pad":
        pads = _constant(proto, "big.pads", np.array([0, 0, 10**5, 10**5] * 2, np.int64))
        made = helper.make_node("Pad", ["image", pads], ["big"])
    elif kind == "Resize":
        scales = _constant(proto, "big.scales", np.array([1, 1, 1e4, 1e4], np.float32))
        made = helper.make_node("Resize", ["image", "", scales], ["big"])
    elif kind == "Tile":
        times = _constant(proto, "big.times", np.array([1, 1, 10**4, 10**4], np.int64))
        made = helper.make_node("Tile", ["image", times], ["big"])
    else:
        shape = _constant(proto, "big.shape", np.array([1, 3, 2**31, 2**31], np.int64))
        made = helper.make_node("Reshape", ["image", shape], ["big"])
    for node in proto.graph.node:
        node.input[:] = ["big" if name == "image" else name for name in node.input]
    _before(proto, [made])
    del proto.graph.value_info[:]


def duplicates(proto: Any, rng: random.Random) -> None:
    what = rng.randrange(4)
    if what == 0:
        proto.graph.initializer.append(rng.choice(proto.graph.initializer))
    elif what == 1:
        proto.graph.node.append(rng.choice(proto.graph.node))
    elif what == 2:
        proto.graph.output.append(proto.graph.output[0])
    else:
        proto.graph.input.append(proto.graph.input[0])


def without(proto: Any, rng: random.Random) -> None:
    graph = proto.graph
    part = rng.choice(
        (graph.node, graph.initializer, graph.input, graph.output, proto.opset_import)
    )
    if rng.random() < 0.5 and len(part) > 1:
        del part[rng.randrange(len(part))]
    else:
        del part[:]


def notes(proto: Any, rng: random.Random) -> None:
    """What edgekit itself reads out of the file."""
    value = rng.choice(
        (
            "[" * 100_000,
            "{}",
            '{"image": 3}',
            "null",
            "\udcff".encode("utf-8", "replace").decode(),
            "1e999",
        )
    )
    for entry in proto.metadata_props:
        if rng.random() < 0.7:
            entry.value = value
    proto.metadata_props.add(key="edgekit.interface", value=value)
    proto.metadata_props.add(key="edgekit.tensors", value=value)


KINDS = {
    f.__name__: changing(f)
    for f in (
        initializer_sizes, initializer_types, input_sizes, attributes, edges, operators, versions,
        weights, external, huge_fill, loop, deep, nested_bytes, quantization, reshaped, duplicates,
        without, notes,
    )
}  # fmt: skip
