"""``edgekit profile``, with real runtimes and real trouble."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

from edgekit.agent.presence import Presence, shared_folder
from edgekit.measure.process import Process
from edgekit.measure.store import load_saved


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


def test_a_profile_has_the_fixed_keys(run: CommandLine, artifacts: Artifacts) -> None:
    paths = [str(artifacts[target, "fp32"]) for target in ("tflite", "onnx", "openvino")]
    found = run("profile", *paths, "--seconds", 1, "--json")
    assert found.code == 0, found.err
    assert found.json["schema"] == "edgekit.profile/1"
    entries = found.json["measurements"]
    assert [entry["artifact"] for entry in entries] == paths
    for entry, target in zip(entries, ("tflite", "onnx", "openvino"), strict=True):
        latency = entry["latency_ms"]
        assert 0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"]
        assert latency["ci95"][0] <= latency["p50"] <= latency["ci95"][1]
        assert latency["n"] > 20
        assert latency["mean"] > 0
        assert (entry["target"], entry["device"], entry["threads"]) == (target, "host", 1)
        assert entry["runtime"]
        assert entry["load_ms"] > 0
        assert entry["first_ms"] > 0
        assert entry["peak_rss_mib"] >= 0
        assert set(entry["energy"]) >= {"kind", "meter", "scope", "mj_per_inference", "ci95"}
        assert isinstance(entry["stable"], bool)
        assert entry["stable"] == (entry["reasons"] == [])
        assert entry["environment"]["cores"] == os.cpu_count()


def test_tables_fit_80_columns(run: CommandLine, artifacts: Artifacts) -> None:
    path = artifacts["tflite", "fp32"]
    found = run("profile", path, "--seconds", 1, "--per-op")
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert all(len(line) <= 80 for line in lines if str(path) not in line), found.out
    assert "p50 ms" in found.out
    assert "operators" in found.out
    assert "energy: " in found.out


def test_threads_and_modes_are_measured_each(run: CommandLine) -> None:
    found = run(
        "profile", "mobilenetv1@0.25", "--resolution", 32, "--threads", "1,2",
        "--seconds", 1, "--json",
    )  # fmt: skip
    assert found.code == 0, found.err
    assert [entry["threads"] for entry in found.json["measurements"]] == [1, 2]
    assert all("PyTorch" in entry["runtime"] for entry in found.json["measurements"])


def test_a_batch_counts_all_its_images(run: CommandLine, artifacts: Artifacts) -> None:
    found = run("profile", artifacts["onnx", "fp32"], "--batch", 4, "--seconds", 1, "--json")
    (entry,) = found.json["measurements"]
    assert entry["batch"] == 4
    assert entry["environment"]["input"] == "4x3x32x32 float32"
    assert entry["images_per_s"] == pytest.approx(4000 / entry["latency_ms"]["p50"])
    assert entry["reference_ms"] > 0


@pytest.mark.parametrize("threads", ["0", "10000", "-1", "two", ""])
def test_impossible_threads(run: CommandLine, artifacts: Artifacts, threads: str) -> None:
    found = run("profile", artifacts["onnx", "fp32"], "--threads", threads)
    assert found.code == 2
    assert f"1 to {os.cpu_count()}" in found.message


def test_a_missing_file(run: CommandLine) -> None:
    found = run("profile", "gone.onnx")
    assert found.code == 3
    assert "gone.onnx does not exist" in found.message


def test_an_edited_artifact(
    run: CommandLine, artifacts: Artifacts, copied: Callable[[Path], Path]
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    path.write_bytes(path.read_bytes() + b"\0")
    found = run("profile", path)
    assert found.code == 3
    assert "not the exported file any more" in found.message


def test_a_file_from_elsewhere_needs_no_contract(
    run: CommandLine, artifacts: Artifacts, tmp_path: Path
) -> None:
    shutil.copy(artifacts["tflite", "fp32"], tmp_path / "theirs.tflite")
    found = run("profile", "theirs.tflite", "--seconds", 1, "--json")
    assert found.code == 0, found.err


def test_a_file_that_the_runtime_cannot_load(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    found = run("profile", "bad.onnx")
    assert found.code == 3
    assert "bad.onnx is no ONNX file" in found.message


def test_a_file_with_options_of_networks(run: CommandLine, artifacts: Artifacts) -> None:
    found = run("profile", artifacts["onnx", "fp32"], "--processor", "cuda")
    assert found.code == 2
    assert "goes with networks only" in found.message or "go with networks only" in found.message


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("network", "code", "words"),
    [
        ("crashes", 5, "crashed at 'block' (SIGSEGV)"),
        ("killed_for_memory", 5, "SIGKILL, perhaps for want of memory"),
        ("greedy", 3, "memory"),
    ],
)
def test_what_breaks_leaves_the_others_measured(
    run: CommandLine, artifacts: Artifacts, network: str, code: int, words: str
) -> None:
    good = str(artifacts["tflite", "fp32"])
    found = run("profile", f"odd_networks:{network}", good, "--seconds", 1, "--json")
    assert found.code == code
    assert words in found.message
    assert good in [entry["artifact"] for entry in found.json["measurements"]]
    (failed,) = found.json["failed"]
    assert failed["artifact"] == f"odd_networks:{network}"


def test_a_runtime_that_is_missing(
    cli: CommandLine, artifacts: Artifacts, tmp_path: Path, package_env: dict[str, str]
) -> None:
    blocked = tmp_path / "blocked" / "onnxruntime"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')\n"
    )
    path = os.pathsep.join([str(blocked.parent), package_env["PYTHONPATH"]])
    found = cli("profile", artifacts["onnx", "fp32"], env={"PYTHONPATH": path})
    assert found.code == 5
    assert "pip install onnxruntime" in found.message


@pytest.mark.usefixtures("odd")
def test_what_hangs_is_ended(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = Process.open

    def opened(self: Process, *arguments: Any) -> dict[str, Any]:
        found = begun(self, *arguments)  # which may take its time on a busy machine
        self._limit_s = 2
        return found

    monkeypatch.setattr(Process, "open", opened)
    found = run("profile", "odd_networks:hangs", "--seconds", 1, "--time-limit", 60)
    assert found.code == 5
    assert "--time-limit" in found.message


@pytest.mark.usefixtures("odd")
def test_an_artifact_that_is_removed_while_it_is_measured(
    run: CommandLine, artifacts: Artifacts, copied: Callable[[Path], Path]
) -> None:
    path = copied(artifacts["tflite", "fp32"])
    network = "odd_networks:removes_the_artifact"
    found = run("profile", path.name, network, "--seconds", 3, "--json")
    assert found.code == 3
    assert path.name in found.message
    entries = {entry["artifact"]: entry for entry in found.json["measurements"]}
    assert any("ended early" in reason for reason in entries[path.name]["reasons"])
    assert network in entries


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """Another measurement, as far as the machine can tell."""
    with closing(Presence(shared_folder())) as presence:
        assert presence.why_not is None
        yield


@pytest.mark.usefixtures("elsewhere")
def test_two_profiles_at_once_say_so(run: CommandLine, artifacts: Artifacts) -> None:
    found = run("profile", artifacts["tflite", "fp32"], "--seconds", 1)
    assert found.code == 0, found.err
    assert "another measurement ran on this machine" in found.out


def test_another_device_is_not_measured_silently(run: CommandLine, artifacts: Artifacts) -> None:
    path = artifacts["tflite", "fp32"]
    assert run("profile", path, "--device", "raspberry-pi-5").code == 5
    assert run("profile", path, "--device", "nonesuch").code == 2


@pytest.mark.parametrize("time", ["never", "3s", "25h", "-1m"])
def test_times_that_cannot_be_sustained(run: CommandLine, time: str) -> None:
    found = run("profile", "mobilenetv1", "--sustain", time)
    assert found.code == 2
    assert "from 10s to 24h" in found.message


@pytest.mark.usefixtures("odd")
def test_sustained_speed_is_told_and_drawn(run: CommandLine, tmp_path: Path) -> None:
    found = run("profile", "odd_networks:quick", "--sustain", "10s", "-o", "s.json", "--json")
    assert found.code == 0, found.err
    lasting = found.json["sustained"]
    assert lasting["first_s"] == lasting["last_s"] == pytest.approx(2, abs=0.2)
    assert lasting["first_ms"] > 0
    assert lasting["change"] == pytest.approx(lasting["last_ms"] / lasting["first_ms"] - 1)
    assert (tmp_path / "s.sustained.png").read_bytes().startswith(b"\x89PNG")
    assert len(load_saved(tmp_path / "s.json")) == 1
    assert not list(tmp_path.glob(".edgekit-*"))


@pytest.mark.parametrize("option", [["--seconds", 10], ["--precision-goal", 2]])
def test_sustaining_leaves_no_time_to_choose(run: CommandLine, option: list[object]) -> None:
    found = run("profile", "mobilenetv1", "--sustain", "1m", *option)
    assert found.code == 2
    assert f"{option[0]} does not go with --sustain" in found.message


def test_sustaining_takes_one(run: CommandLine) -> None:
    found = run("profile", "mobilenetv1", "mobilenetv2", "--sustain", "1m")
    assert found.code == 2
    assert "takes one to measure, found 2" in found.message


def test_operators_of_files_have_a_sum_and_networks_none(
    run: CommandLine, artifacts: Artifacts
) -> None:
    network = ("mobilenetv1@0.25", "--resolution", 32)
    refused = run("profile", *network, "--per-op")
    assert refused.code == 2
    assert "--per-op takes exported files" in refused.message
    path = artifacts["onnx", "fp32"]
    found = run("profile", path, network[0], "--per-op", "--seconds", 1, "--json")
    assert found.code == 0, found.err
    assert "warning: 'mobilenetv1@0.25' runs in PyTorch: --per-op leaves it out" in found.err
    of_file, of_network = found.json["measurements"]
    total = sum(operator["ms"] for operator in of_file["operators"])
    assert of_file["operators_ms"] == pytest.approx(total)
    share = total / of_file["latency_ms"]["p50"]
    assert of_file["operators_share"] == pytest.approx(share)
    assert (of_file["operators_reason"] is None) == (0.9 <= share <= 1.1)
    for key in ("operators", "operators_ms", "operators_share", "operators_reason"):
        assert of_network[key] is None
