"""Exports that cannot be done, and files that fail their gate."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine, Result
from small_artifacts import Artifacts

import edgekit
from edgekit import registry

SMALL = "mobilenetv1@0.25"
Module = Callable[[str], str]

# A network that converts in a second, with a layer to be found on either side of a fault.
NETWORK = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, 2)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(8, 16, 3, 2)
        self.scores = nn.Linear(16, 4)

    def forward(self, x):
        x = self.relu(self.first(x))
        FAULT
        x = F.relu(self.second(x)).mean((2, 3))
        return self.scores(x)
"""


def _network(fault: str = "") -> str:
    return NETWORK.replace("FAULT", fault or "x = x + 0")


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ["mobilnetv3", "-t", "onnx"],
            ["unknown model 'mobilnetv3'", "mobilenetv3", "list models"],
        ),
        (["mobilenetv3-smal", "-t", "onnx"], ["did you mean mobilenetv3-small"]),
        (["resnet50", "-t", "onnx"], ["unknown model 'resnet50'", "edgekit list models"]),
        (["", "-t", "onnx"], ["unknown model ''", "edgekit list models"]),
        ([SMALL, "-t", "onx"], ["unknown target 'onx'", "did you mean onnx", "list targets"]),
        ([SMALL, "-t", "onnx,tflight"], ["unknown target 'tflight'", "did you mean tflite"]),
        ([SMALL, "-t", "coreml"], ["unknown target 'coreml'", "edgekit list targets"]),
        ([SMALL, "-t", ","], ["--target and --precision need a name each"]),
        ([SMALL, "-t", "onnx", "-p", "fp61"], ["unknown precision 'fp61'", "did you mean fp16"]),
        ([SMALL, "-t", "onnx", "-p", "float"], ["unknown precision 'float'", "list precisions"]),
        (["mobilenetv1@0", "-t", "onnx"], ["width multiplier '0'", "0.05 to 20"]),
        (["mobilenetv1@-1", "-t", "onnx"], ["width multiplier '-1'"]),
        (["mobilenetv1@nan", "-t", "onnx"], ["width multiplier 'nan'"]),
        (["mobilenetv1@1e9", "-t", "onnx"], ["width multiplier '1e9'"]),
        (["mobilenetv1@wide", "-t", "onnx"], ["width multiplier 'wide'"]),
        (["mobilenetv1@", "-t", "onnx"], ["width multiplier ''"]),
    ],
    ids=lambda value: " ".join(value) if "-t" in value else "",
)
def test_unknown_names_suggest_the_nearest(
    arguments: list[str], named: list[str], run: CommandLine, tmp_path: Path
) -> None:
    result = run("export", *arguments, "-o", "out")
    assert (result.code, result.out) == (2, "")
    for text in named:
        assert text in result.message
    assert _files(tmp_path) == []


def test_names_are_found_however_they_are_written(run: CommandLine) -> None:
    names = ["mobilenetv3", "MobileNetV3-Large", "mobilenet_v3_large", "MOBILENET.V3.LARGE"]
    found = {run("describe", name, "--json").json["name"] for name in names}
    assert found == {"mobilenetv3-large"}


@pytest.mark.parametrize("resolution", [0, -1, -224, 1, 31, 4097, 10**9, 10**30])
@pytest.mark.parametrize("command", ["export", "describe", "train", "evaluate", "checkpoint"])
def test_a_resolution_out_of_range_is_refused(
    command: str, resolution: int, run: CommandLine, trained_run: Path, tmp_path: Path
) -> None:
    start: dict[str, list[object]] = {
        "export": ["export", SMALL, "-t", "onnx"],
        "describe": ["describe", SMALL],
        "train": ["train", SMALL, "--epochs", 1],
        "evaluate": ["evaluate", SMALL, "--data", "digits"],
        "checkpoint": ["export", trained_run, "-t", "onnx"],
    }
    result = run(*start[command], "--resolution", resolution)
    assert (result.code, result.out) == (2, "")
    assert f"resolution {resolution}" in result.message
    assert "expected" in result.message
    assert _files(tmp_path) == []


@pytest.mark.parametrize("resolution", [0, -1, 10**9])
def test_a_resolution_out_of_range_is_refused_for_a_callable(
    resolution: int, run: CommandLine, module: Module
) -> None:
    name = module(_network())
    result = run("export", f"{name}:Net", "-t", "onnx", "--resolution", resolution)
    assert result.code == 2
    assert f"resolution {resolution}" in result.message


