"""Files that fail their gate, or fail in their runtime, and what is kept of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine, Result
from small_networks import files, network

from edgekit import plugins, tables

Module = Callable[[str], str]

# What a network does wrong in the eyes of each target's tracer only.
FAULTS = {
    "onnx": "x = x * 1.5 if torch.compiler.is_exporting() else x",
    "tflite": ("x = x * 1.5 if torch.utils._python_dispatch._get_current_dispatch_mode() else x"),
    "openvino": "x = x * 1.5 if torch.jit.is_tracing() else x",
}


@pytest.fixture(params=FAULTS)
def rejected(
    request: pytest.FixtureRequest, run: CommandLine, module: Module, tmp_path: Path
) -> tuple[str, Result, Path]:
    """An export whose file computes something else than the network."""
    words = f"{module(network(FAULTS[request.param]))}:Net"
    result = run("export", words, "-t", request.param, "--resolution", 32, "-o", "out", "--json")
    return request.param, result, tmp_path / "out"


def test_a_file_that_fails_its_gate_is_kept_under_another_name(
    rejected: tuple[str, Result, Path], run: CommandLine, png: Callable[..., Path]
) -> None:
    target, result, folder = rejected
    assert result.code == 4
    suffix = {"onnx": ".onnx", "tflite": ".tflite", "openvino": ".xml"}[target]
    names = {f"Net-fp32{suffix}.rejected", f"Net-fp32{suffix}.rejected.json"}
    if target == "openvino":
        names.add("Net-fp32.bin.rejected")
    assert set(files(folder)) == names
    assert not list(folder.glob(".*"))
    kept = f"out/Net-fp32{suffix}.rejected"
    assert f"{kept} failed verification" in result.message
    assert "dB (expected at least 60 dB)" in result.message
    assert "first diverging layer: second (Conv2d) (after relu)" in result.message
    assert run("predict", kept, png()).code == 3


def test_the_report_of_a_rejected_file_names_the_layer(
    rejected: tuple[str, Result, Path],
) -> None:
    _, result, folder = rejected
    (file,) = folder.glob("*.rejected.json")
    report = json.loads(file.read_text())
    assert report["schema"] == "edgekit.rejected/1"
    assert report["divergence"]["layer"] == "second"
    assert report["divergence"]["last_agreeing"] == "relu"
    assert "60 dB" in report["reason"]
    assert report["artifact"]["agreement"]["passed"] is False
    document = result.json
    assert document["schema"] == "edgekit.export/1"
    assert document["artifacts"] == []
    (entry,) = document["rejected"]
    assert entry["divergence"] == report["divergence"]
    assert Path(entry["path"]).name == file.name.removesuffix(".json")


# By as little as integers miss the network anyway.
SLIGHT = {target: fault.replace("1.5", "1.1") for target, fault in FAULTS.items()}


@pytest.mark.parametrize(("target", "precision"), [
    ("onnx", "int8"), ("onnx", "int8-dynamic"), ("onnx", "w8a16"),
    ("tflite", "int8-mixed"), ("tflite", "int8"), ("openvino", "int8"),
])  # fmt: skip
def test_what_integers_would_hide_is_found_without_them(
    target: str, precision: str, run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network(SLIGHT[target]))}:Net"
    options = ["--resolution", 32, "-o", "out", "--json"]
    if precision != "int8-dynamic":
        options += ["--calibration", "synthetic", "--calibration-images", 16]
    result = run("export", words, "-t", target, "--precision", precision, *options)
    assert result.code == 4
    (entry,) = result.json["rejected"]
    assert "its form in float32, which integers are made from, has " in entry["reason"]
    assert "(expected at least 60 dB)" in entry["reason"]
    assert entry["divergence"]["layer"] == "second"
    assert "keep them in float" not in result.json["error"]
    (file,) = (tmp_path / "out").glob("*.rejected.json")
    report = json.loads(file.read_text())
    assert report["artifact"]["agreement"]["passed"]  # integers alone do not show it
    assert report["reason"] == entry["reason"]
    assert not list((tmp_path / "out").glob(".*"))


def test_a_network_that_computes_something_else_each_time_is_refused(
    run: CommandLine, module: Module
) -> None:
    """A file would hold one of its computations."""
    counts = "self.count = getattr(self, 'count', 0) + 1; x = x + self.count"
    words = f"{module(network(counts))}:Net"
    result = run("export", words, "-t", "openvino", "--resolution", 32, "-o", "out")
    assert result.code == 3
    assert "gives other scores each time for the same images" in result.message
    assert "self.count = getattr" in result.message


def test_a_rejected_export_leaves_an_earlier_good_file_alone(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    options = ("-t", "onnx", "--resolution", 32, "-o", "out")
    assert run("export", f"{module(network())}:Net", *options).code == 0
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    bad = f"{module(network(FAULTS['onnx']))}:Net"
    assert run("export", bad, *options, "--overwrite").code == 4
    for name, content in before.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert set(files(tmp_path / "out")) > set(before)


# Targets of a plug-in that convert as OpenVINO does, and fail later on.
FAULTY = """
from edgekit.errors import InputError
from exporters.openvino import OpenVinoTarget

class Runner:
    def __init__(self, inner):
        self.tensors = inner.tensors

    def run(self, inputs):
        raise RuntimeError("kernel fault\\nin line 7")

class Running(OpenVinoTarget):
    def open(self, path, threads=None, **more):
        return Runner(super().open(path, threads, **more))

