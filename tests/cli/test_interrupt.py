"""Ctrl-C and requests to end at any point: their exit code, no partial file, and a training that
goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CommandLine, Result

import edgekit
from edgekit.cli import COMMANDS
from edgekit.contract import load
from edgekit.models.weights import load_checkpoint

SMALL = "mobilenetv1@0.25"

# Sends a real signal to its own process when a package is first imported.
INTERRUPT_AT_IMPORT = """
import os, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("INTERRUPT_AT"):
            del os.environ["INTERRUPT_AT"]
            os.kill(os.getpid(), int(os.environ.get("SIGNAL", signal.SIGINT)))

sys.meta_path.insert(0, Interrupter())
"""

# A network that interrupts its process when it is run for the given time, or is converted.
NETWORK = """
import os, signal, torch
from torch import nn

class Net(nn.Module):
    calls = 0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.scores = nn.Linear(4, 4)

    def forward(self, x):
        Net.calls += 1
        if WHEN:
            os.kill(os.getpid(), signal.SIGINT)
        return self.scores(self.conv(x).mean((2, 3)))
"""


def _interrupted(
    cli: CommandLine, folder: Path, moment: str, *arguments: str, by: int = signal.SIGINT
) -> Result:
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(INTERRUPT_AT_IMPORT, encoding="utf-8")
    paths = [str(folder / "site"), str(Path(edgekit.__file__).parents[1])]
    return cli(
        *arguments,
        env={"PYTHONPATH": os.pathsep.join(paths), "INTERRUPT_AT": moment, "SIGNAL": str(by)},
    )


def _results(folder: Path) -> set[str]:
    ignored = ("site/", "__pycache__", "net.py")
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    hidden = [p.name for p in folder.rglob(".*")]
    assert not hidden
    return {name for name in names if not any(part in name for part in ignored)}


# What each command imports when it is at work, and a command line that gets there soon.
AT_WORK: dict[str, tuple[str, str]] = {
    "app": ("edgekit.apps.app", f"{SMALL}.onnx --platform python -o out/app"),
    "benchmark": ("edgekit.benchmarking.run", f"{SMALL} -o out"),
    "bundle": ("edgekit.bundles", f"{SMALL}.onnx -o out/a.zip"),
    "compare": ("edgekit.measure.session", f"{SMALL} {SMALL} -o out/m.json"),
    "demo": ("torch", "-o out"),
    "describe": ("torch", SMALL),
    "devices": ("edgekit.devices.profiles", "add board --transport ssh://board"),
    "doctor": ("torch", ""),
    "evaluate": ("numpy", f"{SMALL} --data synthetic"),
    "explain": ("numpy", f"{SMALL} image.png -o out/map.png"),
    "export": ("torch", f"{SMALL} -t onnx -o out"),
    "export-profiles": ("sqlite3", "-o out/table.csv"),
    "history": ("sqlite3", ""),
    "list": ("edgekit.devices.profiles", ""),
    "predict": ("numpy", f"{SMALL} image.png"),
    "profile": ("edgekit.measure.profiling", f"{SMALL} -o out/m.json"),
    "report": ("edgekit.report.page", f"{SMALL}.onnx -o out/page.html"),
    "search": ("torch", f"{SMALL} --budget macs=0.5x -o out"),
    "train": ("torch", f"{SMALL} -o out"),
    "verify": ("numpy", f"{SMALL}.onnx --against {SMALL}"),
}


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda v: v.name)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_by_every_signal(
    command: str, by: signal.Signals, cli: CommandLine, tmp_path: Path
) -> None:
    moment, words = AT_WORK[command]
    result = _interrupted(cli, tmp_path, moment, command, *words.split(), by=by)
    assert (result.code, result.out) == (128 + by, ""), result.err
    assert result.message == ("interrupted" if by is signal.SIGINT else f"ended by {by.name}")
    assert _results(tmp_path) == set()


def test_nohup_stays(tmp_path: Path, package_env: dict[str, str]) -> None:
    """A hang-up that is ignored on arrival is ignored to the end."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(INTERRUPT_AT_IMPORT, encoding="utf-8")
    paths = [str(tmp_path / "site"), package_env["PYTHONPATH"]]
    moment = {"INTERRUPT_AT": "edgekit.devices.profiles", "SIGNAL": str(int(signal.SIGHUP))}
    done = subprocess.run(
        ["nohup", sys.executable, "-m", "edgekit", "list", "--json"],
        cwd=tmp_path,
        env={**package_env, **moment, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == "edgekit.list/1"


@pytest.mark.parametrize("moment", ["click", "edgekit.cli", "edgekit.errors", "json"])
def test_at_the_start(moment: str, cli: CommandLine, tmp_path: Path) -> None:
    result = _interrupted(cli, tmp_path, moment, "list", "--json")
    assert result.code == 130
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "moment",
    # torch looks for ONNX Runtime in the middle of imports of its own.
    ["edgekit.conversion", "numpy", "torch", "onnxruntime"],
)
def test_during_an_export(moment: str, cli: CommandLine, tmp_path: Path) -> None:
    result = _interrupted(
        cli, tmp_path, moment, "export", SMALL, "-t", "onnx", "--resolution", "32", "-o", "out"
    )
    assert (result.code, result.out) == (130, "")
    assert result.message == "interrupted"
    assert _results(tmp_path) == set()


def test_between_two_files_of_an_export_the_finished_one_stays(
    cli: CommandLine, tmp_path: Path
) -> None:
    arguments = ("export", SMALL, "-t", "onnx,openvino", "--resolution", "32", "-o", "out")
    result = _interrupted(cli, tmp_path, "openvino", *arguments, "--json")
    assert result.code == 130
    assert result.json["error"] == {
        "type": "Interrupted",
        "message": "interrupted",
        "exit_code": 130,
    }
    names = {f"out/{SMALL}-fp32.onnx", f"out/{SMALL}-fp32.onnx.json"}
    assert _results(tmp_path) == names
    assert load(tmp_path / "out" / f"{SMALL}-fp32.onnx").agreement is not None


@pytest.mark.parametrize(
    ("target", "when"),
    [
        ("onnx", "Net.calls == 1"),
        ("onnx", "Net.calls == 3"),
        ("onnx", "torch.compiler.is_exporting()"),
        ("openvino", "torch.jit.is_tracing()"),
    ],
)
def test_while_a_network_runs_or_is_converted(
    target: str, when: str, cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(NETWORK.replace("WHEN", when), encoding="utf-8")
    result = cli("export", "net:Net", "-t", target, "--resolution", "16", "-o", "out")
    assert (result.code, result.out) == (130, "")
    assert result.message == "interrupted"
    assert _results(tmp_path) == set()


@pytest.mark.parametrize("moment", ["torch", "accelerate", "sklearn"])
def test_before_a_training_begins(moment: str, cli: CommandLine, tmp_path: Path) -> None:
    arguments = ("train", SMALL, "--data", "digits", "--epochs", "1", "--resolution", "32")
    result = _interrupted(cli, tmp_path, moment, *arguments, "-o", "run")
    assert (result.code, result.out) == (130, "")
    assert result.message == "interrupted"
    assert _results(tmp_path) == set()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGHUP], ids=lambda v: v.name)
