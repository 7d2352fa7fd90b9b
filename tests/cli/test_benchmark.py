"""``edgekit benchmark``: the table, the choice, bad inputs, and going on behind a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, Result
from cutting_proxy import CuttingProxy
from small_networks import network
from test_export_gate import FAULTS

import edgekit
from edgekit.benchmarking.journal import Journal
from edgekit.locks import one_writer
from edgekit.measure import profiling
from edgekit.measure.session import Session
from edgekit.measure.store import load_saved

Module = Callable[[str], str]
QUICK = ("--seconds", "1", "--no-store")
TWO = ("-t", "onnx,tflite", "-p", "fp32")
BOTH = ("-t", "onnx,openvino", "-p", "fp32")
KEYS = {
    "artifact", "target", "precision", "size_bytes", "headline", "latency_ms", "ci95",
    "peak_rss_mib", "rejected",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


def ok(result: Result) -> Any:
    assert result.code == 0, result.err
    document = result.json
    assert document["schema"] == "edgekit.benchmark/1"
    for row in (*document["rows"], *([document["stock"]] if document["stock"] else [])):
        assert row.keys() >= KEYS
    return document


def of_state(document: Any, state: str) -> list[Any]:
    return [row for row in document["rows"] if row["state"] == state]


def narrow(text: str) -> bool:
    return all(len(line.rstrip()) <= 80 for line in text.splitlines())


def test_a_run_from_its_network_to_the_choice(
    run: CommandLine, short_network: Path, tmp_path: Path
) -> None:
    words = ("benchmark", short_network, "-t", "onnx,tflite", "-p", "fp32,int8", *QUICK, "-o", "b")
    first = run(*words)
    assert first.code == 0, first.err
    assert narrow(first.out)
    assert "Take b/" in first.out
    assert "edgekit app b/" in first.out
    assert "stock fp32" in first.out
    assert "measuring 5 files in turns" in first.err
    document = ok(run(*words, "--json"))
    assert "measuring" not in run(*words).err
    assert [row["state"] for row in document["rows"]] == ["ok"] * 4
    latencies = [row["latency_ms"] for row in document["rows"]]
    assert latencies == sorted(latencies)
    for row in document["rows"]:
        low, high = row["ci95"]
        assert low <= row["latency_ms"] <= high
        assert row["peak_rss_mib"] > 0
        assert row["speedup"] > 0
        assert row["headline"]["name"] == "top1"
        assert row["evaluation"]["n"] == document["network"]["n"]
        assert (tmp_path / row["artifact"]).is_file()
    assert document["choice"] in [row["artifact"] for row in document["rows"]]
    assert document["stock"]["headline"]["value"] == document["network"]["headline"]["value"]
    assert document["page"] == "b/benchmark.html"
    assert "<html" in (tmp_path / "b" / "benchmark.html").read_text()
    assert json.loads((tmp_path / "b" / "benchmark.json").read_text())["choice"]
    assert len(load_saved(tmp_path / "b" / "measurements.json")) == 5
    # A folder of exported files is taken as it is.
    (tmp_path / "b" / "notes.txt").write_text("mine")
    shutil.copy(tmp_path / "b" / "stock" / Path(document["stock"]["artifact"]).name, "b/own.onnx")
    Path("b/broken.tflite").write_bytes(b"\0" * 64)
    folder = run("benchmark", "b", *QUICK, "-o", "again", "--json")
    found = ok(folder)
    assert {row["artifact"] for row in found["rows"]} == {
        row["artifact"] for row in document["rows"]
    }
    assert found["stock"]["sha256"] == document["stock"]["sha256"]
    assert not list((tmp_path / "again").glob("*.onnx"))
    for name in ("own.onnx", "broken.tflite", "notes.txt"):
        assert name in folder.err
    assert "warning: left alone: " in folder.err
    refused = run("benchmark", "b", "-t", "onnx")
    assert refused.code == 2
    assert "--target goes with networks only, and b is a folder" in refused.message
    refused = run("benchmark", "b", "--mean", "0.5")
    assert refused.code == 2
    assert "--mean goes with networks only" in refused.message
    # Other files may follow, and what is there is not made anew.
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").glob("*-*.onnx")}
    more = run(*words[:2], "-t", "onnx", "-p", "fp32,fp16", *QUICK, "-o", "b", "--json")
    assert {row["precision"] for row in ok(more)["rows"]} == {"fp32", "fp16"}
    assert all(path.stat().st_mtime_ns == moment for path, moment in made.items())
    other = run(*words[:2], *TWO, "--data", "synthetic", *QUICK, "-o", "b")
    assert other.code == 2
    assert "b holds a benchmark with another --data (none, now synthetic)" in other.message
    changed = next(iter(made))
    changed.write_bytes(changed.read_bytes() + b"x")
    refused = run(*words)
    assert refused.code == 3
    assert "is not the file that this benchmark has made" in refused.message
    (tmp_path / "b" / "work" / "journal.json").write_text("{")
    damaged = run(*words)
    assert damaged.code == 3
    assert "journal.json is no journal of a benchmark" in damaged.message


def test_without_data_files_go_by_agreement(run: CommandLine, module: Module) -> None:
    words = f"{module(network())}:Net"
    result = run("benchmark", words, "--resolution", 32, *TWO[:2], "-p", "fp32,int8", *QUICK)
    assert result.code == 0, result.err
    assert "no accuracy: there are no labelled images; give some with --data SRC" in result.err
    assert "agree dB" in result.out
    assert "those that agree with PyTorch" in result.out
    assert "left out: onnx int8, tflite int8: its ranges come from images" in (
        " ".join(result.out.split())
    )
    assert narrow(result.out)
    assert Path("Net-benchmark/benchmark.html").is_file()
    document = ok(run("benchmark", words, "--resolution", 32, *TWO[:2], *QUICK[:2], "-p", "fp32",
                      "--no-store", "--json"))  # fmt: skip
    assert document["network"] is None
    assert document["rows"][0]["headline"] is None
    assert document["rows"][0]["agreement"]["sqnr_db"] > 60


def test_a_file_that_fails_its_gate_is_shown_and_not_chosen(
    run: CommandLine, module: Module
) -> None:
    words = f"{module(network(FAULTS['openvino']))}:Net"
    line = ("benchmark", words, "--resolution", 32, *BOTH, *QUICK, "-o", "b")
    result = run(*line)
    assert result.code == 0, result.err
    assert "rejected: openvino fp32: " in result.out
    assert "Take b/Net-fp32.onnx" in result.out
    document = ok(run(*line, "--json"))
    (row,) = of_state(document, "rejected")
    assert "expected at least 60 dB" in row["rejected"]
    assert row["latency_ms"] is None
    assert document["choice"] == "b/Net-fp32.onnx"
    alone = run("benchmark", words, "--resolution", 32, "-t", "openvino", "-p", "fp32", "-o", "c")
    assert alone.code == 4
    assert "there is no file of" in alone.message
    folder = run("benchmark", "b", *QUICK, "-o", "d", "--json")
    assert [row["target"] for row in of_state(ok(folder), "rejected")] == ["openvino"]


def test_a_target_that_fails_does_not_end_the_run(run: CommandLine, module: Module) -> None:
    fault = """
        if torch.jit.is_tracing():
            raise ValueError('not in this format')
    """
    words = f"{module(network(fault.strip()))}:Net"
    line = ("benchmark", words, "--resolution", 32, *BOTH, *QUICK, "-o", "b", "--json")
    document = ok(run(*line))
    (row,) = of_state(document, "failed")
    assert row["target"] == "openvino"
    assert "not in this format" in row["rejected"]
    assert row["size_bytes"] is None
    assert document["choice"] == "b/Net-fp32.onnx"


def test_networks_of_any_outputs_go_by_agreement(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")
    words = ("benchmark", "any_networks:detector", "--resolution", 32, *TWO, *QUICK, "-o", "b")
    result = run(*words)
    assert result.code == 0, result.err
    assert "have no known meaning" in result.err
    assert "agree dB" in result.out
    assert "edgekit profile b/" in result.out


def test_files_that_lose_too_much_are_not_chosen(
    run: CommandLine, short_network: Path, tmp_path: Path
) -> None:
    files = run("export", short_network, *TWO, "-o", "f")
    assert files.code == 0
    line = ("benchmark", "f", "--data", "digits", *QUICK, "-o", "b")
    assert ok(run(*line, "--max-drop", 0, "--json"))["choice"]
    refused = run(*line[:1], short_network, *TWO, "--max-drop", "-1")
    assert refused.code == 2


def test_what_cannot_be_benchmarked(run: CommandLine, short_network: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = run("benchmark", "empty")
    assert empty.code == 3
    assert "empty holds no exported file, and is no run folder" in empty.message
    assert not (tmp_path / "empty-benchmark").exists()
    assert run("benchmark", "mobilenetv9").code == 2
    assert run("benchmark", short_network, "-t", "coreml").code == 2
    assert run("benchmark", short_network, "-p", "int3").code == 2
    assert run("benchmark", short_network, "--device", "tflm").code == 2
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "benchmark.html").write_text("mine")
    taken = run("benchmark", short_network, *TWO, "-o", "b")
    assert taken.code == 3
    assert "b/benchmark.html exists already: give --overwrite" in taken.message
    (tmp_path / "c").mkdir()
    with one_writer(tmp_path / "c", "benchmark"):
        assert "another benchmark is at work in c" in (
            run("benchmark", short_network, "-o", "c").message
        )


class Killed(BaseException):
    """Ends a command as nothing does that it could notice."""


def test_what_was_measured_counts_behind_a_kill(
    run: CommandLine, short_network: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = ("benchmark", short_network, *TWO, "--seconds", "2", "--precision-goal", "0.01", "-o",
            "b", "--no-store", "--json")  # fmt: skip
    note = Journal.note_session

    def noted(self: Journal, *arguments: Any, **options: Any) -> None:
        note(self, *arguments, **options)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(profiling, "KEEP_EVERY_S", 1.0)
        patched.setattr(Journal, "note_session", noted)
        assert run(*line).code == 1
    kept = load_saved(tmp_path / "b" / "work" / "session-1.json")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").glob("*-fp32.*")}
    again = run(*line)
    document = ok(again)
    assert "going on with the benchmark in b" in again.err
    assert "exporting" not in again.err
    assert "evaluating" not in again.err
    assert all(path.stat().st_mtime_ns == moment for path, moment in made.items())
    later = load_saved(tmp_path / "b" / "work" / "session-2.json")
    together = load_saved(tmp_path / "b" / "measurements.json")
    assert len(together) == len(kept) == len(later) == 3
    for m in together:
        (one,) = [k for k in kept if k.sha256 == m.sha256]
        (two,) = [k for k in later if k.sha256 == m.sha256]
        assert len(m.blocks) == len(one.blocks) + len(two.blocks)
    assert document["choice"]


def test_a_killed_process_goes_on_with_the_files_that_it_made(
    run: CommandLine, short_network: Path, tmp_path: Path, package_env: dict[str, str]
) -> None:
    line = ["benchmark", str(short_network), *TWO, *QUICK, "-o", "b"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *line],
        cwd=tmp_path,
        env={**package_env, "EDGEKIT_HOME": str(tmp_path / "home")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    contract = tmp_path / "b" / "mobilenetv3-small-fp32.onnx.json"
    end = time.monotonic() + 120
    while not contract.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    moment = contract.stat().st_mtime_ns
    result = run(*line, "--json")
    assert ok(result)["choice"]
    assert contract.stat().st_mtime_ns == moment


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_a_device_that_vanishes(
    run: CommandLine,
    proxy: CuttingProxy,
    short_network: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    line = ("benchmark", short_network, *TWO, "--seconds", "3", "--precision-goal", "0.01",
            "--device", "far", "-o", "b", "--no-store")  # fmt: skip
    keep, blocks = Session._keep, 0

    def kept(session: Session, *arguments: Any) -> None:
        nonlocal blocks
        keep(session, *arguments)
        blocks += 1
        if blocks == 60:
            proxy.cut("reset")

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_keep", kept)
        lost = run(*line)
    assert lost.code == 5, lost.err
    assert "what was done is kept in b: give the same command again" in lost.message
    assert "No file to take: the measurement is not finished" in lost.out
    assert narrow(lost.out)
    assert load_saved(tmp_path / "b" / "work" / "session-1.json")
    proxy.heal()
    again = run(*line, "--json")
    document = ok(again)
    assert document["device"] == "far"
    assert document["choice"]
    assert "exporting" not in again.err


@pytest.mark.usefixtures("brief_sessions")
def test_a_notebook_gets_the_table_and_the_file(short_network: Path, tmp_path: Path) -> None:
    result = edgekit.benchmark(
        short_network, "onnx", ["fp32"], out=tmp_path / "b", seconds=1, precision_goal=20
    )
    assert result.choice.row is not None
    assert Path(os.fspath(result)) == result.choice.row.path
    assert result.rows[0].headline is not None
    assert result.stock is not None
    assert result.page is not None
    assert result.page.is_file()
    with pytest.raises(edgekit.UsageError, match="max-drop"):
        edgekit.benchmark(short_network, max_drop=-1.0)