class Opening(OpenVinoTarget):
    def open(self, path, threads=None, **more):
        raise InputError(f"{path} cannot be loaded")

class Inspecting(OpenVinoTarget):
    def activations(self, path, inputs):
        raise RuntimeError("no tensors today")

class Crashing(Inspecting):
    def embed(self, path, text):
        raise KeyboardInterrupt
"""


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Module) -> Callable[[str], str]:
    """Registers a target of `FAULTY`; gives its name."""

    def register(kind: str) -> str:
        name = kind.lower()
        made = f"\nTARGET = {kind}()\nTARGET.name, TARGET.suffix = '{name}', '.{name}.xml'\n"
        words = f"{module(FAULTY + made)}:TARGET"
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(tables.TARGETS.built_in, name, plugins.Entry(words, "faulty"))
        return name

    return register


def test_a_file_that_fails_in_its_runtime_is_named_and_the_others_are_made(
    faulty: Callable[[str], str], run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words, target = f"{module(network())}:Net", faulty("Running")
    arguments = ("export", words, "-t", f"{target},openvino", "--resolution", 32, "-o", "out")
    result = run(*arguments, "--json")
    assert result.code == 3
    path = "out/Net-fp32.running.xml"
    message = f"{path} cannot be run by OpenVINO: RuntimeError: kernel fault"
    assert result.message == f"{path} (running, fp32): {message}"
    document = result.json
    assert document["schema"] == "edgekit.export/1"
    assert [entry["target"] for entry in document["artifacts"]] == ["openvino"]
    assert document["failed"] == [
        {
            "path": path,
            "target": "running",
            "precision": "fp32",
            "type": "InputError",
            "message": message,
        }
    ]
    assert document["error"] == {"type": "InputError", "message": result.message, "exit_code": 3}
    assert set(files(tmp_path / "out")) == {
        "Net-fp32.xml", "Net-fp32.bin", "Net-fp32.xml.json"
    }  # fmt: skip
    text = run(*arguments, "--overwrite")
    assert text.code == 3
    assert "Verified in their runtimes" in text.out


def test_every_file_that_failed_is_named_with_its_own_reason(
    faulty: Callable[[str], str], run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network())}:Net"
    targets = f"{faulty('Running')},{faulty('Opening')}"
    options = ("-p", "fp32,fp16", "--resolution", 32, "-o", "out", "--json")
    result = run("export", words, "-t", targets, *options)
    assert result.code == 3
    lines = result.message.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"out/Net-{p}.{t}.xml ({t}, {p})" for t in ("running", "opening") for p in ("fp32", "fp16")
    ]
    # Under the name that the file was to get, not under that of the hidden folder.
    assert lines[2].endswith("out/Net-fp32.opening.xml cannot be loaded")
    assert result.json["artifacts"] == result.json["rejected"] == []
    assert [entry["type"] for entry in result.json["failed"]] == 4 * ["InputError"]
    assert not (tmp_path / "out").exists()


def test_a_diagnosis_that_fails_does_not_lose_the_rejected_file(
    faulty: Callable[[str], str], run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words, target = f"{module(network(FAULTS['openvino']))}:Net", faulty("Inspecting")
    arguments = ("export", words, "-t", target, "--resolution", 32, "-o", "out")
    result = run(*arguments, "--json")
    assert result.code == 4
    why = "out/Net-fp32.inspecting.xml cannot be run by OpenVINO: no tensors today"
    assert f"the first diverging layer cannot be looked for: {why}" in result.message
    report = json.loads((tmp_path / "out/Net-fp32.inspecting.xml.rejected.json").read_text())
    assert (report["divergence"], report["undiagnosed"]) == (None, why)
    (entry,) = result.json["rejected"]
    assert (entry["divergence"], entry["undiagnosed"]) == (None, why)
    assert "Net-fp32.inspecting.xml.rejected" in files(tmp_path / "out")


def test_files_that_were_rejected_are_not_called_verified(run: CommandLine, module: Module) -> None:
    words = f"{module(network(FAULTS['openvino']))}:Net"
    result = run("export", words, "-t", "openvino", "--resolution", 32)
    assert result.code == 4
    assert "Compared in their runtimes against PyTorch on 100 images (noise)" in result.out
    assert "Verified" not in result.out


def test_a_folder_in_the_place_of_a_rejected_file_stops_the_export_at_once(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    (tmp_path / "out" / "Net-fp32.bin.rejected").mkdir(parents=True)
    words = f"{module(network())}:Net"
    result = run("export", words, "-t", "openvino", "--resolution", 32, "-o", "out")
    assert (result.code, result.out) == (3, "")
    assert "out/Net-fp32.bin.rejected is a folder" in result.message


@pytest.mark.parametrize("kind", ["failed", "interrupted", "refused"])
def test_a_folder_that_an_export_made_and_put_nothing_into_is_removed(
    kind: str, faulty: Callable[[str], str], run: CommandLine, module: Module, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    words, target = f"{module(network())}:Net", "openvino"
    if kind == "refused":
        words = f"{module(network('x = x / 0'))}:Net"
    else:
        target = faulty({"failed": "Opening", "interrupted": "Crashing"}[kind])
    arguments = ("export", words, "-t", target, "--resolution", 32)
    for folder in ("mine", "mine/new/deep"):
        assert run(*arguments, "-o", folder).code == (130 if kind == "interrupted" else 3)
        assert list((tmp_path / "mine").iterdir()) == []
