"""What a runtime raises for want of memory is told as that, whatever it became on its way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine, Result
from raising import NO_MEMORY, breaks_in_agents
from small_artifacts import Artifacts

from edgekit import registry, tables

SECONDS = ("--seconds", 1, "--no-store")


def short_of_memory(result: Result, path: Path, runtime: str) -> None:
    assert (result.code, result.out) == (3, ""), result.err
    assert f"{path} needs too much memory for its size: {runtime} may take" in result.message
    assert "allow more with EDGEKIT_RUNTIME_MIB" in result.message
    assert len(result.message.splitlines()) == 1


@pytest.mark.parametrize("target", tables.TARGETS)
@pytest.mark.parametrize("command", ["predict", "evaluate", "verify", "layers"])
def test_commands_that_run_a_file(
    command: str,
    target: str,
    artifacts: Artifacts,
    trained_run: Path,
    run: CommandLine,
    png: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = artifacts[target, "fp32"]
    line: list[object] = {
        "predict": ["predict", path, png()],
        "evaluate": ["evaluate", path, "--data", "digits"],
        "verify": ["verify", path, "--against", trained_run],
        "layers": ["verify", path, "--against", trained_run, "--per-layer"],
    }[command]
    seams = ["activations"] if command == "layers" else ["open", "run"]
    for seam in seams:
        for kind in NO_MEMORY if command == "predict" else ["compiled"]:
            with monkeypatch.context() as patch:
                breaks_in_agents(patch, tmp_path, target, seam, kind)
                short_of_memory(run(*line), path, registry.target(target).runtime)


@pytest.mark.parametrize(
    ("command", "target", "seam", "kind"),
    [
        ("profile", "onnx", "open", "loaded"),
        ("profile", "tflite", "prepare", "array"),
        ("compare", "openvino", "open", "compiled"),
        ("compare", "onnx", "prepare", "bad_alloc"),
    ],
)
def test_commands_that_measure_a_file(
    command: str,
    target: str,
    seam: str,
    kind: str,
    artifacts: Artifacts,
    run: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks_in_agents(monkeypatch, tmp_path, target, seam, kind)
    path = artifacts[target, "fp32"]
    words = [path] if command == "profile" else [path, path]
    short_of_memory(run(command, *words, *SECONDS), path, registry.target(target).runtime)


def test_operators_that_get_no_memory_do_not_lose_the_measurement(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_in_agents(monkeypatch, tmp_path, "tflite", "operators", "compiled")
    path = artifacts["tflite", "fp32"]
    result = run("profile", path, "--per-op", *SECONDS)
    assert result.code == 0, result.err
    assert f"{path} needs too much memory for its size: LiteRT may take" in result.err


def test_other_errors_of_a_file_are_told_as_they_are(
    artifacts: Artifacts,
    copied: Callable[[Path], Path],
    run: CommandLine,
    png: Callable[..., Path],
) -> None:
    """Also where its name sounds like want of memory."""
    path = copied(artifacts["onnx", "fp32"]).rename(Path("bad_alloc.onnx"))
    path.write_bytes(path.read_bytes()[:-100])
    result = run("profile", path, *SECONDS)
    assert result.code == 3
    assert "memory" not in result.message
