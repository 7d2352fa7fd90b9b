"""Everything with ``--device`` on an emulated arm64 board with an SSH server of its own.

What it computes is what a processor of that kind computes; its times mean nothing, and are marked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arm64_board import Board, NoBoardError
from command_line import CommandLine
from PIL import Image
from small_artifacts import once, shared_folder

from edgekit import registry, tables
from edgekit.cli import run as run_command_line
from edgekit.contract import contract_path
from edgekit.data import open_source
from edgekit.devices import runner
from edgekit.devices.device import HOST, Device, find_device
from edgekit.search import measuring

pytestmark = pytest.mark.devices

MADE = Path(os.environ.get("EDGEKIT_ARM64") or Path(__file__).parents[2] / ".arm64")
NAME = "board"
TARGETS = sorted(tables.TARGETS.built_in)
PRECISIONS = ("fp32", "int8")
NOISE = ("--seconds", 1, "--precision-goal", 50)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A device called as `NAME` says."""
    folder = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        try:
            found = Board(MADE)
        except NoBoardError as reason:
            pytest.skip(f"no arm64 board: {reason}")
        with found:
            found.install(patch)
            patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
            patch.setenv("EDGEKIT_HOME", str(folder / "home"))
            patch.setattr(runner, "_SLOTS", {})
            patch.setattr("edgekit.devices.check.NOISE_S", 0.1)
            words = ["devices", "add", NAME, "--transport", found.address]
            assert run_command_line(words) == 0
            yield found
            for slots in runner._SLOTS.values():
                slots.close()


@pytest.fixture(scope="module")
def files(
    board: Board, short_network: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Path]:
    """(target, precision) -> file that was written for the board. Read-only."""
    folder = shared_folder(tmp_path_factory) / "arm64"
    with once(folder) as mine:
        if mine:
            part = folder.with_name("arm64.part")
            words = ["export", short_network, "-t", "all", "-p", ",".join(PRECISIONS)]
            words += ["--device", NAME, "-o", part, "--overwrite"]
            assert run_command_line([str(word) for word in words]) == 0
            part.rename(folder)
    found = {}
    for name in TARGETS:
        for precision in PRECISIONS:
            (found[name, precision],) = folder.glob(f"*-{precision}{registry.target(name).suffix}")
    return found


