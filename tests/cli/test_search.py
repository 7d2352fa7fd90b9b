"""``edgekit search`` through the command line: counted budgets, which need no measuring."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import CommandLine

QUICK = (
    "--target", "tflite", "--reduction", 0.2, "--tune-steps", 2, "--finish-epochs", 0,
    "--no-distill",
)  # fmt: skip


@pytest.fixture(scope="module")
def searched(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search. Read-only."""
    folder = tmp_path_factory.mktemp("search")
    _run(folder, trained_run, "s")
    return folder / "s"


def _command(run: Path, out: str, *more: str) -> list[str]:
    words = [str(word) for word in QUICK]
    return [
        sys.executable, "-m", "edgekit", "search", str(run), "--budget", "macs=0.85x",
        *words, "-o", out, *more,
    ]  # fmt: skip


def _run(folder: Path, run: Path, out: str, *more: str) -> None:
    done = subprocess.run(
        _command(run, out, *more), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def steps(folder: Path) -> list[dict[str, str]]:
    with (folder / "pareto.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_step_is_a_complete_network(searched: Path, run: CommandLine) -> None:
    rows = steps(searched)
    assert len(rows) >= 3
    macs = [float(row["macs"]) for row in rows]
    assert macs[-1] <= 0.85 * macs[0]
    assert macs == sorted(macs, reverse=True)
    for row in rows:
        artifact = searched / row["artifact"]
        contract = json.loads((artifact.parent / f"{artifact.name}.json").read_text())
        assert contract["agreement"]["passed"]
    first, last = (run("evaluate", searched / row["artifact"], "--data", "digits", "--json").json
                   for row in (rows[0], rows[-1]))  # fmt: skip
    assert 0.5 < last["top1"] <= 1
    assert first["n"] == last["n"]
    described = run("describe", searched / "model.pt", "--json").json
    assert described["macs"] == macs[-1]
    assert run("export", searched / "model.pt", "-t", "onnx", "-o", "again").code == 0
    assert not list(searched.rglob("candidates"))


def killed(run: Path, folder: Path, moments: list[float]) -> None:
    """A search that was killed after so many seconds, again and again, and then went on."""
    for moment in moments:
        more = ("--resume",) if (folder / "s" / "journal.sqlite").exists() else ()
        process = subprocess.Popen(
            _command(run, "s", *more), cwd=folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(moment)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        if process.wait() == 0:
            return
    _run(folder, run, "s", "--resume")


def test_a_search_that_is_killed_goes_on_to_the_same_network(
    searched: Path, trained_run: Path, tmp_path: Path
) -> None:
    killed(trained_run, tmp_path, [14.0])
    assert steps(tmp_path / "s") == steps(searched)


@pytest.mark.slow
def test_it_does_so_at_twenty_moments(searched: Path, trained_run: Path, tmp_path: Path) -> None:
    rng = random.Random(7)
    for trial in range(5):
        folder = tmp_path / str(trial)
        folder.mkdir()
        killed(trained_run, folder, [rng.uniform(6, 20) for _ in range(4)])
        assert steps(folder / "s") == steps(searched)


def test_a_budget_that_is_kept_already_is_refused(run: CommandLine, trained_run: Path) -> None:
    result = run("search", trained_run, "--budget", "macs=900M", *QUICK, "-o", "s")
    assert result.code == 2
    assert "the network keeps it already" in result.message


def test_a_budget_out_of_reach_names_the_least(run: CommandLine, trained_run: Path) -> None:
    result = run("search", trained_run, "--budget", "macs=0.001x", *QUICK, "-o", "s")
    assert result.code == 2
    assert "out of reach: with all groups at an eighth of their channels" in result.message


def test_a_folder_with_a_search_is_not_begun_anew(
    run: CommandLine, searched: Path, trained_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    result = run("search", trained_run, "--budget", "macs=0.85x", *QUICK, "-o", "s")
    assert result.code == 2
    assert "go on with --resume" in result.message
    result = run("search", trained_run, "--budget", "macs=0.5x", *QUICK, "-o", "s", "--resume")
    assert result.code == 2
    assert "its budget is macs=0.85x, now it is macs=0.5x" in result.message
    result = run("search", trained_run, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
    assert result.code == 0
    assert steps(tmp_path / "s") == steps(searched)


def test_an_untrained_network_is_refused(run: CommandLine) -> None:
    result = run("search", "mobilenetv3-small", "--budget", "macs=0.85x", *QUICK, "-o", "s")
    assert result.code == 3
    assert "expected a run folder or checkpoint" in result.message


def test_a_precision_that_there_is_not_is_refused(run: CommandLine, trained_run: Path) -> None:
    result = run(
        "search", trained_run, "--budget", "macs=0.85x", "-t", "openvino", "-p", "w8a16", "-o", "s"
    )
    assert result.code == 2
    assert "target openvino has no precision w8a16" in result.message


def test_a_folder_that_cannot_be_made_is_named(
    run: CommandLine, trained_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    result = run("search", trained_run, "--budget", "macs=0.85x", *QUICK, "-o", "file/s")
    assert result.code == 3
    assert "cannot make the folder file/s" in result.message


def test_a_runtime_that_is_lost_ends_with_the_way_to_go_on(
    run: CommandLine, trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.errors import UnavailableError
    from edgekit.search import netadapt

    def gone(*_: object) -> None:
        raise UnavailableError("the device is gone")

    monkeypatch.setattr(netadapt, "compare", gone)
    words = ("search", trained_run, "--budget", "latency=0.9x", *QUICK, "-o", "s")
    result = run(*words)
    assert result.code == 5
    assert "the device is gone; all that was done is kept in s" in result.message
    assert "--resume" in result.message