def test_a_training_goes_on_where_it_was_interrupted(
    by: signal.Signals, cli: CommandLine, tmp_path: Path, package_env: dict[str, str]
) -> None:
    arguments = ["train", SMALL, "--data", "synthetic", "--epochs", "6", "--resolution", "32"]
    arguments += ["--batch-size", "16", "-o", "run"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgekit", *arguments],
        cwd=tmp_path,
        env=package_env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen = ""
        while "epoch   2" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        process.send_signal(by)
        out, seen = process.stdout.read(), seen + process.stderr.read()
    assert (process.returncode, out) == (128 + by, "")
    assert ("error: interrupted" if by is signal.SIGINT else "error: ended by SIGHUP") in seen
    assert "finished epochs are kept in run; go on with: edgekit train --resume -o run" in seen
    assert "Traceback" not in seen
    assert _results(tmp_path) == {"run/state.pt", "run/metrics.jsonl", "run/options.json"}

    refused = cli("evaluate", "./run", "--data", "synthetic")
    assert refused.code == 3
    assert "unfinished training" in refused.message

    resumed = cli(*arguments, "--resume", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["epochs"] == 6
    assert "epoch   1 " not in resumed.err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["epoch"] for record in records if "train_loss" in record] == [1, 2, 3, 4, 5, 6]
    assert load_checkpoint(tmp_path / "run").results["epochs"] == 6
    assert "run/state.pt" not in _results(tmp_path)


def test_a_request_to_terminate_leaves_nothing_either(cli: CommandLine, tmp_path: Path) -> None:
    network = NETWORK.replace("WHEN", "torch.compiler.is_exporting()")
    (tmp_path / "net.py").write_text(network.replace("SIGINT", "SIGTERM"), encoding="utf-8")
    result = cli("export", "net:Net", "-t", "onnx", "--resolution", "16", "-o", "out")
    assert (result.code, result.out) == (128 + signal.SIGTERM, "")
    assert "Traceback" not in result.err
    assert _results(tmp_path) == set()


def test_twice_leaves_nothing_either(tmp_path: Path, package_env: dict[str, str]) -> None:
    when = "Net.calls > 1 and (signal.raise_signal(signal.SIGINT) or True)"
    (tmp_path / "net.py").write_text(NETWORK.replace("WHEN", when), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "export", "net:Net", "-t", "onnx", "-o", "out"],
        cwd=tmp_path,
        env=package_env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 130
    assert _results(tmp_path) == set()