@pytest.fixture
def digits(tmp_path: Path) -> list[Path]:
    """Three images."""
    source, paths = open_source("digits"), [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.fromarray(source.image("test", i)).save(path)
    return paths


def test_it_is_checked(run: CommandLine, board: Board) -> None:
    checked = run("devices", "check", NAME, "--json")
    assert checked.code == 0, checked.err
    found = checked.json
    assert "Cortex-A72 (emulated)" in found["seen"]["soc"]
    assert {"asimd"} <= set(found["seen"]["isa"])
    assert not {"asimddp", "i8mm", "sve"} & set(found["seen"]["isa"])
    assert {"ai-edge-litert", "onnxruntime", "openvino"} <= set(found["versions"])
    assert found["to_install"] is None
    assert found["conditions"]["emulated"] is True
    assert any("emulated: times from there mean nothing" in text for text in found["advice"])
    assert find_device(NAME).isa() == "arm"


def test_files_are_written_for_it_without_asking(files: dict[tuple[str, str], Path]) -> None:
    schemes = {
        key: json.loads(contract_path(path).read_text())["scheme"] for key, path in files.items()
    }
    for key, scheme in schemes.items():
        assert scheme.get("isa") == ("arm" if key[1] == "int8" else None), key
    assert schemes["onnx", "int8"]["forms"]["activations"] == "int8"
    assert schemes["openvino", "int8"]["forms"]["weights"] == "8bit"
    assert schemes["tflite", "int8"]["forms"]["stem"] == "int8"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", TARGETS)
def test_files_agree_with_pytorch_by_the_same_gates(
    name: str,
    precision: str,
    run: CommandLine,
    files: dict[tuple[str, str], Path],
    short_network: Path,
) -> None:
    words = ("verify", files[name, precision], "--against", short_network, "--json")
    there = run(*words, "--device", NAME)
    assert there.code == 0, there.err
    assert there.json["device"] == NAME
    assert there.json["warnings"] == []
    agreement, here = there.json["agreement"], run(*words).json["agreement"]
    assert agreement["passed"]
    assert agreement["tolerance"] == here["tolerance"]
    assert agreement["n"] == here["n"]


def outputs(path: Path, name: str, device: Device) -> list[Any]:
    opened = runner.open_file(registry.target(name), path, 1, device=device)
    (spec,), rng = opened.tensors()[0], np.random.default_rng(0)
    given = [rng.standard_normal(spec.shape, np.float32) for _ in range(8)]
    return [one for image in given for one in opened.run([image])]


@pytest.mark.parametrize("name", TARGETS)
def test_outputs_are_those_of_this_machine(
    name: str, files: dict[tuple[str, str], Path], board: Board
) -> None:
    pairs = {
        precision: [
            np.concatenate([one.ravel() for one in outputs(files[name, precision], name, device)])
            for device in (HOST, find_device(NAME))
        ]
        for precision in PRECISIONS
    }
    here, there = pairs["fp32"]
    noise = float(np.square(here - there).mean())
    assert 10 * np.log10(here.var() / max(noise, 1e-30)) > 100
    if name == "tflite":
        here, there = pairs["int8"]
        np.testing.assert_array_equal(here, there)


def test_integers_of_tflite_predict_the_same_to_the_bit(
    run: CommandLine, files: dict[tuple[str, str], Path], digits: list[Path]
) -> None:
    words = ("predict", files["tflite", "int8"], *digits, "--json")
    here, there = run(*words), run(*words, "--device", NAME)
    assert there.code == 0, there.err
    assert there.json["predictions"] == here.json["predictions"]


def test_it_is_evaluated_there(run: CommandLine, files: dict[tuple[str, str], Path]) -> None:
    words = ("evaluate", files["tflite", "int8"], "--data", "digits", "--json")
    here, there = run(*words), run(*words, "--device", NAME)
    assert there.code == 0, there.err
    assert there.json["top1"] == here.json["top1"]


def emulated(measurement: dict[str, Any]) -> bool:
    marked: bool = measurement["environment"]["emulated"]
    assert measurement["environment"]["cpu"].endswith("(emulated)")
    assert not measurement["stable"]
    assert any("mean nothing" in reason for reason in measurement["reasons"])
    return marked


def test_times_are_marked_wherever_they_are_kept(
    run: CommandLine, files: dict[tuple[str, str], Path]
) -> None:
    two = (files["onnx", "int8"], files["tflite", "int8"])
    found = run("profile", *two, "--device", NAME, "--per-op", *NOISE, "--out", "m.json", "--json")
    assert found.code == 0, found.err
    assert all(emulated(one) for one in found.json["measurements"])
    assert all(one["device"] == NAME for one in found.json["measurements"])
    assert found.json["measurements"][1]["operators"]
    kept = run("history", "--device", NAME, "--json").json["measurements"]
    assert all(emulated(one) for one in kept)
    assert run("report", "m.json", "-o", "page.html").code == 0
    assert "Cortex-A72 (emulated)" in Path("page.html").read_text(encoding="utf-8")


def test_it_is_not_compared_with_what_is_real(
    run: CommandLine, files: dict[tuple[str, str], Path]
) -> None:
    path, other = files["onnx", "fp32"], files["onnx", "int8"]
    refused = run("compare", path, path, "--device", f"{NAME},host", "--seconds", 1)
    assert refused.code == 5
    assert f"the processor of {NAME} is emulated" in refused.message
    alike = run("compare", path, other, "--device", NAME, "--seconds", 1, "--json")
    assert alike.code == 0, alike.err
    assert all(emulated(one) for one in alike.json["measurements"])


def test_a_file_for_another_processor_is_told(
    run: CommandLine, board: Board, short_network: Path, digits: list[Path]
) -> None:
    made = run(
        "export", short_network, "-t", "onnx", "-p", "int8", "--isa", "x86-vnni", "-o", "x86"
    )
    assert made.code == 0, made.err
    (path,) = Path("x86").glob("*.onnx")
    for words in (("predict", path, digits[0]), ("profile", path, *NOISE)):
        found = run(*words, "--device", NAME, "--json")
        assert found.code == 0, found.err
        (text,) = [line for line in found.err.splitlines() if line.startswith("warning: ")]
        assert f"written for processors of the kind x86-vnni, and {NAME} is of the kind arm" in text
        assert f"--device {NAME}'" in text


def test_a_search_measures_there(
    run: CommandLine, board: Board, short_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MEASURING_SECONDS", 2.0)
    monkeypatch.setattr(measuring, "MEASURING_TRIES", 1)
    words = ("--target", "tflite", "--precision", "int8", "--budget", "latency=0.9x")
    quick = ("--reduction", 0.3, "--tune-steps", 1, "--finish-epochs", 0, "--no-contest")
    more = ("--no-distill", "--workers", 1, "--selection-images", 100, "-o", "s", "--json")
    found = run("search", short_network, *words, "--device", NAME, *quick, *more)
    assert found.code in (0, 4), found.err  # noise may keep it from the budget
    document = json.loads(Path("s/search.json").read_text())
    assert document["device"] == NAME
    assert document["processor"].endswith("(emulated)")
    assert document["emulated"] is True
    assert any("is emulated" in note for note in document["notes"])
    assert len(document["steps"]) >= 2
    for step in document["steps"]:
        contract = json.loads(contract_path(Path(step["artifact"])).read_text())
        assert contract["scheme"]["isa"] == "arm"
        assert step["latency_ms"] > 0
    assert "is emulated: the times below mean nothing" in Path("s/search.html").read_text()
    (table,) = Path(os.environ["EDGEKIT_HOME"]).rglob("parts.sqlite")
    assert table.parent.name == NAME
    assert b"(emulated)" in table.read_bytes()
