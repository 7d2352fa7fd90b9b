"""``edgekit profile --energy``: real meters where there is none are files that grow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

# Watts every 20 ms, as a wall meter's logger writes them: an expression of n, the number of the
# row, busy, the cores that the measuring processes of its parent used since the last row, and seen,
# the number of rows since another process reads the file.
WRITER = """
import os, sys, time
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")

def measuring():
    stats = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"edgekit.agent" in (path / "cmdline").read_bytes():
                stats[path.name] = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
    parents = {str(os.getppid())}
    for _ in range(3):  # and the processes that those start
        parents |= {pid for pid, fields in stats.items() if fields[1] in parents}
    return sum((int(s[11]) + int(s[12])) * TICK_S for pid, s in stats.items() if pid in parents)

def is_read():
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(path) == sys.argv[1] and path.parts[2] != str(os.getpid()):
                return True
        except OSError:
            continue
    return False

with open(sys.argv[1], "a", buffering=1) as file:
    n, seen, before, clock = 0, 0, 0.0, time.time()
    while True:
        time.sleep(0.02)
        used = measuring() if "busy" in sys.argv[2] else 0.0
        seen += "seen" in sys.argv[2] and (seen > 0 or is_read())
        n, now = n + 1, time.time()
        busy = max(0.0, used - before) / (now - clock)
        before, clock = used, now
        file.write(f"{now:.6f},{eval(sys.argv[2])}\\n")
        if n == 8:
            print("ready", flush=True)
"""


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts a meter that shows an expression; see `WRITER`."""
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


def profiled(run: CommandLine, artifacts: Artifacts, energy: str) -> tuple[dict[str, Any], float]:
    path = artifacts["tflite", "fp32"]
    found = run("profile", path, "--seconds", 1, "--energy", energy, "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    return entry["energy"], entry["latency_ms"]["p50"]


def test_a_wall_meter_gives_measured_energy(
    run: CommandLine, artifacts: Artifacts, meter: Callable[[str], str]
) -> None:
    energy, _ = profiled(run, artifacts, meter("5 + 20 * busy"))
    assert energy["kind"] == "measured", energy["reason"]
    assert (energy["meter"], energy["scope"]) == ("csv", "wall")
    assert 5_000 <= energy["idle_mw"] < 15_000
    low, high = energy["ci95"]
    assert 0 < low < energy["mj_per_inference"] < high
    assert energy["mj_per_inference"] < energy["gross_mj_per_inference"]
    assert energy["windows"] == 5


def test_a_network_that_the_meter_does_not_see_has_no_energy(
    run: CommandLine, artifacts: Artifacts, meter: Callable[[str], str]
) -> None:
    energy, p50 = profiled(run, artifacts, meter("60 - 2 * busy + (n * 7919) % 11"))
    assert (energy["kind"], energy["mj_per_inference"]) == ("unavailable", None)
    reasons = ("below what the meter 'csv' can tell", "something else ran")
    assert any(reason in energy["reason"] for reason in reasons)
    assert p50


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("float('nan')", "which cannot be"),
        ("-3", "which cannot be"),
        ("1e9", "which cannot be"),
        ("0", "stuck at zero"),
        ("'lots'", "expected rows 'timestamp,watts'"),
    ],
)
def test_a_lying_meter_leaves_the_latency(
    run: CommandLine, artifacts: Artifacts, meter: Callable[[str], str], lie: str, reason: str
) -> None:
    energy, p50 = profiled(run, artifacts, meter(f"5 if seen < 5 else {lie}"))
    assert energy["kind"] == "unavailable"
    assert energy["mj_per_inference"] is None
    assert "csv" in str(energy["reason"])
    assert reason in str(energy["reason"])
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
