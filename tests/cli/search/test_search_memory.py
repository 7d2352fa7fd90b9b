"""``search --budget arena=...``: memory on microcontrollers, told by their interpreter."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from command_line import CommandLine
from small_searches import QUICK, steps

needs_micro = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro is not installed"
)
needs_vela = pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None, reason="ethos-u-vela is not installed"
)
INTEGERS = (*QUICK, "--precision", "int8", "-o", "s")


@needs_micro
def test_a_search_keeps_a_budget_of_the_arena(
    trained: Path, run: CommandLine, tmp_path: Path, inline: None
) -> None:
    result = run("search", trained, "--budget", "arena=0.96x", *INTEGERS)
    assert result.code == 0, result.err
    assert "arena KiB" in result.out
    found = json.loads((tmp_path / "s" / "search.json").read_text())
    before, after = found["baseline"], found["final"]
    assert after["arena_bytes"] <= 0.96 * before["arena_bytes"]
    assert found["prediction_error"] < 0.02  # the parts are the whole, where nothing shares memory
    # What the search says is what a look at the file says.
    (told,) = run("profile", after["artifact"], "--device", "tflm", "--json").json["simulations"]
    assert told["arena_bytes"] == after["arena_bytes"]
    assert float(steps(tmp_path / "s")[0]["arena_bytes"]) == before["arena_bytes"]
    page = (tmp_path / "s" / "search.html").read_text()
    assert "arena KiB" in page
    assert "arena, KiB" in page


@needs_micro
def test_an_arena_that_no_network_has_is_out_of_reach(
    trained: Path, run: CommandLine, inline: None
) -> None:
    result = run("search", trained, "--budget", "arena=2KB", *INTEGERS)
    assert result.code == 2
    assert "budget arena=2KB is out of reach" in result.message
    assert " KiB (" in result.message
    result = run("search", trained, "--budget", "arena=1MiB", *INTEGERS)
    assert (result.code, "keeps it already" in result.message) == (2, True)


@needs_vela
def test_a_budget_of_the_sram_is_told_for_the_device(
    trained: Path, run: CommandLine, inline: None
) -> None:
    result = run("search", trained, "--budget", "sram=1KB", "--device", "ethos-u65-256", *INTEGERS)
    assert result.code == 2
    assert "budget sram=1KB is out of reach" in result.message


@pytest.mark.parametrize(
    "options", [("-t", "onnx", "-p", "int8"), ("-t", "tflite", "-p", "fp32")], ids=["onnx", "fp32"]
)
@needs_micro
def test_files_that_it_does_not_take_are_refused(
    options: tuple[str, ...], trained: Path, run: CommandLine, tmp_path: Path
) -> None:
    result = run("search", trained, "--budget", "arena=0.9x", *options, "-o", "s")
    assert result.code == 2
    assert "give --target tflite --precision int8" in result.message
    assert not (tmp_path / "s").exists()


def test_what_has_no_clock_has_no_latency(trained: Path, run: CommandLine) -> None:
    result = run("search", trained, "--budget", "latency=0.9x", "--device", "tflm", *INTEGERS)
    assert result.code == 2
    assert "device 'tflm' has no clock" in result.message


def test_a_unit_that_there_is_not_is_refused(trained: Path, run: CommandLine) -> None:
    result = run("search", trained, "--budget", "arena=3ms", *INTEGERS)
    assert (result.code, "'KB'" in result.message) == (2, True)


def test_a_package_that_is_missing_is_named(
    trained: Path, run: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tflite_micro"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    result = run("search", trained, "--budget", "arena=0.9x", *INTEGERS)
    assert result.code == 5
    assert "pip install 'edgekit[micro]'" in result.message
    assert not (tmp_path / "s").exists()
