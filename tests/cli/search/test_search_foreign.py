"""Whatever runtimes raise in the processes of a search that measure: exit code 3 and the cause."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine
from raising import RAISED, breaks_in_agents, raising, told
from small_searches import QUICK

from edgekit import registry
from edgekit.search import measuring

pytestmark = pytest.mark.usefixtures("inline")
LATENCY = ("--budget", "latency=0.8x", *QUICK, "-o", "s")


def test_the_process_that_times_parts(
    run: CommandLine, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MEASURING_SECONDS", 0.4)
    breaks_in_agents(monkeypatch, tmp_path, "tflite", "prepare", "exit", "part.tflite")
    result = run("search", trained, *LATENCY)
    told(result, RAISED["exit"], "what parts are measured in turns with", "cannot be run by LiteRT")


def test_the_process_that_measures_networks(
    run: CommandLine, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_in_agents(monkeypatch, tmp_path, "tflite", "open", "key")
    told(run("search", trained, *LATENCY), RAISED["key"], "s/step-00/", "cannot be run by LiteRT")


def test_files_that_stand_for_networks(
    run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They get the contract of the start."""
    words = ("--budget", "size=0.8x", "--method", "uniform", *QUICK, "-o", "s")
    for error in (RAISED["lines"], RAISED["exit"]):
        monkeypatch.setattr(type(registry.target("tflite")), "extract", raising(error))
        result = run("search", trained, *words, *(["--resume"] if Path("s").exists() else []))
        told(result, error, "cannot be given the contract of the start")
