"""Graphs of torch.onnx, taken over for networks that differ in their widths and weights only.

torch.onnx needs half a second for a block of a network whatever its size, and a search writes
hundreds of blocks that are alike. A graph is taken over where the modules, their settings and the
names of their tensors are the same, and all code is edgekit's or torch's; it is used only if ONNX
Runtime then computes what the network does.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from edgekit.core import Example, silent_import

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from onnx import ModelProto, TensorProto
    from torch import Tensor, nn

KEPT = 64
"""Graphs, without their weights; a search's network has some ten kinds of blocks."""

CLOSE = 1e-4
"""Largest relative difference of the outputs: exported parts of MobileNetV3-Small and V1
differed by 2.5e-7 at most."""

SMALL = 1024
"""Numbers of a tensor up to which torch.onnx looks for an equal one."""


class KeptGraphs:
    """Graphs that were exported in this process.

    Args:
        export: gives a network's graph; its initializers bear the names of the network's tensors.
    """

    def __init__(self, export: Callable[[nn.Module, Example], ModelProto]) -> None:
        self._export = export
        self._graphs: OrderedDict[str, ModelProto] = OrderedDict()

    def of(self, model: nn.Module, given: Example) -> ModelProto:
        """The graph of a network.

        Args:
            model: takes ``given``, which has batch 1.
        """
        example, *others = given.tensors
        several = bool(others) or len(given.interface.outputs) > 1 or example.ndim != 4
        key = None if several else _structure(model, example)
        if key is None:
            return self._export(model, given)
        if key in self._graphs:
            self._graphs.move_to_end(key)
            proto = _with_tensors(self._graphs[key], model, example)
            if proto is not None and _agrees(proto, model, example):
                return proto
        proto = self._export(model, given)
        if _holds(proto, model):
            self._graphs[key] = _without_tensors(proto, model)
            if len(self._graphs) > KEPT:
                self._graphs.popitem(last=False)
        return proto


def _structure(model: nn.Module, example: Tensor) -> str | None:
    """All that a graph depends on, but for widths; ``None`` where that is not known."""
    import torch

    structure: list[object] = [tuple(example.shape[2:])]
    inner, widths = set(vars(torch.nn.Module())), _widths()
    for path, module in model.named_modules(remove_duplicate=False):
        trains = module.training and not isinstance(module, torch.nn.Identity)
        if not _is_ours(module) or trains or module._forward_hooks:
            return None
        if module._forward_pre_hooks or module._non_persistent_buffers_set:
            return None
        own = {name: value for name, value in vars(module).items() if name not in inner}
        settings = _settings(module, own, widths)
        if not all(_is_plain(value) for _, value in settings):
            return None
        structure.append((path, type(module).__module__, type(module).__qualname__, settings))
    state = model.state_dict(keep_vars=True)
    if any(value.dtype != torch.float32 for value in (*state.values(), example)):
        return None
    places: dict[object, int] = {}
    for name, value in state.items():
        # torch.onnx keeps one of small tensors that are equal, and leaves biases of zeros out.
        values = value.detach().contiguous().numpy()
        small = values.size <= SMALL
        same: object = (values.shape, values.tobytes()) if small else value.data_ptr()
        structure.append((name, value.ndim, places.setdefault(same, len(places)), not values.any()))
    return repr(structure)


def _is_ours(module: nn.Module) -> bool:
    """Whether a module's code is torch's or edgekit's, which does the same at all widths."""
    from torch import fx

    owner = type(module).__module__
    return isinstance(module, fx.GraphModule) or owner.startswith(("torch.nn.", "edgekit."))


def _settings(
    module: nn.Module, own: Mapping[str, object], widths: Mapping[type, tuple[str, ...]]
) -> tuple[tuple[str, object], ...]:
    """What a module's code may look at, but for widths."""
    from torch import fx, nn

    if isinstance(module, fx.GraphModule):
        return (("code", module.code),)
    hidden = {name for kind, names in widths.items() if isinstance(module, kind) for name in names}
    kept = {
        name: value
        for name, value in own.items()
        # edgekit's layers know the names of their widths, which no code looks at that is exported.
        if name not in hidden and type(value).__qualname__ != "Width"
    }
    if isinstance(module, nn.Conv2d):
        many = 1 < module.groups == module.in_channels == module.out_channels
        kept["groups"] = "depthwise" if many else module.groups
    return tuple(kept.items())


