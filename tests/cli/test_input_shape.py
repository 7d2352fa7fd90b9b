"""``--input-shape``: sizes that a file leaves open are chosen, and the file stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import foreign_files
import onnx
import pytest
from command_line import CommandLine, Result
from onnx import TensorProto, helper

from edgekit import registry, tables
from edgekit.measure.store import Store, load_saved

SHORT = ("--seconds", 1)
OPEN = ["N", 3, "H", "W"]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


def two_inputs(path: Path) -> Path:
    """A file that adds two tensors of the same open sizes."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", "length"]) for n in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", ends[:2], ends[2:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path
    )
    return path


@pytest.mark.parametrize("target", tables.TARGETS)
def test_the_chosen_sizes_are_fed_and_the_file_stays(
    target: str, run: CommandLine, tmp_path: Path
) -> None:
    path = foreign_files.write(target, tmp_path, OPEN)
    before = {file: file.read_bytes() for file in registry.target(target).files(path)}
    found = run("profile", path, "--input-shape", "image=2,3,20,12", "--per-op", *SHORT, "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert entry["environment"]["input"] == "2x3x20x12 float32"
    assert entry["environment"]["input_chosen"] is True
    assert entry["batch"] == 2
    assert len(entry["operators"]) == 1
    assert {file: file.read_bytes() for file in before} == before


def test_tables_and_reports_keep_shapes_apart(run: CommandLine, tmp_path: Path) -> None:
    path = foreign_files.write("onnx", tmp_path, OPEN)
    shapes = ("1,3,8,8", "1,3,16,16")
    for shape in shapes:
        found = run("profile", path, "--input-shape", shape, *SHORT)
        assert found.code == 0, found.err
        assert f"{path.name} {shape.replace(',', 'x')}" in found.out
    assert [m.input_sizes for _, m in Store().find()] == ["1x3x16x16", "1x3x8x8"]
    listed = " ".join(run("history").out.split())
    assert "1x3x8x8" in listed
    assert "1x3x16x16" in listed
    found = run("report", path, "-o", "page.html")
    assert found.code == 0, found.err
    page = (tmp_path / "page.html").read_text()
    assert "doubling.onnx 1x3x8x8" in page
    assert "doubling.onnx 1x3x16x16" in page


def test_two_files_are_compared_with_one_shape(run: CommandLine, tmp_path: Path) -> None:
    a = foreign_files.write("onnx", tmp_path, OPEN)
    b = foreign_files.write("tflite", tmp_path, ["N", 3, "H", 8])
    found = run("compare", a, b, "--input-shape", "1,3,8,8", *SHORT, "-o", "samples.json")
    assert found.code == 0, found.err
    assert f"A: {a} 1x3x8x8 (ONNX Runtime" in found.out
    assert [m.input for m in load_saved(tmp_path / "samples.json")] == ["1x3x8x8 float32"] * 2


def test_names_belong_to_the_files_that_have_them(run: CommandLine, tmp_path: Path) -> None:
    other, image = two_inputs(tmp_path / "sum.onnx"), foreign_files.write("tflite", tmp_path, OPEN)
    words = ("--input-shape", "image=1,3,8,8", "--input-shape", "a=3,7")
    found = run("profile", other, image, *words, *SHORT, "--json")
    assert found.code == 0, found.err
    inputs = [entry["environment"]["input"] for entry in found.json["measurements"]]
    # One size of the file has one number, wherever its name stands.
    assert inputs == ["3x7 float32, 3x7 float32", "1x3x8x8 float32"]
    assert [entry["batch"] for entry in found.json["measurements"]] == [1, 1]


def two_layouts(folder: Path) -> tuple[Path, Path]:
    """Channels first in one file and last in the other; the input has one name."""
    last: list[int | str] = ["N", "H", "W", 3]
    return foreign_files.write("onnx", folder, OPEN), foreign_files.write("tflite", folder, last)


@pytest.mark.parametrize(
    ("command", "shapes"),
    [
        ("profile", ("image=1,3,8,12", "doubling.tflite:image=1,8,12,3")),
        ("compare", ("doubling.tflite:1,8,12,3", "1,3,8,12")),
        ("profile", ("PATH:1,8,12,3", "doubling.onnx:image=1,3,8,12")),
    ],
)
def test_files_with_one_name_in_two_layouts_get_a_shape_each(
    command: str, shapes: tuple[str, ...], run: CommandLine, tmp_path: Path
) -> None:
    first, last = two_layouts(tmp_path)
    words = [w for s in shapes for w in ("--input-shape", s.replace("PATH", str(last)))]
    found = run(command, first, last, *words, *SHORT, "-o", "samples.json")
    assert found.code == 0, found.err
    inputs = [m.input for m in load_saved(tmp_path / "samples.json")]
    assert inputs == ["1x3x8x12 float32", "1x8x12x3 float32"]


@pytest.mark.parametrize("command", ["profile", "compare"])
def test_a_shape_in_the_order_of_another_file_is_refused_with_the_way_out(
    command: str, run: CommandLine, tmp_path: Path
) -> None:
    files = two_layouts(tmp_path)
    shape = ("--input-shape", "image=1,3,8,12")
    found = run(command, *files, *shape, *SHORT)
    assert found.code == 3, found.err
    way = f"for this file alone: --input-shape {files[1]}:image=1,8,12,3"
    assert found.message.endswith(way)


Asked = Callable[..., Result]


@pytest.fixture(params=["profile", "compare"])
def asked(request: pytest.FixtureRequest, run: CommandLine) -> Asked:
    """A command on a file, or on it twice."""

    def call(path: object, *shapes: str, more: tuple[object, ...] = ()) -> Result:
        words = [word for shape in shapes for word in ("--input-shape", shape)]
        twice = (path, path) if request.param == "compare" else (path,)
        return run(request.param, *twice, *words, *SHORT, *more)

    return call


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (["1,3,x,8"], "--input-shape 1,3,x,8: expected whole numbers between commas, as in"),
        (["1x3x8x8"], "expected whole numbers between commas"),
        (["1,3,,8"], "expected whole numbers between commas"),
        (["1,3,8.0,8"], "expected whole numbers between commas"),
        (["1,3,-8,8"], "expected whole numbers between commas"),
        ([""], "expected whole numbers between commas"),
        (["image="], "expected whole numbers between commas"),
        (["=1,3,8,8"], "expected whole numbers between commas"),
        (["image:1,3,8,8"], "expected whole numbers between commas"),
        (["image=1,3,٣,8"], "expected whole numbers between commas"),
        (["1,3,99999999999,8"], "expected whole numbers between commas"),
        (["image=0,3,8,8"], "image=0,3,8,8: expected sizes from 1 on"),
        (["1,3,100000,100000"], "30,000,000,000 numbers, expected at most 268,435,456"),
        (["image=1,3,8,8", "image=1,3,9,9"], "gives 'image' twice: expected one shape for each"),
        (["1,3,8,8", "1,3,8,8"], "gives '' twice"),
        (["doubling.onnx:1x3"], "expected whole numbers between commas"),
        (["doubling.onnx:=1,3,8,8"], "expected whole numbers between commas"),
        (["doubling.onnx:a=1,3,8,8", "doubling.onnx:a=1,3,9,9"], "gives 'a' twice"),
        (["image=1,3,8,8", "1,3,9,9"], "gives an input without its name beside others"),
    ],
)
def test_what_is_no_shape_is_wrong_usage(
    shapes: list[str], words: str, asked: Asked, tmp_path: Path
) -> None:
    found = asked(foreign_files.write("onnx", tmp_path, OPEN), *shapes)
    assert (found.code, found.out) == (2, "")
    assert words in found.message


