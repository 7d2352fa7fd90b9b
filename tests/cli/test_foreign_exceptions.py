"""Whatever networks, runtimes and quantizers raise, in whatever command: exit code 3, one line with
the cause, and the file or layer that it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from raising import RAISED, breaks_in_agents, raising, told
from small_networks import network

from edgekit import registry
from edgekit.core import reason
from edgekit.quantize import ladder, training

TARGETS = ("onnx", "openvino", "tflite")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The network in the format of each target."""
    from edgekit.conversion import export

    folder = tmp_path_factory.mktemp("files")
    text = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n" + network()
    (folder / "whole_network.py").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        from edgekit.models.source import open_model

        opened = open_model("whole_network:Net", resolution=16)
        yield {r.artifact.target: r.path for r in export(opened, TARGETS, ["fp32"], out=folder)}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seam", ["open", "run"])
@pytest.mark.parametrize("command", ["verify", "evaluate", "predict"])
def test_runtimes_that_raise(
    command: str,
    seam: str,
    target: str,
    run: CommandLine,
    files: dict[str, Path],
    png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    image_folder: Callable[..., Path],
    tmp_path: Path,
) -> None:
    path = files[target]
    image_folder("images", *"abcd", count=2)
    line = {
        "verify": [path, "--against", "whole_network:Net"],
        "evaluate": [path, "--data", "images"],
        "predict": [path, png()],
    }[command]
    for kind in RAISED if command == "predict" else ("lines" if seam == "open" else "panic",):
        with monkeypatch.context() as patch:
            breaks_in_agents(patch, tmp_path, target, seam, kind)
            told(run(command, *line), RAISED[kind], str(path), "cannot be run by")


@pytest.mark.parametrize(
    ("command", "target", "seam", "kind"),
    [
        ("profile", "onnx", "open", "lines"),
        ("profile", "openvino", "prepare", "exit"),
        ("compare", "tflite", "open", "key"),
    ],
)
def test_runtimes_that_raise_while_they_are_measured(
    command: str,
    target: str,
    seam: str,
    kind: str,
    run: CommandLine,
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks_in_agents(monkeypatch, tmp_path, target, seam, kind)
    path = files[target]
    result = run(command, *([path] if command == "profile" else [path, path]))
    told(result, RAISED[kind], str(path))


@pytest.mark.parametrize("target", TARGETS)
def test_parsers_of_contracts_that_raise(
    target: str, run: CommandLine, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files[target]
    for error in RAISED.values():
        monkeypatch.setattr(type(registry.target(target)), "extract", raising(error))
        for line in (["describe", path], ["describe", path, "--compare", path]):
            told(run(*line, "--embedded"), error, f"{path} is damaged: it is no complete {target}")


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        *(("predict", kind) for kind in RAISED),
        *(("verify", "panic"), ("profile", "lines"), ("compare", "exit")),
    ],
)
def test_runtimes_whose_import_raises(
    command: str,
    kind: str,
    run: CommandLine,
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    png: Callable[..., Path],
) -> None:
    """No file is to blame for an installation that does not work."""
    breaks_in_agents(monkeypatch, tmp_path, "onnx", "start", kind)
    more: dict[str, list[object]] = {
        "verify": ["--against", "whole_network:Net"],
        "predict": [png()],
        "compare": [files["onnx"]],
    }
    result = run(command, files["onnx"], *more.get(command, []))
    assert result.code == 5, result.err
    assert f"ONNX Runtime cannot be imported: {reason(RAISED[kind])}" in result.message
    assert "install it again" in result.message


OWN = """
class Backward(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()
    @staticmethod
    def backward(context, gradient):
        if BACKWARD:
            raise RAISED
        return gradient

class Fails(nn.Module):
    def forward(self, x):
        steps = x.shape[0] > 2 and self.training and torch.is_grad_enabled()
        if FORWARD:
            raise RAISED
        return Backward.apply(x) if torch.is_grad_enabled() else x

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8)
        self.norm.running_mean += 0.1  # it is trained, by its looks
        self.inner, self.scores = Fails(), nn.Linear(8, 4)

    def forward(self, x):
        return self.scores(self.inner(self.norm(self.first(x))).relu().mean((2, 3)))
"""
ERRORS = {
    "key": "KeyError(0)",
    "exit": "SystemExit(3)",
    "empty": "ValueError()",
    "panic": "BaseException('index out of bounds')",
}
LAYER = "layer 'inner', Fails"


def own(module: Callable[[str], str], error: str, forward: str, backward: str = "False") -> str:
    text = OWN.replace("FORWARD", forward).replace("BACKWARD", backward)
    return f"{module(text.replace('RAISED', error))}:Net"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        *(
            (command, error)
            for command in ("verify", "evaluate", "describe", "train", "search")
            for error in ERRORS
        ),
        ("profile", "exit"),
        ("compare", "key"),
    ],
)
def test_networks_that_raise(
    command: str,
    error: str,
    run: CommandLine,
    files: dict[str, Path],
    module: Callable[[str], str],
) -> None:
    words = own(module, ERRORS[error], "x.abs().max() >= 0")
    line = {
        "verify": [files["onnx"], "--against", words],
        "evaluate": [words, "--data", "synthetic", "--resolution", 16],
        "describe": [words, "--resolution", 16],
        "profile": [words, "--resolution", 16],
        "compare": [words, words, "--resolution", 16],
        "train": [words, "--data", "synthetic", "--resolution", 16, "-o", "run"],
        "search": [words, "--data", "synthetic", "--budget", "macs=0.8x", "-o", "s"],
    }[command]
    told(run(command, *line), eval(ERRORS[error]), LAYER)


