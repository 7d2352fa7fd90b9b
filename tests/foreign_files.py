"""Files that edgekit did not export: networks that double what they get, of any shape and type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

Size = int | str
"""A number, or a name for a size that is left open."""


def onnx_file(path: Path, shape: Sequence[Size], dtype: str = "float32", inner: int = 0) -> Path:
    """Args: inner: a number of images that a reshape inside is fixed to; 0 for none."""
    import onnx
    from onnx import TensorProto, helper

    kind = {"float32": "float", "float64": "double"}.get(dtype, dtype).upper()
    number = getattr(TensorProto, kind)
    if dtype in ("bool", "bfloat16", "string"):
        nodes = [helper.make_node("Identity", ["image"], ["scores"])]
    else:
        nodes = [helper.make_node("Add", ["image", "image"], ["scores"])]
    weights = []
    if inner:
        fixed = [inner, -1]
        weights = [helper.make_tensor("fixed", TensorProto.INT64, [2], fixed)]
        nodes = [
            helper.make_node("Reshape", ["image", "fixed"], ["flat"]),
            helper.make_node("Sigmoid", ["flat"], ["scores"]),
        ]
    graph = helper.make_graph(
        nodes,
        "doubling",
        [helper.make_tensor_value_info("image", number, shape)],
        [helper.make_tensor_value_info("scores", number, None if inner else shape)],
        weights,
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def openvino_file(path: Path, shape: Sequence[Size], dtype: str = "float32") -> Path:
    import openvino as ov
    from openvino import opset13

    sizes = [-1 if isinstance(size, str) else size for size in shape]
    kind = {
        "float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16",
        "int64": "i64", "uint8": "u8", "bool": "boolean", "string": "string",
    }[dtype]  # fmt: skip
    image = opset13.parameter(ov.PartialShape(sizes), getattr(ov.Type, kind), name="image")
    doubled = image if dtype in ("bool", "string") else opset13.add(image, image)
    ov.save_model(ov.Model([opset13.result(doubled)], [image], "doubling"), path, False)
    return path


def tflite_file(path: Path, shape: Sequence[Size], dtype: str = "float32") -> Path:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    code, add = schema.OperatorCodeT(), schema.OperatorT()
    code.version, code.builtinCode = 1, schema.BuiltinOperator.ADD
    add.inputs, add.outputs = [0, 0], [1]
    add.builtinOptionsType = schema.BuiltinOptions.AddOptions
    add.builtinOptions = schema.AddOptionsT()
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for tensor, name in zip(graph.tensors, ("image", "scores"), strict=True):
        tensor.name, tensor.type = name, getattr(schema.TensorType, dtype.upper())
        # Converters write 1 for what is left open; only the signature tells.
        tensor.shape = [1 if isinstance(size, str) else size for size in shape]
        tensor.shapeSignature = [-1 if isinstance(size, str) else size for size in shape]
    graph.operators, graph.inputs, graph.outputs = [add], [0], [1]
    model.version, model.description = 3, "doubling"
    model.operatorCodes, model.buffers, model.subgraphs = [code], [schema.BufferT()], [graph]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


WRITERS: dict[str, Callable[..., Path]] = {
    "onnx": onnx_file,
    "openvino": openvino_file,
    "tflite": tflite_file,
}


def write(target: str, folder: Path, shape: Sequence[Size], dtype: str = "float32") -> Path:
    """A file of a target, ``doubling`` with its ending."""
    suffix = {"onnx": ".onnx", "openvino": ".xml", "tflite": ".tflite"}[target]
    return WRITERS[target](folder / f"doubling{suffix}", shape, dtype)