def test_a_resolution_that_is_no_number_is_refused(run: CommandLine) -> None:
    result = run("export", SMALL, "-t", "onnx", "--resolution", "32.5")
    assert result.code == 2
    assert "--resolution" in result.message


BAD_CALLABLES = {
    "missing module": ("no_such_module:net", "", "no module named 'no_such_module'"),
    "missing attribute": ("{}:nothing", "", "no attribute 'nothing'"),
    "no attribute given": ("{}:", "", "expected package.module:callable"),
    "no module given": (":net", "", "expected package.module:callable"),
    "syntax error": ("{}:net", "def net(:\n", "SyntaxError"),
    "missing import": (
        "{}:net",
        "import no_such_thing\n",
        "imports 'no_such_thing', which is not installed",
    ),
    "raises": ("{}:net", "def net():\n    raise ValueError('too hot')\n", "ValueError: too hot"),
    "raises mutely": ("{}:net", "def net():\n    raise ValueError\n", "ValueError"),
    "exits": ("{}:net", "import sys\nsys.exit(0)\n", "SystemExit"),
    "wants arguments": (
        "{}:net",
        "def net(size):\n    return nn.Identity()\n",
        "needs arguments (size)",
    ),
    "gives a number": ("{}:net", "def net():\n    return 3\n", "gives a int"),
    "is a number": ("{}:net", "net = 3\n", "is a int: expected a torch.nn.Module"),
    "gives a class": ("{}:net", "def net():\n    return nn.ReLU\n", "expected a torch.nn.Module"),
    "gives images": ("{}:net", "net = nn.Identity()\n", "gives (1, 3, 32, 32): expected one"),
    "gives a vector": ("{}:net", "net = nn.Flatten(0)\n", "gives (3072,): expected one tensor"),
    "gives a tuple": (
        "{}:Net",
        "class Net(nn.Module):\n    def forward(self, x):\n        return x, x\n",
        "gives tuple: expected one tensor",
    ),
    "fails": ("{}:net", "net = nn.Conv2d(4, 4, 1)\n", "cannot take an input of shape (1, 3, 32"),
    "fails mutely": (
        "{}:Net",
        "class Net(nn.Module):\n    def forward(self, x):\n        raise ValueError\n",
        "cannot take an input of shape (1, 3, 32, 32)",
    ),
    "one class": (
        "{}:net",
        "net = nn.Sequential(nn.Flatten(1), nn.Linear(3072, 1))\n",
        "",
    ),
}