@pytest.mark.parametrize(
    ("sizes", "shape", "words"),
    [
        (OPEN, "image=1,3,8", "has 3 sizes, and input 'image' has 4 ("),
        ([1, 3, 8, 8], "4,3,8,8", "for another batch, give --batch 4 instead"),
        ([1, 3, 8, 8], "imgae=1,3,8,8", "--input-shape imgae: no such input in"),
    ],
)
def test_what_is_no_shape_of_the_file_is_refused(
    sizes: list[int | str], shape: str, words: str, run: CommandLine, tmp_path: Path
) -> None:
    path = foreign_files.write("tflite", tmp_path, sizes)
    found = run("profile", path, "--input-shape", shape, *SHORT)
    assert (found.code, found.out) == (3, "")
    assert words in found.message
    assert path.name in found.message
    assert not Store().find()


def test_a_comparison_refuses_it_too(run: CommandLine, tmp_path: Path) -> None:
    path = foreign_files.write("onnx", tmp_path, OPEN)
    found = run("compare", path, path, "--input-shape", "imgae=1,3,8,8", *SHORT)
    assert found.code == 3
    assert "(it has no input 'imgae')" in found.message


def test_an_input_of_several_has_to_be_named(asked: Asked, tmp_path: Path) -> None:
    path = two_inputs(tmp_path / "sum.onnx")
    found = asked(path, "1,8")
    assert found.code == 3
    assert f"{path} has 2 inputs ('a', 'b'): name the one that is meant" in found.message


def test_sizes_that_the_file_has_already_are_accepted(asked: Asked, tmp_path: Path) -> None:
    found = asked(foreign_files.write("onnx", tmp_path, [1, 3, 8, 8]), "1,3,8,8")
    assert found.code == 0, found.err


def test_the_batch_is_the_first_size(asked: Asked, tmp_path: Path) -> None:
    path = foreign_files.write("onnx", tmp_path, OPEN)
    found = asked(path, "2,3,8,8", more=("--batch", 4))
    assert found.code == 2
    assert "--batch 4 contradicts --input-shape, whose first size is the batch" in found.message


def test_networks_have_a_resolution_instead(asked: Asked) -> None:
    found = asked("mobilenetv1@0.25", "1,3,32,32")
    assert found.code == 2
    assert "--input-shape goes with exported files only, and 'mobilenetv1@0.25'" in found.message
    assert "give --resolution" in found.message


def test_the_advice_fits_the_input(run: CommandLine, tmp_path: Path) -> None:
    path = foreign_files.write("tflite", tmp_path, ["N", "length"])
    found = run("profile", path, *SHORT)
    assert found.code == 3
    assert found.message.endswith("give them, as with --input-shape image=1,128")
    assert "--resolution" not in found.message
    found = run("profile", path, "--input-shape", "image=1,128", *SHORT, "--no-store")
    assert found.code == 0, found.err


@pytest.mark.parametrize("option", [("--torch", "eager"), ("--processor", "cpu")])
def test_options_of_networks_are_refused_for_files(
    option: tuple[str, str], asked: Asked, tmp_path: Path
) -> None:
    found = asked(foreign_files.write("tflite", tmp_path, [1, 8, 8, 3]), more=option)
    assert found.code == 2
    assert f"{option[0]} goes with networks only" in found.message


def test_a_mode_of_pytorch_for_a_file_is_refused(run: CommandLine, tmp_path: Path) -> None:
    path = foreign_files.write("tflite", tmp_path, [1, 8, 8, 3])
    found = run("compare", path, "mobilenetv1@0.25", "--torch", "eager,compiled")
    assert found.code == 2
    assert f"--torch eager,compiled: '{path}' is an exported file" in found.message
