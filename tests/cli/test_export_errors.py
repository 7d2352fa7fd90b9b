"""Exports that cannot be done: wrong names, wrong networks, missing packages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from raising import runs_in_agents
from small_artifacts import Artifacts
from small_networks import files, network

import edgekit

SMALL = "mobilenetv1@0.25"
Module = Callable[[str], str]


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
    assert files(tmp_path) == []


def test_names_are_found_however_they_are_written(run: CommandLine) -> None:
    names = ["mobilenetv3", "MobileNetV3-Large", "mobilenet_v3_large", "MOBILENET.V3.LARGE"]
    found = {run("describe", name, "--json").json["name"] for name in names}
    assert found == {"mobilenetv3-large"}


@pytest.mark.parametrize("resolution", [0, -1, -224, 1, 31, 4097, 10**9, 10**30])
@pytest.mark.parametrize("command", ["export", "describe", "train", "evaluate", "checkpoint"])
def test_a_resolution_out_of_range_is_refused(
    command: str, resolution: int, run: CommandLine, trained_run: Path, tmp_path: Path
) -> None:
    if (command, resolution) == ("checkpoint", 31):
        resolution = 15  # three blocks have a stride of 16
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
    assert files(tmp_path) == []


@pytest.mark.parametrize("resolution", [0, -1, 10**9])
def test_a_resolution_out_of_range_is_refused_for_a_callable(
    resolution: int, run: CommandLine, module: Module
) -> None:
    name = module(network())
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
    "fails": ("{}:net", "net = nn.Conv2d(5, 4, 1)\n", "cannot take an input of shape (1, 3, 32"),
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
    before = set(files(tmp_path))
    result = run(
        "export", words, "-t", "onnx", "--resolution", "32", "-o", "out", "--task", "classify"
    )
    if kind == "one class":
        # A single output has no arg max to agree on, but its value can be compared.
        assert result.code in (0, 3)
        return
    assert (result.code, result.out) == (3, "")
    assert words in result.message
    assert expected in result.message
    assert {f for f in files(tmp_path) if "__pycache__" not in f} == before


def test_what_a_network_prints_is_no_part_of_the_result(run: CommandLine, module: Module) -> None:
    name = module("print('importing')\n" + network("print('running')"))
    result = run("export", f"{name}:Net", "-t", "onnx", "--resolution", "32", "--json")
    assert result.code == 0
    assert result.json["schema"] == "edgekit.export/1"
    assert run("describe", f"{name}:Net", "--resolution", "32", "--json").json["params"] == 1460


CONSTANT = {
    "tiny spread": "net.scores.weight.data.mul_(1e-12)",
    "dead layer": "nn.init.constant_(net.second.bias, -1e6)",
}


@pytest.mark.parametrize("kind", CONSTANT)
def test_a_network_whose_outputs_are_constant_is_refused(
    kind: str, run: CommandLine, module: Module, tmp_path: Path
) -> None:
    text = network() + f"\ndef net():\n    net = Net()\n    {CONSTANT[kind]}\n    return net\n"
    result = run("export", f"{module(text)}:net", "-t", "onnx", "--resolution", "32", "-o", "out")
    assert (result.code, result.out) == (3, "")
    assert "(nearly) the same scores for all 100 images" in result.message
    assert "nothing can be verified" in result.message
    assert not list((tmp_path / "out").glob("*"))


def test_a_network_whose_outputs_are_not_finite_is_refused(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    name = module(network("x = x / 0"))
    result = run("export", f"{name}:Net", "-t", "onnx", "--resolution", "32", "-o", "out")
    assert (result.code, result.out) == (3, "")
    assert "gives nan for image 0 (noise), output 0: expected finite numbers" in result.message
    assert not list((tmp_path / "out").glob("*"))


def test_a_network_that_cannot_be_converted_says_why_in_one_sentence(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network('x = x if float(x.sum()) > 0 else -x'))}:Net"
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
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = artifacts[target, "fp32"]
    runs_in_agents(monkeypatch, tmp_path, f"import sys\nsys.modules['{package}'] = None\n")
    result = run("predict", path, png())
    assert (result.code, result.out) == (5, "")
    assert f"{path} needs the package '{package}" in result.message
    assert "pip install" in result.message


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        (
            "litert_torch",
            f"export {SMALL} -t tflite --resolution 32 --converter litert-torch -o out".split(),
        ),
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
