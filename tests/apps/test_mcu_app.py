"""Apps for microcontrollers: what they hold, and what they refuse; through the command line."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from app_files import edited
from command_line import CommandLine
from PIL import Image
from small_artifacts import Artifacts
from test_cpp_app import NAMES

from edgekit.apps.cpp import literals
from edgekit.contract import contract_path, load
from edgekit.data import preprocess
from edgekit.data.stored import stored_values
from edgekit.errors import InputError
from exporters.tflite.flatbuffer import pack, schema, unpack
from exporters.tflite.micro_operators import operator_of, operators_of

needs_micro = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro is not installed"
)
WAY = "'edgekit export MODEL --target tflite --precision int8 --io int8'"


@pytest.fixture
def artifact(int8_files: Path, copied: Callable[[Path], Path]) -> Path:
    """A file with integers at both ends."""
    (path,) = (int8_files / "int8").glob("*.tflite")
    return copied(path)


@pytest.fixture
def made(artifact: Path, run: CommandLine, tmp_path: Path) -> Path:
    """An app."""
    done = run("app", artifact, "--platform", "mcu", "-o", "made")
    assert done.code == 0, done.err
    return tmp_path / "made"


def numbers(text: str) -> list[int]:
    """Those of an array in C++."""
    return [int(each) for each in re.findall(r"\b\d+(?=,)", text)]


@needs_micro
def test_the_model_and_what_the_interpreter_takes_are_in_the_code(
    made: Path, artifact: Path, run: CommandLine
) -> None:
    code = made / "classifier"
    _, _, array = (code / "model_data.cc").read_text().partition("= {")
    assert bytes(numbers(array)) == artifact.read_bytes()
    header = (code / "model.h").read_text()
    (seen,) = run("profile", artifact, "--device", "tflm", "--json").json["simulations"]
    (arena,) = re.findall(r"CLASSIFIER_ARENA_BYTES (\d+)", header)
    assert 0 <= int(arena) - seen["arena_bytes"] < 16
    assert seen["simulator"] in header
    assert f"kModelBytes = {artifact.stat().st_size};" in header
    builtin, flat = schema().BuiltinOperator, unpack(artifact.read_bytes())
    used = {flat.operatorCodes[op.opcodeIndex].builtinCode for op in flat.subgraphs[0].operators}
    text = (code / "operators.h").read_text()
    assert f"CLASSIFIER_OPERATORS {len(used)}\n" in text
    added = set(re.findall(r"  ROW\((\w+),", text))
    assert len(added) == len(used)
    assert {"Conv2D", "DepthwiseConv2D", "FullyConnected"} <= added
    assert builtin.CONV_2D in used
    for file in made.rglob("*.[ch]*"):
        assert (
            "$" not in file.read_text(encoding="utf-8", errors="replace") or file.suffix == ".json"
        )


@needs_micro
def test_pixels_become_what_edgekit_makes_of_them(made: Path, artifact: Path) -> None:
    contract = load(artifact)
    how = contract.preprocessing
    assert how is not None
    _, _, table = (made / "classifier" / "model.cc").read_text().partition("[256] = {")
    table, _, _ = table.partition("};")
    kept = np.array(numbers(table), np.uint8).reshape(3, 256).view(np.int8)
    for image in json.loads((made / "golden" / "golden.json").read_text())["images"]:
        pixels = np.asarray(Image.open(made / "golden" / "pixels" / f"{image['file']}.ppm"))
        same = np.asarray(Image.open(made / "golden" / image["pixels"]))
        np.testing.assert_array_equal(pixels, same)
        given = stored_values(preprocess.normalize(pixels, how), contract.inputs[0])
        expected = given if how.layout == "NHWC" else given.transpose(1, 2, 0)
        np.testing.assert_array_equal(kept[np.arange(3), pixels], expected)


@needs_micro
def test_golden_scores_are_those_of_the_interpreter(
    made: Path, artifact: Path, run: CommandLine
) -> None:
    images = json.loads((made / "golden" / "golden.json").read_text())["images"]
    names = [made / "golden" / each["file"] for each in images]
    words = ("predict", artifact, *names, "--device", "tflm", "--json")
    for image, known in zip(images, run(*words).json["predictions"], strict=True):
        for mine, label in zip(image["labels"], known["labels"], strict=True):
            assert mine["index"] == label["index"]
            assert mine["probability"] == pytest.approx(label["probability"], abs=1e-6)


@needs_micro
def test_names_of_classes_are_literals_whatever_is_in_them(
    artifact: Path, run: CommandLine, tmp_path: Path
) -> None:
    names = [name for name in NAMES if name != "\udcff"][:10]
    edited(artifact, labels=names)
    assert run("app", artifact, "--platform", "mcu", "-o", "made").code == 0
    code = (tmp_path / "made" / "classifier" / "model.cc").read_text()
    assert code.isascii()
    assert all(literals.string(name, "sv") in code for name in names)


def test_what_it_cannot_run_is_refused_with_the_way_out(
    artifacts: Artifacts, int8_files: Path, run: CommandLine, tmp_path: Path
) -> None:
    def message(path: Path) -> str:
        done = run("app", path, "--platform", "mcu", "-o", "made")
        assert done.code == 2
        assert not (tmp_path / "made").exists()
        return done.message

    (other,) = (int8_files / "int8").glob("*.onnx")
    expected = f"it runs files of the target tflite with integers at both ends: {WAY}"
    assert message(other).endswith(expected)
    (ends,) = (int8_files / "float").glob("*.tflite")
    for path in (artifacts["tflite", "fp32"], ends):
        told = f"it takes int8 at both ends, and the input is of float32: {WAY}"
        assert message(path).endswith(told)


def with_operator(artifact: Path, folder: Path, name: str, own: bytes | None = None) -> Path:
    """The same file with another operator, whose output nobody takes, and with its contract."""
    flat, types = unpack(artifact.read_bytes()), schema()
    graph, code = flat.subgraphs[0], types.OperatorCodeT()
    code.builtinCode, code.version = getattr(types.BuiltinOperator, name), 1
    code.deprecatedBuiltinCode, code.customCode = min(code.builtinCode, 127), own
    flat.operatorCodes.append(code)
    tensor = copy.deepcopy(graph.tensors[graph.outputs[0]])
    tensor.name, tensor.type, tensor.shape = "rank", types.TensorType.INT32, []
    tensor.quantization = None
    graph.tensors.append(tensor)
    operator = types.OperatorT()
    operator.opcodeIndex = len(flat.operatorCodes) - 1
    operator.inputs, operator.outputs = [graph.outputs[0]], [len(graph.tensors) - 1]
    graph.operators.append(operator)
    path = folder / artifact.name
    path.write_bytes(pack(flat))
    contract_path(path).write_text(contract_path(artifact).read_text())
    content = path.read_bytes()
    edited(path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    return path


@needs_micro
def test_operators_that_the_interpreter_lacks_are_named(
    artifact: Path, run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    path = with_operator(artifact, tmp_path / "other", "RANK")
    done = run("app", path, "--platform", "mcu", "-o", "made")
    told = f"{path} needs operators that TensorFlow Lite Micro lacks: RANK"
    assert (done.code, done.message) == (3, told)
    assert not (tmp_path / "made").exists()


def test_operators_of_somebodys_own_are_none_of_the_interpreters(
    artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    path = with_operator(artifact, tmp_path / "other", "CUSTOM", b"My\nOwn")
    with pytest.raises(InputError, match=r"has operators that are not built in: My\\nOwn"):
        operators_of(path)


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("CONV_2D", "Conv2D ParseConv2D"),
        ("AVERAGE_POOL_2D", "AveragePool2D ParsePool"),
        ("CUMSUM", "CumSum ParseCumsum"),
        ("RELU6", "Relu6 ParseRelu6"),
        ("L2_NORMALIZATION", "L2Normalization ParseL2Normalization"),
        ("BATCH_TO_SPACE_ND", "BatchToSpaceNd ParseBatchToSpaceNd"),
        ("SUM", "Sum ParseReducer"),
        ("PADV2", "PadV2 ParsePadV2"),
    ],
)
def test_operators_have_the_names_that_the_interpreter_gives_them(
    name: str, spelt: str, artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    several = operators_of(with_operator(artifact, tmp_path / "other", name))
    (one,) = [each for each in several if each.kernel == f"Register_{name}"]
    assert one.number == getattr(schema().BuiltinOperator, name)
    assert f"{one.name} {one.parser}" == spelt


@needs_micro
def test_every_operator_of_the_interpreter_has_functions_of_these_names() -> None:
    spec = importlib.util.find_spec("tflite_micro")
    assert spec is not None
    assert spec.submodule_search_locations
    (library,) = Path(spec.submodule_search_locations[0]).rglob("_runtime.so")
    code, builtin = library.read_bytes(), schema().BuiltinOperator
    kernels = re.findall(rb"\0_ZN6tflite5micro\d+Register_([A-Z0-9_]+)Ev\0", code)
    parsers = re.findall(rb"\0_ZN6tflite5micro\d+(Parse\w+?)EPKNS_8OperatorE", code)
    names = [name.decode() for name in kernels if hasattr(builtin, name.decode())]
    assert len(names) > 80
    for name in names:
        assert operator_of(name, 0).parser.encode() in parsers


def test_without_the_interpreter_nothing_is_guessed(
    artifact: Path, run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tflite_micro"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    done = run("app", artifact, "--platform", "mcu", "-o", "made")
    assert done.code == 5
    assert "needs tflite-micro" in done.message
    assert "pip install 'edgekit[micro]'" in done.message
    assert not (tmp_path / "made").exists()


@needs_micro
def test_images_of_any_kind_are_golden(artifact: Path, run: CommandLine, tmp_path: Path) -> None:
    one = run("app", artifact, "--platform", "mcu", "-o", "made", "--image", "own.webp")
    assert one.code == 3  # there is no such file
    Image.new("RGB", (90, 50), "green").save(tmp_path / "own.webp")
    done = run("app", artifact, "--platform", "mcu", "-o", "made", "--image", "own.webp", "--json")
    assert done.json["golden"][-1] == "own.webp"  # the app decodes no files: any will do
    assert (tmp_path / "made" / "golden" / "frames" / "own.webp.ppm").is_file()