def _widths() -> dict[type, tuple[str, ...]]:
    """Attributes that say how many channels a layer has, as its tensors do."""
    from torch import nn

    return {
        nn.Conv2d: ("in_channels", "out_channels"),
        nn.Linear: ("in_features", "out_features"),
        nn.BatchNorm2d: ("num_features",),
    }


def _is_plain(value: object) -> bool:
    """Whether values with the same text are equal."""
    if isinstance(value, tuple | list):
        return all(_is_plain(one) for one in value)
    return value is None or isinstance(value, bool | int | float | str)


def _holds(proto: ModelProto, model: nn.Module) -> bool:
    """Whether all numbers of a graph are the network's own tensors, or do not depend on them.

    torch.onnx may fold what it computes from tensors: such a graph is no other network's.
    """
    from onnx import TensorProto, numpy_helper

    state = model.state_dict()
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name in state:
            if not np.array_equal(values, state[tensor.name].numpy()):
                return False
        elif tensor.data_type == TensorProto.FLOAT and values.size > 1:
            return False
    return not any(value.ndim == 0 for value in state.values())  # may be one of the graph's numbers


def _without_tensors(proto: ModelProto, model: nn.Module) -> ModelProto:
    """A copy without the values of the network's own tensors."""
    from onnx import ModelProto

    kept, names = ModelProto(), set(model.state_dict())
    kept.CopyFrom(proto)
    for tensor in kept.graph.initializer:
        if tensor.name in names:
            tensor.ClearField("raw_data")
    del kept.graph.value_info[:]
    anew = ModelProto()
    anew.ParseFromString(kept.SerializeToString())  # a cleared field keeps its memory
    return anew


def _with_tensors(graph: ModelProto, model: nn.Module, example: Tensor) -> ModelProto | None:
    """A kept graph with a network's tensors; ``None`` where its shapes do not go together."""
    import onnx
    from onnx import numpy_helper, shape_inference

    proto = onnx.ModelProto()
    proto.CopyFrom(graph)
    state = model.state_dict()
    kept = {tensor.name: tensor.dims[0] for tensor in proto.graph.initializer if tensor.dims}
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "group" and attribute.i > 1 and node.input[1] in state:
                filters = state[node.input[1]]
                if filters.shape[1] == 1 and attribute.i == kept[node.input[1]]:  # depthwise
                    attribute.i = filters.shape[0]
    for tensor in proto.graph.initializer:
        if tensor.name in state:
            values = state[tensor.name].detach().contiguous().numpy()
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    shape = proto.graph.input[0].type.tensor_type.shape
    for dim, n in zip(shape.dim, example.shape, strict=True):
        dim.dim_value = n
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    rows = _rows(proto)
    for tensor, _ in rows:
        tensor.CopyFrom(numpy_helper.from_array(np.array([1, -1]), tensor.name))
    try:
        inferred = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    except shape_inference.InferenceError:
        return None
    lengths = {
        value.name: value.type.tensor_type.shape.dim[-1].dim_value
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if value.type.tensor_type.shape.dim
    }
    for tensor, outputs in _rows(inferred):
        own = {lengths.get(name) for name in outputs}
        if len(own) > 1 or None in own:
            return None
        tensor.CopyFrom(numpy_helper.from_array(np.array([1, *own]), tensor.name))
    return inferred


def _rows(proto: ModelProto) -> list[tuple[TensorProto, list[str]]]:
    """Shapes that only turn tensors into rows, (1, n), and the names of the rows."""
    from onnx import numpy_helper

    found = []
    for tensor in proto.graph.initializer:
        users = [node for node in proto.graph.node if tensor.name in node.input]
        only = users and all(
            node.op_type == "Reshape" and node.input[1] == tensor.name for node in users
        )
        if only and list(tensor.dims) == [2] and numpy_helper.to_array(tensor)[0] == 1:
            found.append((tensor, [node.output[0] for node in users]))
    return found


def _agrees(proto: ModelProto, model: nn.Module, example: Tensor) -> bool:
    """Whether ONNX Runtime computes from the graph what the network gives."""
    import torch

    ort = silent_import("onnxruntime")
    images = torch.randn(example.shape, generator=torch.Generator().manual_seed(0))
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = ort.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {proto.graph.input[0].name: images.numpy()})
    except Exception:  # the runtime raises all kinds of them; the network is exported anew then
        return False
    with torch.no_grad():
        wanted = model(images).numpy()
    if found.shape != wanted.shape:
        return False
    return bool(np.linalg.norm(found - wanted) <= CLOSE * np.linalg.norm(wanted))
