"""Files from elsewhere: sizes that they leave open, types that edgekit's own never have."""

from __future__ import annotations

from pathlib import Path

import foreign_files
import numpy as np
import pytest

from edgekit import registry
from edgekit.core import Profilable, Runner
from edgekit.errors import InputError
from edgekit.native_output import captured


def opened(target: str, path: Path, batch: int | None = None) -> Runner:
    with captured():
        return registry.target(target).open(path, 1, batch=batch)


@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("target", registry.TARGETS)
def test_an_open_batch_is_the_one_that_is_asked_for(
    target: str, batch: int | None, tmp_path: Path
) -> None:
    path = foreign_files.write(target, tmp_path, ["N", 3, 8, 8])
    runner = opened(target, path, batch)
    (image,), (scores,) = runner.tensors()
    assert (image.name, image.shape, image.dtype) == ("image", (batch or 1, 3, 8, 8), "float32")
    assert scores.shape[1:] == (3, 8, 8)
    assert scores.shape[0] in (-1, batch or 1)
    value = np.random.default_rng(0).standard_normal(image.shape).astype(np.float32)
    assert np.array_equal(runner.run([value])[0], 2 * value)
    infer = runner.prepare([value])
    infer()
    infer()
    assert np.array_equal(runner.outputs()[0], 2 * value)


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("target", registry.TARGETS)
def test_other_open_sizes_are_refused_by_name(
    target: str, batch: int | None, tmp_path: Path
) -> None:
    path = foreign_files.write(target, tmp_path, ["N", 3, "H", "W"])
    with pytest.raises(InputError) as caught:
        opened(target, path, batch)
    shown = {"onnx": "N x 3 x H x W", "openvino": "? x 3 x ? x ?", "tflite": "? x 3 x ? x ?"}
    message = str(caught.value)
    assert str(path) in message
    assert f"input 'image' has the shape {shown[target]}" in message
    assert "fix" in message


NUMBERS = {
    **dict.fromkeys(registry.TARGETS, ("float16", "float64", "int64", "uint8", "bool")),
    "tflite": ("float32", "int64"),  # LiteRT's addition knows no others
}


@pytest.mark.parametrize(
    ("target", "dtype"), [(target, dtype) for target, some in NUMBERS.items() for dtype in some]
)
def test_numbers_of_any_type_can_be_given(target: str, dtype: str, tmp_path: Path) -> None:
    runner = opened(target, foreign_files.write(target, tmp_path, ["N", 4], dtype))
    (image,), _ = runner.tensors()
    assert (image.shape, image.dtype) == ((1, 4), dtype)
    value = np.array([[0, 1, 1, 0]], dtype)
    runner.prepare([value])()
    expected = value if dtype == "bool" else value + value
    assert np.array_equal(runner.outputs()[0], expected)


@pytest.mark.parametrize(
    ("target", "dtype", "shown"),
    [
        ("onnx", "string", "string"),
        ("onnx", "bfloat16", "bfloat16"),
        ("openvino", "string", "string"),
        ("openvino", "bfloat16", "bf16"),
        ("tflite", "string", "string"),
    ],
)
def test_what_is_no_number_is_refused_by_name(
    target: str, dtype: str, shown: str, tmp_path: Path
) -> None:
    path = foreign_files.write(target, tmp_path, [1, 4], dtype)
    with pytest.raises(InputError, match=f"input 'image' takes {shown}: expected numbers") as found:
        opened(target, path)
    assert str(path) in str(found.value)


def test_an_open_batch_that_a_layer_inside_fixes_is_told(tmp_path: Path) -> None:
    path = foreign_files.onnx_file(tmp_path / "fixed.onnx", ["N", 3], inner=2)
    opened("onnx", path, 2)
    with pytest.raises(InputError, match=r"fixed\.onnx cannot take 3 images at once"):
        opened("onnx", path, 3)


def test_outputs_whose_size_only_running_tells_are_kept(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("NonZero", ["image"], ["places"])],
        "found",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("places", TensorProto.INT64, [2, "count"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "found.onnx")
    runner = opened("onnx", tmp_path / "found.onnx")
    assert runner.tensors()[1][0].shape == (2, -1)
    runner.prepare([np.array([[0, 5, 0, 7]], np.float32)])()
    assert runner.outputs()[0].tolist() == [[0, 0], [1, 3]]


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("shape", [["N", 4], [1, 4]], ids=["open", "fixed"])
@pytest.mark.parametrize("target", registry.TARGETS)
def test_operators_are_timed_at_the_batch(
    target: str, shape: list[int | str], batch: int | None, tmp_path: Path
) -> None:
    path = foreign_files.write(target, tmp_path, shape)
    profilable = registry.target(target)
    assert isinstance(profilable, Profilable)
    inputs = [np.ones((batch or 1, 4), np.float32)]
    with captured():
        found = profilable.operators(path, inputs, threads=1, runs=2, batch=batch)
    assert [operator.kind.upper() for operator in found] in (["ADD"], ["SUBGRAPH"])


def test_what_a_loop_runs_counts_as_the_loop_however_often_it_runs(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    def value(name: str, kind: int, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    # Adds the input to itself as often as a die says.
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Add", ["so_far", "image"], ["sum"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("so_far", TensorProto.FLOAT, [1, 4]),
        ],
        [value("goes_on", TensorProto.BOOL, []), value("sum", TensorProto.FLOAT, [1, 4])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("RandomUniform", [], ["die"], shape=[1], high=9.0, seed=1.0),
            helper.make_node("Cast", ["die"], ["times"], to=TensorProto.INT64),
            helper.make_node("Loop", ["times", "", "image"], ["scores"], body=body),
        ],
        "moody",
        [value("image", TensorProto.FLOAT, [1, 4])],
        [value("scores", TensorProto.FLOAT, [1, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = tmp_path / "moody.onnx"
    onnx.save(model, path)
    profilable = registry.target("onnx")
    assert isinstance(profilable, Profilable)
    with captured():
        found = profilable.operators(path, [np.ones((1, 4), np.float32)], threads=1, runs=3)
    assert [time.kind for time in found] == ["RandomUniform", "Cast", "Loop"]
