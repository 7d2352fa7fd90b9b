"""``edgekit compare``, with real runtimes."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

from edgekit.measure import session
from edgekit.measure.store import load_saved


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("odd")
def test_it_tells_the_faster_one_and_fails_where_asked(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What loads change is a few percent, and loading networks takes most of the time.
    monkeypatch.setattr(session, "_FEWEST_LOADS", 2)
    slow, quick = "odd_networks:slow", "odd_networks:quick"
    # Several times apart: a wide interval will do, and a busy machine has time to get one.
    line = ("--seconds", 120, "--precision-goal", 50, "--fail-if-slower", 20)
    found = run("compare", slow, quick, *line, "--json")
    assert found.code == 4
    assert "slower" in found.message
    document = found.json
    assert document["schema"] == "edgekit.compare/1"
    assert (document["a"], document["b"]) == (slow, quick)
    assert document["verdict"] == "b_faster"
    assert 1 < document["ci95"][0] <= document["ratio"] <= document["ci95"][1]
    assert document["rounds"] >= 2
    other = run("compare", quick, slow, *line)
    assert other.code == 0, other.err
    assert "A is faster" in other.out


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_what_differs_is_named_and_both_are_written(
    run: CommandLine, artifacts: Artifacts, tmp_path: Path
) -> None:
    a, b = artifacts["tflite", "fp32"], artifacts["onnx", "fp32"]
    line = ("compare", a, b, "--seconds", 1, "--threads", "1,2", "-o", "m.json", "--json")
    found = run(*line)
    assert found.code == 0, found.err
    differing = " ".join(found.json["differing"])
    assert "threads: 1 and 2" in differing
    assert "runtime: LiteRT" in differing
    written = load_saved(tmp_path / "m.json")
    assert {m.command for m in written} == {shlex.join(["edgekit", *map(str, line)])}
    again = run(*line)
    assert again.code == 3
    assert "m.json exists already: give --overwrite" in again.message


def test_it_takes_one_value_or_two(run: CommandLine, artifacts: Artifacts) -> None:
    a, b = artifacts["tflite", "fp32"], artifacts["onnx", "fp32"]
    found = run("compare", a, b, "--torch", "eager,compiled,eager,x")
    assert found.code == 2


def test_a_device_that_is_named_twice_is_one(run: CommandLine, artifacts: Artifacts) -> None:
    pair = [artifacts["tflite", "fp32"], artifacts["tflite", "fp16"]]
    found = run("compare", *pair, "--seconds", 1, "--device", "host,HOST", "--json")
    assert found.code == 0, found.err
    assert found.json["paired"]
    line = ("profile", pair[0], "--seconds", 1, "--precision-goal", 50, "--energy", "off")
    found = run(*line, "--device", "host,HOST", "--json")
    assert [m["device"] for m in found.json["measurements"]] == ["host"]


@pytest.mark.usefixtures("odd")
def test_it_ends_where_one_breaks(run: CommandLine) -> None:
    found = run("compare", "odd_networks:quick", "odd_networks:crashes", "--seconds", 2)
    assert found.code == 5
    assert "odd_networks:crashes: its runtime crashed" in found.message


def test_what_counts_as_no_difference_fails_no_gate() -> None:
    from report_records import measurement

    from edgekit.cli.compare import gate
    from edgekit.measure.comparing import Comparison
    from edgekit.measure.statistics import Ratio

    one = measurement()
    for ratio, low, high, failed in ((1.002, 1.001, 1.003, False), (1.02, 1.01, 1.03, True)):
        found = Ratio(ratio, (low, high), 50, 8)
        assert (gate(Comparison(one, one, found, (), False), 0) is not None) == failed
