"""Non-maximum suppression at the end of an OpenVINO model.

Candidates are sorted, and the operator sees their ranks in place of scores: it leaves open which of
two equal scores counts as higher.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.core import BARE, Suppression, silent_import
from exporters._suppression import LEAST, PREFIX, THIN, far


def suppress(graph: Any, about: Suppression) -> Any:
    """A model with it; see `edgekit.core.Suppressing`."""
    ov, ops = silent_import("openvino"), silent_import("openvino.opset13")
    results = {port.get_node().get_friendly_name(): port.get_node() for port in graph.outputs}
    boxes, scores = (results[name].input_value(0) for name in BARE)
    for name, port in zip(BARE, (boxes, scores), strict=True):
        port.get_tensor().set_names({f"{PREFIX}{name}"})
    anchors, most = boxes.get_shape()[1], about.max_detections
    count = min(about.candidates, anchors * about.classes)

    def numbers(*values: int) -> Any:
        return ops.constant(np.array(values, np.int64))

    def gathered(values: Any, indices: Any) -> Any:
        return ops.gather(values, indices, ops.constant(np.int64(0)))

    zero = ops.constant(np.float32(0))
    classes = ops.constant(np.int64(about.classes))
    # The surest pairs of box and class, the highest score first.
    flat = ops.reshape(scores, numbers(-1), special_zero=False)
    size = ops.constant(np.int64(count))
    some = _surest(ops, flat, anchors * about.classes, size)
    order = {"index_element_type": "i64", "stable": True}
    surest = ops.topk(gathered(flat, some), size, 0, "max", "value", **order)
    values, places = surest.output(0), gathered(some, surest.output(1))
    of_box = ops.divide(places, classes)
    of_class = ops.subtract(places, ops.multiply(of_box, classes))
    corners = gathered(ops.reshape(boxes, numbers(-1, 4), special_zero=False), of_box)
    ranks = ops.constant(np.arange(count, 0, -1, dtype=np.float32))
    least = ops.constant(np.float32(max(about.score_threshold, LEAST)))
    rank = ops.select(ops.greater_equal(values, least), ranks, zero)
    # Each class by itself, (1, classes, candidates).
    every = ops.constant(np.arange(about.classes, dtype=np.int64)[:, None])
    own = ops.select(ops.equal(of_class, every), rank, zero)
    first, last = ops.split(corners, ops.constant(np.int64(1)), 2).outputs()
    shorter = ops.reduce_min(ops.subtract(last, first), numbers(1), True)
    flat_ones = ops.less(shorter, ops.constant(np.float32(THIN)))
    areas = ops.select(flat_ones, ops.constant(far(count)), corners)
    kept = ops.non_max_suppression(
        ops.reshape(areas, numbers(1, count, 4), special_zero=False),
        ops.reshape(own, numbers(1, about.classes, count), special_zero=False),
        ops.constant(np.int64(most)),
        # It takes an overlap that equals the bound as too much.
        ops.constant(
            np.maximum(np.nextafter(np.float32(about.nms_iou), np.float32(2)), np.float32(LEAST))
        ),
        ops.constant(np.float32(0.5)),
        ops.constant(np.float32(0)),
        "corner",
        sort_result_descending=False,
        output_type="i64",
    )
    # The best of all classes together, in places of fixed number; ranks tell which they are.
    taken = ops.gather(kept.output(1), ops.constant(np.int64(2)), ops.constant(np.int64(1)))
    some = ops.concat([taken, ops.constant(np.zeros(most, np.float32))], 0)
    best = ops.topk(some, ops.constant(np.int64(most)), 0, "max", "value").output(0)
    there = ops.greater(best, zero)
    at = ops.convert(
        ops.minimum(
            ops.subtract(ops.constant(np.float32(count)), best),
            ops.constant(np.float32(count - 1)),
        ),
        "i64",
    )

    def column(values: Any) -> Any:
        found = ops.select(there, gathered(values, at), zero)
        return ops.reshape(found, numbers(1, most), special_zero=False)

    standing = ops.reshape(there, numbers(most, 1), special_zero=False)
    found = ops.select(standing, gathered(corners, at), zero)
    made = {
        "boxes": ops.reshape(found, numbers(1, most, 4), special_zero=False),
        "scores": column(values),
        "classes": column(ops.convert(of_class, "f32")),
        "count": ops.reduce_sum(ops.convert(there, "f32"), numbers(0), True),
    }
    return _model(ov, ops, graph, made)


def _surest(ops: Any, flat: Any, length: int, count: Any) -> Any:
    """Places of the highest of many numbers in ascending order; of equal ones the first count.

    The operator can tell which of equal numbers it takes, but not in a time that is worth it: half
    a second for 240,000.
    """
    zero = ops.constant(np.float32(0))
    highest = ops.topk(flat, count, 0, "max", "value").output(0)
    last = ops.reduce_min(highest, ops.constant(np.array([0], np.int64)), True)
    above = ops.convert(ops.greater(flat, last), "f32")
    equal = ops.convert(ops.equal(flat, last), "f32")
    first = ops.constant(np.int64(0))
    number = ops.cum_sum(equal, first)
    room = ops.subtract(ops.convert(count, "f32"), ops.reduce_sum(above, first, False))
    joins = ops.logical_and(ops.equal(flat, last), ops.less_equal(number, room))
    stays = ops.logical_or(ops.greater(flat, last), joins)
    # All different, so that nothing is left open.
    bounds = (ops.constant(np.int64(n)) for n in (length, 0, -1))
    turned = ops.range(*bounds, "f32")
    key = ops.select(stays, turned, zero)
    return ops.topk(key, count, 0, "max", "value", index_element_type="i64").output(1)


def unsuppress(graph: Any) -> Any:
    """A model without it.

    Raises:
        LookupError: there is none.
    """
    ov, ops = silent_import("openvino"), silent_import("openvino.opset13")
    found = {}
    for op in graph.get_ordered_ops():
        for port in op.outputs():
            for name in BARE:
                if f"{PREFIX}{name}" in port.get_names():
                    found[name] = port
    return _model(ov, ops, graph, {name: found[name] for name in BARE})


def _model(ov: Any, ops: Any, graph: Any, outputs: dict[str, Any]) -> Any:
    """The same inputs, and other outputs."""
    results = []
    for name, made in outputs.items():
        port = made if hasattr(made, "get_tensor") else made.output(0)
        port.get_tensor().set_names({name})
        result = ops.result(port)
        result.set_friendly_name(name)
        results.append(result)
    model = ov.Model(results, graph.get_parameters(), "main")
    model.validate_nodes_and_infer_types()
    return model
