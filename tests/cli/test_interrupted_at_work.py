"""Ctrl-C and requests to end in the middle of a command's work: behind its first image, file or
block of measurements. No hidden file stays, and what was done before does."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from report_records import measurement
from small_artifacts import Artifacts
from small_networks import network

from edgekit import staging
from edgekit.contract import load
from edgekit.devices.runner import DeviceRunner
from edgekit.measure.session import Session
from edgekit.measure.store import Store, load_saved, save

At = Callable[[Any, str, int], None]


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda v: v.name)
def by(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that is not ignored, and does not end the tests."""
    number = signal.Signals(request.param)
    previous = signal.signal(number, signal.default_int_handler)
    yield number
    signal.signal(number, previous)


@pytest.fixture
def at(by: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> At:
    """Sends the signal when a function is called for the n-th time, before it does its work."""

    def place(owner: Any, name: str, n: int) -> None:
        whole = getattr(owner, name)
        calls = 0

        def interrupted(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == n:
                signal.raise_signal(by)
            return whole(*arguments, **options)

        monkeypatch.setattr(owner, name, interrupted)

    return place


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def said(by: signal.Signals) -> str:
    return "interrupted" if by is signal.SIGINT else f"ended by {by.name}"


def hidden(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


@pytest.fixture
def file(artifacts: Artifacts) -> Path:
    return artifacts["tflite", "fp32"]


def test_between_two_images(
    by: signal.Signals,
    at: At,
    run: CommandLine,
    file: Path,
    trained_run: Path,
    tmp_path: Path,
) -> None:
    at(DeviceRunner, "begin", 3)
    for line in (
        ["evaluate", file, "--data", "digits"],
        ["verify", file, "--against", trained_run],
    ):
        before = set(tmp_path.iterdir())
        result = run(*line)
        assert (result.code, result.out) == (128 + by, "")
        assert result.message == said(by)
        assert set(tmp_path.iterdir()) == before
        at(DeviceRunner, "begin", 3)


def test_the_labels_of_earlier_images_stay(
    by: signal.Signals, at: At, run: CommandLine, file: Path, png: Callable[..., Path]
) -> None:
    at(DeviceRunner, "begin", 2)
    result = run("predict", file, png("one.png"), png("other.png"))
    assert result.code == 128 + by
    assert result.message == said(by)
    assert "one.png" in result.out
    assert result.out.count("%") == 5
    assert "other.png" not in result.out


def test_files_that_were_finished_stay(
    by: signal.Signals, at: At, run: CommandLine, module: Callable[[str], str], tmp_path: Path
) -> None:
    from edgekit.conversion import building

    at(building, "agreement_with", 2)  # the second file is written then, under a hidden name
    words = f"{module(network())}:Net"
    result = run("export", words, "-t", "onnx", "-p", "fp32,fp16", "--resolution", 16, "-o", "out")
    assert (result.code, result.out) == (128 + by, "")
    assert result.message == said(by)
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"Net-fp32.onnx", "Net-fp32.onnx.json"}
    assert load(Path("out/Net-fp32.onnx")).agreement is not None
    assert hidden(tmp_path) == []


def test_what_was_measured_is_kept(
    by: signal.Signals, at: At, run: CommandLine, file: Path, home: Path, tmp_path: Path
) -> None:
    at(Session, "_keep", 9)
    result = run("compare", file, file, "--seconds", 2, "-o", "m.json")
    assert result.code == 128 + by, result.err
    assert f"A: {file}" in result.out
    kept = load_saved(Path("m.json"))
    assert len(kept) == len(Store(home / "measurements.db").find()) == 2
    assert all(0 < len(one.blocks) < 9 and not one.stable for one in kept)
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("command", ["report", "export-profiles"])
def test_a_page_or_table_is_there_as_a_whole_or_not(
    command: str, by: signal.Signals, at: At, run: CommandLine, tmp_path: Path
) -> None:
    save([measurement()], tmp_path / "m.json")
    Store(tmp_path / "home" / "measurements.db").add([measurement()])
    name = {"report": "out/page.html", "export-profiles": "out/table.csv"}[command]
    line = ["report", "m.json"] if command == "report" else ["export-profiles"]
    at(staging, "publish", 1)
    result = run(*line, "-o", name)
    assert (result.code, result.out) == (128 + by, "")
    assert result.message == said(by)
    assert not Path("out").exists()
    assert hidden(tmp_path) == []
    at(staging, "_name", 1)  # while it gets its name, which is done as a whole
    assert run(*line, "-o", name).code == 128 + by
    assert [path.name for path in Path("out").iterdir()] == [Path(name).name]
    assert hidden(tmp_path) == []


def test_a_document_says_why_it_is_none(
    by: signal.Signals, at: At, run: CommandLine, file: Path
) -> None:
    at(DeviceRunner, "begin", 3)
    result = run("evaluate", file, "--data", "digits", "--json")
    assert result.code == 128 + by
    assert json.loads(result.out)["error"]["exit_code"] == 128 + by
