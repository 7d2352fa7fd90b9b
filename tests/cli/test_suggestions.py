"""What people who come from other tools are told, and what shells complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CommandLine

from edgekit.cli import COMMANDS
from edgekit.meant import COMMANDS as MEANT
from edgekit.meant import OPTIONS


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("benchmark_app x.onnx", "that is 'edgekit profile' here"),
        ("val x.onnx", "that is 'edgekit evaluate' here"),
        ("quantize x", "that is 'edgekit export --precision int8' here"),
        ("export mobilenetv3 --format tflite", "'--format': did you mean --target?"),
        ("export mobilenetv3 -t onnx --imgsz 96", "did you mean --resolution?"),
        ("export mobilenetv3 -t onnx --half", "did you mean --precision fp16?"),
        ("export mobilenetv3 -t onnx --ovewrite", "did you mean --overwrite?"),
        ("evaluate x.onnx --data digits --tune", "it is an option of 'edgekit export'"),
        ("train mobilenetv3 --imgsz 32", "did you mean --resolution?"),
        ("export mobilenetv3 -t coreml", "'coreml': expected onnx, openvino, tflite"),
        ("export mobilenetv3 -t litert", "did you mean tflite?"),
        ("export mobilenetv3 -t onnx -p half", "did you mean fp16?"),
        ("describe densenet121", "'torchvision:densenet121' and 'timm:densenet121'"),
        ("describe yolov8n", "'package.module:callable'"),
    ],
)
def test_words_of_other_tools_are_answered_with_edgekits(
    line: str, told: str, run: CommandLine
) -> None:
    result = run(*line.split())
    assert (result.code, result.out) == (2, "")
    assert told in result.message
    assert len(result.err.splitlines()) == 1


def test_what_is_suggested_is_there(run: CommandLine) -> None:
    helps = {name: run(name, "--help").out for name in COMMANDS}
    for words in MEANT.values():
        command, *options = words.split()
        assert command in COMMANDS or command == "--version"
        if options and options[0].startswith("--"):
            assert options[0] in helps[command]
    everything = "\n".join(helps.values())
    for options in OPTIONS.values():
        assert any(option.split()[0] in everything for option in options)


def test_help_stands_in_front_as_well(run: CommandLine) -> None:
    assert run("help", "export").out == run("export", "--help").out
    assert run("help").out == run("--help").out
    assert "unknown command 'exprot'" in run("help", "exprot").message


def completed(words: str, at: int, cwd: Path) -> list[str]:
    """What a shell offers for a word of a line."""
    variables = {
        "COMP_WORDS": words,
        "COMP_CWORD": str(at),
        "_EDGEKIT_COMPLETE": "bash_complete",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    answer = subprocess.run(
        [sys.executable, "-m", "edgekit"], env={**os.environ, **variables}, cwd=cwd,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stderr == ""
    return [line.removeprefix("plain,") for line in answer.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "at", "offered"),
    [
        ("edgekit ex", 1, ["export", "export-profiles"]),
        ("edgekit export mobilenetv3-s", 2, ["mobilenetv3-small"]),
        ("edgekit export mobilenetv3-small -t onnx,t", 4, ["onnx,tflite"]),
        ("edgekit export mobilenetv3-small -p fp1", 4, ["fp16"]),
        ("edgekit export runs/", 2, ["runs/mine"]),
        ("edgekit profile x.onnx --device ho", 4, ["host"]),
        ("edgekit devices sh", 2, ["show"]),
        ("edgekit train x --device c", 4, ["cpu", "cuda"]),
        ("edgekit predict x.onnx pho", 3, ["file,pho"]),
    ],
)
def test_shells_complete_names(words: str, at: int, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "options.json").write_text("{}")
    (tmp_path / "runs" / "other").mkdir()
    assert set(offered) <= set(completed(words, at, tmp_path))
    assert "runs/other" not in completed(words, at, tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_the_script_of_completions(shell: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "edgekit"],
        env={**os.environ, "_EDGEKIT_COMPLETE": f"{shell}_source"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "_EDGEKIT_COMPLETE" in answer.stdout


def test_an_unknown_shell_is_refused() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "edgekit"],
        env={**os.environ, "_EDGEKIT_COMPLETE": "tcsh_source"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "'tcsh_source': expected bash_source, zsh_source or fish_source" in answer.stderr
