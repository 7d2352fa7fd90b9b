"""Files that edgekit did not export: networks that double what they get, of any shape and type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
    return _packed(path, model)


def _packed(path: Path, model: Any) -> Path:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _tflite_graph(
    path: Path,
    tensors: Sequence[tuple[str, Sequence[int], str]],
    operators: Sequence[tuple[str, Sequence[int], Sequence[int], Any]],
    ends: tuple[Sequence[int], Sequence[int]],
    constants: Sequence[tuple[int, bytes]] = (),
) -> Path:
    """A file of operators: kind, inputs, outputs, and options or those of a custom operator."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.operatorCodes = 3, "odd", []
    model.buffers, graph.tensors, graph.operators = [schema.BufferT()], [], []
    for name, shape, dtype in tensors:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name, list(shape)
        tensor.type = getattr(schema.TensorType, dtype)
        graph.tensors.append(tensor)
    for index, content in constants:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        graph.tensors[index].buffer = len(model.buffers)
        model.buffers.append(buffer)
    for kind, inputs, outputs, options in operators:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.version = 1
        number = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        operator.opcodeIndex = len(model.operatorCodes)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if number == schema.BuiltinOperator.CUSTOM:
            code.customCode = kind
            operator.customOptions = np.frombuffer(options, np.uint8)
        else:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = options
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    graph.inputs, graph.outputs = map(list, ends)
    model.subgraphs = [graph]
    return _packed(path, model)


def tflite_variable(path: Path) -> Path:
    """Keeps its input in a variable and reads it back: an operator of it has no output."""
    from ai_edge_litert import schema_py_generated as schema

    handle = schema.VarHandleOptionsT()
    handle.container, handle.sharedName = "", "kept"
    numbers = [1, 16]
    return _tflite_graph(
        path,
        [("x", numbers, "FLOAT32"), ("handle", [1], "RESOURCE"), ("kept", numbers, "FLOAT32"),
         ("y", numbers, "FLOAT32")],
        [
            ("VAR_HANDLE", [], [1], handle),
            ("ASSIGN_VARIABLE", [1, 0], [], schema.AssignVariableOptionsT()),
            ("READ_VARIABLE", [1], [2], schema.ReadVariableOptionsT()),
            ("ADD", [2, 0], [3], schema.AddOptionsT()),
        ],
        ([0], [3]),
    )  # fmt: skip


def tflite_detections(path: Path) -> Path:
    """Boxes and scores to the best of them, by an operator that is none of TensorFlow Lite's."""
    from flatbuffers import flexbuffers

    options = flexbuffers.Builder()
    with options.Map():
        for name, whole in (("max_detections", 3), ("max_classes_per_detection", 1)):
            options.Key(name)
            options.Int(whole)
        options.Key("num_classes")
        options.Int(3)
        scales = dict.fromkeys(("y_scale", "x_scale", "h_scale", "w_scale"), 5.0)
        for name, number in {
            **scales,
            "nms_score_threshold": 0.1,
            "nms_iou_threshold": 0.5,
        }.items():
            options.Key(name)
            options.Float(number)
    anchors = np.random.default_rng(0).uniform(0.1, 0.9, (8, 4)).astype(np.float32)
    shapes = ([1, 8, 4], [1, 8, 4], [8, 4], [1, 3, 4], [1, 3], [1, 3], [1])
    return _tflite_graph(
        path,
        [(f"t{i}", shape, "FLOAT32") for i, shape in enumerate(shapes)],
        [("TFLite_Detection_PostProcess", [0, 1, 2], [3, 4, 5, 6], bytes(options.Finish()))],
        ([0, 1], [3, 4, 5, 6]),
        [(2, anchors.tobytes())],
    )


def onnx_sparse(path: Path) -> Path:
    """A product with a matrix that is stored as the few numbers that are not zero."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    values = numpy_helper.from_array(np.array([2, 1], np.float32), "w")
    places = numpy_helper.from_array(np.array([1, 51], np.int64), "places")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 16]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "sparse",
        ends[:1],
        ends[1:],
        sparse_initializer=[helper.make_sparse_tensor(values, places, [16, 16])],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
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
