"""``edgekit profile`` of files from elsewhere, whose shapes and types are whatever they are."""

from __future__ import annotations

from pathlib import Path

import foreign_files
import pytest
from command_line import CommandLine

from edgekit.errors import InputError
from edgekit.measure import profiling


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
    assert "make_dynamic_shape_fixed" in found.message
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
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untimed(*_: object) -> None:
        raise InputError("its operators are of its maker")

    monkeypatch.setattr(profiling, "_operators", untimed)
    path = foreign_files.write("tflite", tmp_path, [1, 8, 8, 3])
    found = run("profile", path, "--per-op", "--threads", "1,2", "--seconds", 1, "--json")
    assert found.code == 0, found.err
    assert len(found.json["measurements"]) == len(found.json["untimed"]) == 2
    assert found.err.count("cannot be timed one by one") == 1
