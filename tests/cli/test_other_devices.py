"""Commands with ``--device``: the files run on a device behind SSH."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts
from ssh_server import SshServer

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")


def test_a_device_is_checked_and_what_was_seen_is_kept(run: CommandLine, pi: SshServer) -> None:
    checked = run("devices", "check", "pi")
    assert checked.code == 0, checked.err
    assert "what was seen is kept in" in checked.out
    assert "onnxruntime" in checked.out
    (shown,) = run("devices", "show", "pi", "--json").json["devices"]
    assert shown["cores"]
    assert shown["sources"]["cores"].startswith("seen there on")
    assert shown["threads"] is None
    again = run("devices", "check", "pi", "--json").json
    assert again["kept"] is None
    assert again["python"].startswith("3.")
    assert again["spread"] >= 0


def test_only_a_profile_of_ones_own_is_written(
    run: CommandLine, pi: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work" / "profiles" / "shared"
    folder.mkdir(parents=True)
    text = (tmp_path / "config/edgekit/profiles/pi/device.toml").read_text()
    (folder / "device.toml").write_text(text.replace('"pi"', '"shared"'))
    monkeypatch.chdir(tmp_path / "work")
    checked = run("devices", "check", "shared")
    assert checked.code == 0, checked.err
    assert f"--like shared --transport {pi.address}" in " ".join(checked.out.split())
    assert not (tmp_path / "config/edgekit/profiles/shared").exists()
    assert run("devices", "check", "shared", "--json").json["kept"] is None


def test_files_are_profiled_there_and_on_several_devices(
    run: CommandLine, pi: SshServer, artifacts: Artifacts
) -> None:
    path = artifacts["tflite", "fp32"]
    line = ("profile", path, "--seconds", 1, "--precision-goal", 50, "--energy", "off")
    found = run(*line, "--device", "pi", "--per-op", "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert (entry["device"], entry["artifact"]) == ("pi", str(path))
    assert entry["operators"]
    both = run(*line, "--device", "pi,host")
    assert both.code == 0, both.err
    assert "on pi" in both.out
    assert "on host" in both.out
    assert max(map(len, both.out.splitlines())) <= 80
    gone = run(*line, "--device", "host,ssh://127.0.0.1:1")
    assert gone.code == 5
    assert gone.err.count("takes no SSH connections") == 1
    assert "ms" in gone.out
    history = run("history", "--json").json
    assert "pi" in json.dumps(history)


def test_the_meter_of_a_profile_is_looked_for_by_the_agent_that_measures(
    run: CommandLine, pi: SshServer, artifacts: Artifacts
) -> None:
    words = ("--transport", pi.address, "--python", sys.executable, "--meter", "rapl")
    assert run("devices", "add", "metered", *words).code == 0
    found = run("profile", artifacts["tflite", "fp32"], "--device", "metered", "--seconds", 1)
    assert found.code == 0, found.err
    assert "declares the meter 'rapl', which is not used" in " ".join(found.err.split())
    assert len(pi.commands) == 1


def test_two_files_are_compared_there(
    run: CommandLine, pi: SshServer, artifacts: Artifacts
) -> None:
    pair = [artifacts["tflite", "fp32"], artifacts["tflite", "fp16"]]
    found = run("compare", *pair, "--seconds", 1, "--device", "pi", "--json")
    assert found.code == 0, found.err
    assert {m["device"] for m in found.json["measurements"]} == {"pi"}
    assert found.json["paired"]
    line = ("compare", pair[0], pair[0], "--seconds", 1, "--device", "pi,host")
    apart = run(*line, "--json")
    assert apart.code == 0, apart.err
    assert [m["device"] for m in apart.json["measurements"]] == ["pi", "host"]
    assert not apart.json["paired"]
    assert apart.json["ci95"][0] <= apart.json["ratio"] <= apart.json["ci95"][1]
    assert "unpaired: on two devices" in run(*line).out


def test_files_are_verified_evaluated_and_used_there(
    run: CommandLine,
    pi: SshServer,
    artifacts: Artifacts,
    trained_run: Path,
    png: Callable[..., Path],
) -> None:
    path = artifacts["onnx", "fp32"]
    for line in (
        ["verify", path, "--against", trained_run],
        ["evaluate", path, "--data", "digits"],
        ["predict", path, png("one.png")],
    ):
        here, there = (run(*line, "--json", *more) for more in ((), ("--device", "pi")))
        assert (here.code, there.code) == (0, 0), there.err
        documents = [{**one.json, "device": None} for one in (here, there)]
        assert documents[0] == documents[1]
    assert len(pi.commands) >= 1


def test_networks_and_unknown_devices_are_refused(
    run: CommandLine, pi: SshServer, artifacts: Artifacts
) -> None:
    network = run("profile", "mobilenetv1@0.25", "--device", "pi", "--seconds", 1)
    assert network.code == 5
    assert "runs on this machine only: export it" in network.message
    used = run("evaluate", "mobilenetv1@0.25", "--data", "digits", "--device", "pi")
    assert used.code == 2
    assert "networks run on this machine only" in used.message
    path = artifacts["tflite", "fp32"]
    unknown = run("profile", path, "--device", "pie")
    assert unknown.code == 2
    assert "did you mean pi or" in unknown.message
    three = run("compare", path, path, "--device", "pi,host,pixel-8")
    assert three.code == 2
    assert "expected one device for both, or two" in three.message
    two = run("evaluate", path, "--data", "digits", "--device", "pi,host")
    assert two.code == 2
    assert "expected one device" in two.message
    many = run("profile", path, "--device", "pi", "--threads", 1000)
    assert many.code == 2
    assert "as many as ssh://" in many.message


def test_files_are_written_for_its_processor(
    run: CommandLine, pi: SshServer, module: Callable[[str], str], tmp_path: Path
) -> None:
    from small_networks import network

    name = module("import torch\nfrom torch import nn\n" + network())
    line = ("export", f"{name}:Net", "-t", "onnx", "-p", "int8", "--calibration", "synthetic")
    found = run(*line, "--resolution", 16, "--device", "pi", "--isa", "arm", "--tune")
    assert found.code == 2
    assert "--tune measures on ssh://" in found.message


def test_a_measurement_waits_for_a_device_to_cool_down(
    run: CommandLine, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    line = ("profile", artifacts["tflite", "fp32"], "--seconds", 1, "--energy", "off")
    waited = run(*line, "--cooldown", "0.2s")
    assert waited.code == 0, waited.err
    for wrong in ("45F", "200C", "0s", "2h", "cool"):
        refused = run(*line, "--cooldown", wrong)
        assert refused.code == 2
        assert "expected a time up to an hour" in refused.message
    cool = run(*line, "--cooldown", "99C")
    assert cool.code in (0, 5)  # as this machine tells its temperature or not
    assert cool.code == 0 or "tells no temperature: give a time" in cool.message
