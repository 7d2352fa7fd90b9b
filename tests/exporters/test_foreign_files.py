"""Files from elsewhere: sizes that they leave open, types that edgekit's own never have."""

from __future__ import annotations

from pathlib import Path

import foreign_files
import numpy as np
import pytest

from edgekit import registry, tables
from edgekit.core import Profilable, Runner, Shapes
from edgekit.errors import InputError
from edgekit.native_output import captured


def opened(
    target: str, path: Path, batch: int | None = None, shapes: Shapes | None = None
) -> Runner:
    with captured():
        return registry.target(target).open(path, 1, batch=batch, shapes=shapes)


@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("target", tables.TARGETS)
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
@pytest.mark.parametrize("target", tables.TARGETS)
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


OPEN: list[int | str] = ["N", 3, "H", "W"]


@pytest.mark.parametrize("name", ["image", ""])
@pytest.mark.parametrize("sizes", [OPEN, [2, 3, 8, 6]], ids=["open", "fixed"])
@pytest.mark.parametrize("target", tables.TARGETS)
def test_chosen_sizes_are_fed_without_another_file(
    target: str, sizes: list[int | str], name: str, tmp_path: Path
) -> None:
    path = foreign_files.write(target, tmp_path, sizes)
    before = path.read_bytes()
    shapes = {name: (2, 3, 8, 6), "of another file": (7,)}
    runner = opened(target, path, 2, shapes)
    assert runner.tensors()[0][0].shape == (2, 3, 8, 6)
    value = np.random.default_rng(0).standard_normal((2, 3, 8, 6)).astype(np.float32)
    assert np.array_equal(runner.run([value])[0], 2 * value)
    profilable = registry.target(target)
    assert isinstance(profilable, Profilable)
    with captured():
        times = profilable.operators(path, [value], threads=1, runs=2, batch=2, shapes=shapes)
    assert len(times) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("sizes", "shape", "words"),
    [
        (OPEN, (1, 3, 8), "has 3 sizes, and input 'image' has 4 ("),
        (OPEN, (1, 3, 8, 8, 1), "has 5 sizes, and input 'image' has 4 ("),
        (OPEN, (1, 4, 8, 8), "--input-shape 1,4,8,8 does not fit input 'image', which is"),
        ([1, 3, 8, 8], (1, 3, 16, 16), "1 x 3 x 8 x 8: only sizes that the file leaves open can"),
        ([1, 3, 8, 8], (4, 3, 8, 8), "for another batch, give --batch 4 instead"),
    ],
)
@pytest.mark.parametrize("target", tables.TARGETS)
def test_sizes_that_contradict_the_file_are_refused(
    target: str, sizes: list[int | str], shape: tuple[int, ...], words: str, tmp_path: Path
) -> None:
    path = foreign_files.write(target, tmp_path, sizes)
    for name in ("image", ""):
        with pytest.raises(InputError) as caught:
            opened(target, path, None, {name: shape})
        assert words in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "example"),
    [
        (["N", "length"], "1,128"),
        (["N", 16, "T"], "1,16,128"),
        (OPEN, "1,3,224,224"),
        (["N", "H", "W", 3], "1,224,224,3"),
        (["N", 1, "H", "W"], "1,1,224,224"),
        (["N", 64, 7, "W"], "1,64,7,128"),
    ],
)
@pytest.mark.parametrize("target", tables.TARGETS)
def test_the_advice_fits_the_input(
    target: str, sizes: list[int | str], example: str, tmp_path: Path
) -> None:
    path = foreign_files.write(target, tmp_path, sizes)
    with pytest.raises(InputError, match=f"as with --input-shape image={example}$"):
        opened(target, path, None, {})
    with pytest.raises(InputError) as caught:  # of those who are asked for none
        opened(target, path)
    assert example.replace(",", "") in str(caught.value).replace(",", "").replace(" ", "")
    assert "--input-shape" not in str(caught.value)
    with pytest.raises(InputError, match=r"\(it has no input 'imgae'\)"):
        opened(target, path, None, {"imgae": (1, 2)})
    chosen = tuple(map(int, example.split(",")))
    assert opened(target, path, None, {"image": chosen}).tensors()[0][0].shape == chosen


def test_a_size_that_has_a_name_is_one_size(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", "length"]) for n in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", ends[:2], ends[2:])
    path = tmp_path / "sum.onnx"
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    inputs, _ = opened("onnx", path, None, {"b": (3, 7)}).tensors()
    assert [spec.shape for spec in inputs] == [(3, 7), (3, 7)]
    with pytest.raises(InputError, match="gives the size 'length' as 8 and as 9"):
        opened("onnx", path, None, {"a": (1, 8), "b": (1, 9)})
    with pytest.raises(InputError, match=r"has 2 inputs \('a', 'b'\): name the one"):
        opened("onnx", path, None, {"": (1, 8)})


@pytest.mark.parametrize(("low", "high"), [(2, 8), (2, -1), (0, 8)])
def test_ranges_of_openvino_hold(low: int, high: int, tmp_path: Path) -> None:
    import openvino as ov
    from openvino import opset13

    shape = ov.PartialShape([ov.Dimension(1), ov.Dimension(low, high)])
    image = opset13.parameter(shape, ov.Type.f32, name="image")
    doubled = opset13.add(image, image)
    path = tmp_path / "range.xml"
    ov.save_model(ov.Model([opset13.result(doubled)], [image], "range"), path, False)
    assert opened("openvino", path, None, {"": (1, 8)}).tensors()[0][0].shape == (1, 8)
    for wrong in ([1] if low else []) + ([9] if high > 0 else []):
        with pytest.raises(InputError, match=f"1,{wrong} does not fit input 'image'"):
            opened("openvino", path, None, {"": (1, wrong)})


def test_any_rank_may_be_chosen_where_the_file_leaves_it_open(tmp_path: Path) -> None:
    import openvino as ov
    from openvino import opset13

    image = opset13.parameter(ov.PartialShape.dynamic(), ov.Type.f32, name="image")
    path = tmp_path / "any.xml"
    doubled = opset13.add(image, image)
    ov.save_model(ov.Model([opset13.result(doubled)], [image], "any"), path, False)
    with pytest.raises(InputError, match="as with --input-shape image=1,3,224,224"):
        opened("openvino", path, None, {})
    assert opened("openvino", path, None, {"": (2, 5)}).tensors()[0][0].shape == (2, 5)


NUMBERS = {
    **dict.fromkeys(tables.TARGETS, ("float16", "float64", "int64", "uint8", "bool")),
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
@pytest.mark.parametrize("target", tables.TARGETS)
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
