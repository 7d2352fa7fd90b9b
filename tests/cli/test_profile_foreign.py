"""``edgekit profile`` of files from elsewhere, whose shapes and types are whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import foreign_files
import pytest
from command_line import CommandLine


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("target", ["onnx", "openvino", "tflite"])
def test_an_open_batch_is_measured_at_one(run: CommandLine, tmp_path: Path, target: str) -> None:
    path = foreign_files.write(target, tmp_path, ["N", 3, 8, 8])
    found = run("profile", path, "--seconds", 1, "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert (entry["batch"], entry["environment"]["input"]) == (1, "1x3x8x8 float32")


def test_an_open_batch_is_measured_at_the_one_that_is_asked_for(
    run: CommandLine, tmp_path: Path
) -> None:
    path = foreign_files.write("onnx", tmp_path, ["N", 3, 8, 8], "float16")
    found = run("profile", path, "--batch", 5, "--per-op", "--seconds", 1, "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert (entry["batch"], entry["environment"]["input"]) == (5, "5x3x8x8 float16")
    assert {operator["kind"] for operator in entry["operators"]} >= {"Add"}


def test_what_edgekit_cannot_choose_is_told(run: CommandLine, tmp_path: Path) -> None:
    found = run("profile", foreign_files.write("onnx", tmp_path, ["N", 3, "H", "W"]))
    assert found.code == 3
    assert "input 'image' has the shape N x 3 x H x W" in found.message
    assert "give them, as with --input-shape image=1,3,224,224" in found.message
    found = run("profile", foreign_files.write("tflite", tmp_path, [1, 4], "string"))
    assert found.code == 3
    assert "input 'image' takes string: expected numbers" in found.message


def test_truth_values_are_numbers_enough(run: CommandLine, tmp_path: Path) -> None:
    path = foreign_files.write("openvino", tmp_path, [1, 3, 8, 8], "bool")
    found = run("profile", path, "--seconds", 1, "--json")
    assert found.code == 0, found.err


@pytest.mark.parametrize("option", [("--resolution", 64), ("--weights", "weights.pt")])
@pytest.mark.parametrize("command", ["profile", "compare"])
def test_options_without_effect_are_refused(
    run: CommandLine, tmp_path: Path, command: str, option: tuple[str, object]
) -> None:
    path = foreign_files.write("tflite", tmp_path, [1, 8, 8, 3])
    found = run(command, *[path] * (1 + (command == "compare")), *option)
    assert found.code == 2
    assert f"{option[0]} goes with networks only" in found.message


def test_operators_that_cannot_be_timed_are_a_warning_said_once(
    run: CommandLine, tmp_path: Path
) -> None:
    path = foreign_files.tflite_variable(tmp_path / "variable.tflite")
    other = foreign_files.write("tflite", tmp_path, [1, 8, 8, 3])
    words = ("--per-op", "--threads", "1,2", "--seconds", 1, "--json")
    found = run("profile", path, other, *words)
    assert found.code == 0, found.err
    timed = [entry["operators"] is not None for entry in found.json["measurements"]]
    assert timed == [False, False, True, True]
    assert len(found.json["untimed"]) == 2
    assert found.err.count("warning: ") == 1
    assert (
        f"operators of {path} cannot be timed one by one: ASSIGN_VARIABLE gives no output, it "
        f"changes what the interpreter keeps between operators"
    ) in found.err


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (foreign_files.tflite_detections, "CUSTOM"),
        (foreign_files.onnx_sparse, "MatMul"),
    ],
)
def test_operators_of_others_and_sparse_weights_are_timed(
    write: Callable[[Path], Path], kind: str, run: CommandLine, tmp_path: Path
) -> None:
    path = write(tmp_path / ("odd.onnx" if kind == "MatMul" else "odd.tflite"))
    found = run("profile", path, "--per-op", "--seconds", 1, "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert [operator["kind"] for operator in entry["operators"]] == [kind]
