"""``edgekit profile --energy``: real meters where there is none are files that grow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

# Watts every 20 ms, as a wall meter's logger writes them.
WRITER = """
import sys, time
with open(sys.argv[1], "a", buffering=1) as file:
    n = 0
    while True:
        n += 1
        file.write(f"{time.time():.6f},{eval(sys.argv[2])}\\n")
        if n == 8:
            print("ready", flush=True)
        time.sleep(0.02)
"""


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts a meter that shows an expression of ``n``, the number of the reading."""
    started = []

    def start(watts: str) -> str:
        path = tmp_path / "watts.csv"
        path.write_text("time,watts\n")
        command = [sys.executable, "-c", WRITER, str(path), watts]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(writer)
        # The rows that are there at the beginning tell how often there are new ones.
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        return f"csv:{path}"

    yield start
    for process in started:
        process.kill()
        process.communicate()


def profiled(run: CommandLine, artifacts: Artifacts, energy: str) -> tuple[dict[str, object], str]:
    path = artifacts["tflite", "fp32"]
    found = run("profile", path, "--seconds", 1, "--energy", energy, "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    return entry["energy"], entry["latency_ms"]["p50"]


def test_a_wall_meter_gives_measured_energy(
    run: CommandLine, artifacts: Artifacts, meter: Callable[[str], str]
) -> None:
    energy, _ = profiled(run, artifacts, meter("5 + 0.01 * (n % 3)"))
    assert (energy["kind"], energy["meter"], energy["scope"]) == ("measured", "csv", "wall")
    assert energy["idle_mw"] == pytest.approx(5010, rel=0.01)
    assert float(str(energy["gross_mj_per_inference"])) > 0
    assert energy["windows"] == 5


@pytest.mark.parametrize(
    "watts", ["5 if n < 9 else float('nan')", "5 if n < 9 else -3", "5 if n < 9 else 1e9"]
)
def test_a_lying_meter_leaves_the_latency(
    run: CommandLine, artifacts: Artifacts, meter: Callable[[str], str], watts: str
) -> None:
    energy, p50 = profiled(run, artifacts, meter(watts))
    assert energy["kind"] == "unavailable"
    assert energy["mj_per_inference"] is None
    assert "csv" in str(energy["reason"])
    assert p50


def test_an_estimate_is_called_one(run: CommandLine, artifacts: Artifacts) -> None:
    energy, _ = profiled(run, artifacts, "estimate")
    assert energy["kind"] == "estimated"
    assert energy["coefficients"]
    assert "Horowitz" in str(energy["model"])
    found = run("profile", artifacts["tflite", "fp32"], "--seconds", 1, "--energy", "estimate")
    assert "est." in found.out


def test_off_is_unavailable_and_not_zero(run: CommandLine, artifacts: Artifacts) -> None:
    energy, _ = profiled(run, artifacts, "off")
    assert (energy["kind"], energy["mj_per_inference"]) == ("unavailable", None)


def test_a_meter_that_is_not_there(run: CommandLine, artifacts: Artifacts) -> None:
    path = artifacts["tflite", "fp32"]
    missing = run("profile", path, "--energy", "csv:gone.csv")
    assert missing.code == 5
    assert "gone.csv" in missing.message
    unknown = run("profile", path, "--energy", "wattmeter")
    assert unknown.code == 2
    assert "edgekit list meters" in unknown.message
