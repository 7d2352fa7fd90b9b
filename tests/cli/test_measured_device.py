"""What a device profile declares counts where the user says nothing: threads and meter."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

from edgekit.agent.kernel import usable_cores


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_threads_and_meter_of_the_device_are_used(
    run: CommandLine, artifacts: Artifacts, tmp_path: Path
) -> None:
    (tmp_path / "watts.csv").write_text("".join(f"{1.7e9 + i / 50},5\n" for i in range(20)))
    options = ("--transport", "local:", "--threads", 64, "--meter", "csv:watts.csv")
    assert run("devices", "add", "desk", *options).code == 0
    line = ("profile", artifacts["tflite", "fp32"], "--device", "desk", "--seconds", 1, "--json")
    found = run(*line)
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert (entry["device"], entry["threads"]) == ("desk", usable_cores())
    assert "meter 'csv'" in entry["energy"]["reason"]  # whose file does not grow

    (tmp_path / "watts.csv").unlink()
    found = run(*line, "--threads", 1)
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert entry["threads"] == 1
    assert "device 'desk' declares the meter 'csv:watts.csv', which is not used" in found.err
    assert "looking for another one" in found.err


def test_a_machine_that_declares_nothing_runs_one_thread(
    run: CommandLine, artifacts: Artifacts
) -> None:
    path = artifacts["tflite", "fp32"]
    found = run("compare", path, path, "--seconds", 1, "--json")
    assert found.code == 0, found.err
    assert {entry["threads"] for entry in found.json["measurements"]} == {1}