@pytest.mark.parametrize("kind", BAD_CALLABLES)
def test_a_callable_that_gives_no_network_is_refused(
    kind: str, run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words, text, expected = BAD_CALLABLES[kind]
    words = words.format(module(text))
    before = set(_files(tmp_path))
    result = run("export", words, "-t", "onnx", "--resolution", "32", "-o", "out")
    if kind == "one class":
        # A single output has no arg max to agree on, but its value can be compared.
        assert result.code in (0, 3)
        return
    assert (result.code, result.out) == (3, "")
    assert words in result.message
    assert expected in result.message
    assert {f for f in _files(tmp_path) if "__pycache__" not in f} == before


def test_what_a_network_prints_is_no_part_of_the_result(run: CommandLine, module: Module) -> None:
    name = module("print('importing')\n" + _network("print('running')"))
    result = run("export", f"{name}:Net", "-t", "onnx", "--resolution", "32", "--json")
    assert result.code == 0
    assert result.json["schema"] == "edgekit.export/1"
    assert run("describe", f"{name}:Net", "--resolution", "32", "--json").json["params"] == 1460


CONSTANT = {
    "zero weights": "nn.init.zeros_(net.scores.weight)",
    "tiny spread": "net.scores.weight.data.mul_(1e-12)",
    "dead layer": "nn.init.constant_(net.second.bias, -1e6)",
}


@pytest.mark.parametrize("kind", CONSTANT)
def test_a_network_whose_outputs_are_constant_is_refused(
    kind: str, run: CommandLine, module: Module, tmp_path: Path
) -> None:
    text = _network() + f"\ndef net():\n    net = Net()\n    {CONSTANT[kind]}\n    return net\n"
    result = run("export", f"{module(text)}:net", "-t", "onnx", "--resolution", "32", "-o", "out")
    assert (result.code, result.out) == (3, "")
    assert "(nearly) the same scores for all 128 images" in result.message
    assert "nothing can be verified" in result.message
    assert not list((tmp_path / "out").glob("*"))


def test_a_network_whose_outputs_are_not_finite_is_refused(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    name = module(_network("x = x / 0"))
    result = run("export", f"{name}:Net", "-t", "onnx", "--resolution", "32", "-o", "out")
    assert (result.code, result.out) == (3, "")
    assert "scores that are not finite" in result.message
    assert not list((tmp_path / "out").glob("*"))


def test_a_network_that_cannot_be_converted_says_why_in_one_sentence(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(_network('x = x if float(x.sum()) > 0 else -x'))}:Net"
    arguments = ("export", words, "-t", "onnx", "--resolution", "32", "-o", "out")
    result = run(*arguments, "--json")
    assert result.code == 3
    assert f"'{words}' cannot be converted to onnx: " in result.message
    assert len(result.message.splitlines()) == 1
    assert len(result.message) < 500
    assert "\x1b" not in result.json["error"]["message"]
    # The reason, and not the beginning of the converter's advice.
    assert "data-dependent" in result.message
    assert not list((tmp_path / "out").glob("*"))
    assert "Traceback" in run(*arguments, "-v").err


FAULTS = {
    "onnx": "x = x * 1.5 if torch.compiler.is_exporting() else x",
    "tflite": "x = x * 1.5 if torch.compiler.is_exporting() else x",
    "openvino": "x = x * 1.5 if torch.jit.is_tracing() else x",
}


@pytest.fixture(params=FAULTS)
def rejected(
    request: pytest.FixtureRequest, run: CommandLine, module: Module, tmp_path: Path
) -> tuple[str, Result, Path]:
    """An export whose file computes something else than the network."""
    words = f"{module(_network(FAULTS[request.param]))}:Net"
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
    assert set(_files(folder)) == names
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


def test_a_rejected_export_leaves_an_earlier_good_file_alone(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    options = ("-t", "onnx", "--resolution", 32, "-o", "out")
    assert run("export", f"{module(_network())}:Net", *options).code == 0
    before = {name: (tmp_path / "out" / name).read_bytes() for name in _files(tmp_path / "out")}
    bad = f"{module(_network(FAULTS['onnx']))}:Net"
    assert run("export", bad, *options, "--overwrite").code == 4
    for name, content in before.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert set(_files(tmp_path / "out")) > set(before)


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
    def open(self, path, threads=None):
        return Runner(super().open(path, threads))

class Opening(OpenVinoTarget):
    def open(self, path, threads=None):
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
        words = f"{module(FAULTY)}:{kind}"
        monkeypatch.syspath_prepend(tmp_path)
        name, attribute = words.split(":")
        target = getattr(importlib.import_module(name), attribute)()
        target.name, target.suffix = kind.lower(), f".{kind.lower()}.xml"
        monkeypatch.setattr(importlib.import_module(name), kind, target)
        monkeypatch.setitem(registry.TARGETS, kind.lower(), registry.Entry(words, "faulty"))
        return kind.lower()

    return register


def test_a_file_that_fails_in_its_runtime_is_named_and_the_others_are_made(
    faulty: Callable[[str], str], run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words, target = f"{module(_network())}:Net", faulty("Running")
    arguments = ("export", words, "-t", f"{target},openvino", "--resolution", 32, "-o", "out")
    result = run(*arguments, "--json")
    assert result.code == 3
    path = "out/Net-fp32.running.xml"
    message = f"{path} cannot be run by OpenVINO: kernel fault (-v shows all)"
    assert result.message == f"{path} (running, fp32): {message}"
    document = result.json
    assert document["schema"] == "edgekit.export/1"
    assert [entry["target"] for entry in document["artifacts"]] == ["openvino"]
    assert document["failed"] == [
        {
            "path": path,
            "target": "running",
            "precision": "fp32",
            "type": "ModelError",
            "message": message,
        }
    ]
    assert document["error"] == {"type": "ModelError", "message": result.message, "exit_code": 3}
    assert set(_files(tmp_path / "out")) == {
        "Net-fp32.xml", "Net-fp32.bin", "Net-fp32.xml.json"
    }  # fmt: skip
    text = run(*arguments, "--overwrite")
    assert text.code == 3
    assert "Verified in their runtimes" in text.out


def test_every_file_that_failed_is_named_with_its_own_reason(
    faulty: Callable[[str], str], run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(_network())}:Net"
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
    assert [entry["type"] for entry in result.json["failed"]] == 2 * ["ModelError"] + 2 * [
        "InputError"
    ]
    assert not (tmp_path / "out").exists()


def test_a_diagnosis_that_fails_does_not_lose_the_rejected_file(
    faulty: Callable[[str], str], run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words, target = f"{module(_network(FAULTS['openvino']))}:Net", faulty("Inspecting")
    arguments = ("export", words, "-t", target, "--resolution", 32, "-o", "out")
    result = run(*arguments, "--json")
    assert result.code == 4
    assert "the first diverging layer cannot be looked for: no tensors today" in result.message
    report = json.loads((tmp_path / "out/Net-fp32.inspecting.xml.rejected.json").read_text())
    assert (report["divergence"], report["undiagnosed"]) == (None, "no tensors today")
    (entry,) = result.json["rejected"]
    assert (entry["divergence"], entry["undiagnosed"]) == (None, "no tensors today")
    assert "Net-fp32.inspecting.xml.rejected" in _files(tmp_path / "out")


def test_files_that_were_rejected_are_not_called_verified(run: CommandLine, module: Module) -> None:
    words = f"{module(_network(FAULTS['openvino']))}:Net"
    result = run("export", words, "-t", "openvino", "--resolution", 32)
    assert result.code == 4
    assert "Compared in their runtimes against PyTorch on 128 images (noise)" in result.out
    assert "Verified" not in result.out


def test_a_folder_in_the_place_of_a_rejected_file_stops_the_export_at_once(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    (tmp_path / "out" / "Net-fp32.bin.rejected").mkdir(parents=True)
    words = f"{module(_network())}:Net"
    result = run("export", words, "-t", "openvino", "--resolution", 32, "-o", "out")
    assert (result.code, result.out) == (3, "")
    assert "out/Net-fp32.bin.rejected is a folder" in result.message


@pytest.mark.parametrize("kind", ["failed", "interrupted", "refused"])
def test_a_folder_that_an_export_made_and_put_nothing_into_is_removed(
    kind: str, faulty: Callable[[str], str], run: CommandLine, module: Module, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    words, target = f"{module(_network())}:Net", "openvino"
    if kind == "refused":
        words = f"{module(_network('x = x / 0'))}:Net"
    else:
        target = faulty({"failed": "Opening", "interrupted": "Crashing"}[kind])
    arguments = ("export", words, "-t", target, "--resolution", 32)
    for folder in ("mine", "mine/new/deep"):
        assert run(*arguments, "-o", folder).code == (130 if kind == "interrupted" else 3)
        assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize(
    ("package", "target"),
    [("onnxruntime", "onnx"), ("ai_edge_litert", "tflite"), ("openvino", "openvino")],
)
def test_a_missing_runtime_is_named_with_the_line_that_installs_it(
    package: str,
    target: str,
    artifacts: Artifacts,
    run: CommandLine,
    png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = artifacts[target, "fp32"]
    monkeypatch.setitem(sys.modules, package, None)
    for name in list(sys.modules):
        if name.startswith(f"{package}."):
            monkeypatch.delitem(sys.modules, name)
    result = run("predict", path, png())
    assert (result.code, result.out) == (5, "")
    assert f"target {target} needs the package '{package}" in result.message
    assert "pip install" in result.message


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("litert_torch", ["export", SMALL, "-t", "tflite", "--resolution", "32", "-o", "out"]),
        ("sklearn", ["evaluate", SMALL, "--data", "digits"]),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    package: str, arguments: list[str], cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules['{package}'] = None\n", encoding="utf-8"
    )
    paths = [str(tmp_path), str(Path(edgekit.__file__).parents[1])]
    result = cli(*arguments, "--json", env={"PYTHONPATH": os.pathsep.join(paths)})
    assert result.code == 5
    assert f"'{package}" in result.message
    assert "pip install" in result.message
    assert result.json["error"]["type"] == "UnavailableError"
    assert not list((tmp_path / "out").glob("*"))


def test_an_untrained_network_is_exported_with_a_warning(run: CommandLine, tmp_path: Path) -> None:
    result = run("export", SMALL, "-t", "onnx", "--resolution", "32")
    assert result.code == 0
    warnings = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert f"'{SMALL}' is untrained" in warnings[0]
    assert f"{SMALL}-fp32.onnx" in result.out
    assert json.loads((tmp_path / f"{SMALL}-fp32.onnx.json").read_text())["trained"] is False