TRAIN = ("--data", "synthetic", "--resolution", 16, "--epochs", 1, "--threads", 1)
LATE = {
    "at step 1": ("steps and x.shape[0] not in (2, 16)", "False"),
    "at step 1 ": ("False", "gradient.shape[0] > 2"),
    "in the evaluation": ("self.training and not torch.is_grad_enabled()", "False"),
}


@pytest.mark.parametrize("when", LATE)
@pytest.mark.parametrize("error", ERRORS)
def test_networks_that_raise_in_the_middle_of_a_training(
    error: str, when: str, run: CommandLine, module: Callable[[str], str], tmp_path: Path
) -> None:
    words = own(module, ERRORS[error], *LATE[when])
    result = run("train", words, *TRAIN, "--batch-size", 32, "-o", "run")
    layer = LAYER if "gradient" not in LATE[when][1] else ""
    told(result, eval(ERRORS[error]), f"'{words}' fails {when.strip()}", layer)
    assert not list(tmp_path.rglob(".*"))


QUANTIZERS = {
    "nncf": ("openvino", "int8", "nncf.quantize"),
    "ranges of nncf": ("openvino", "int8", "nncf.Dataset"),
    "onnxruntime.quantization": ("onnx", "int8", "onnxruntime.quantization.quantize_static"),
    "onnxruntime.quantization, dynamic": (
        "onnx", "int8-dynamic", "onnxruntime.quantization.quantize_dynamic",
    ),
    "ai-edge-quantizer": ("tflite", "int8", "ai_edge_quantizer.quantizer.Quantizer.quantize"),
    "its calibration": ("tflite", "int8", "ai_edge_quantizer.quantizer.Quantizer.calibrate"),
    "edgekit's for ONNX": ("onnx", "int8", "exporters.onnx.quantize"),
    "edgekit's for OpenVINO": ("openvino", "int8", "exporters.openvino.quantize"),
    "edgekit's for TFLite": ("tflite", "int8", "exporters.tflite.target.quantize"),
}  # fmt: skip


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_quantizers_that_raise(
    quantizer: str, run: CommandLine, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, precision, function = QUANTIZERS[quantizer]
    options = ("-p", precision, "--calibration", "synthetic", "--calibration-images", 16)
    for error in RAISED.values():
        monkeypatch.setattr(function, raising(error))
        line = ("whole_network:Net", "--resolution", 16, "-t", target, *options)
        told(run("export", *line), error, f"({target}, {precision})")
    assert not list(Path().glob("*.onnx*"))


QAT = {
    "at step 1": ("torch.is_grad_enabled() and x.requires_grad and x.shape[0] > 2", "False"),
    "at step 1 ": ("False", "True"),
    "on the inputs of the calibration": ("False", "False"),
}


@pytest.mark.parametrize(("error", "when"), zip(("key", "panic", "exit"), QAT, strict=True))
def test_a_network_that_raises_while_it_is_trained_for_integers(
    error: str,
    when: str,
    run: CommandLine,
    module: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No other file is good enough here, so that it comes to the training, the last rung."""
    monkeypatch.setattr(ladder.HeldOut, "score", lambda *_: 0.0)
    monkeypatch.setattr(ladder, "_latency_ms", lambda *_: None)
    monkeypatch.setattr(ladder, "FLOAT_LAYERS", ())
    raised = eval(ERRORS[error])
    if "calibration" in when:
        monkeypatch.setattr(training._RoundedInput, "__call__", raising(raised))
    words = own(module, ERRORS[error], *QAT[when])
    more = ("-t", "onnx", "-p", "int8", "--max-drop", 0.01, "--qat-epochs", 1)
    line = ("--resolution", 16, "--data", "synthetic", "--calibration", "synthetic")
    result = run("export", words, *line, *more, "--calibration-images", 16, "--json")
    assert result.code == 4, result.err
    (entry,) = result.json["rejected"]
    last = entry["ladder"][-1]
    assert last["name"] == "quantization-aware training"
    for told_of in (reason(raised), f"'{words}' fails {when.strip()}", "trained for integers"):
        assert told_of in last["error"]


@pytest.mark.parametrize("target", TARGETS)
def test_layers_that_cannot_be_looked_at(
    target: str,
    run: CommandLine,
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in RAISED if target == "onnx" else ("exit",):
        with monkeypatch.context() as patch:
            breaks_in_agents(patch, tmp_path, target, "activations", kind)
            line = (files[target], "--against", "whole_network:Net", "--per-layer")
            told(run("verify", *line), RAISED[kind], str(files[target]))


def test_doctor_picks_the_cause_out(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in RAISED.values():
        monkeypatch.setattr(type(registry.target("onnx")), "export", raising(error))
        result = run("doctor", "--json")
        assert "Traceback" not in result.err
        assert reason(error) in str(result.json)
        assert "a fault of edgekit" not in result.err


def test_what_nobody_expected_is_a_fault_and_a_document(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.models.taking.open_model", raising(RAISED["panic"]))
    for more in ((), ("--json",)):
        result = run("describe", "mobilenetv1@0.25", *more)
        assert result.code == 1
        assert result.message.startswith("a fault of edgekit itself: PanicException: index out of")
        assert not more or result.json["error"]["exit_code"] == 1
