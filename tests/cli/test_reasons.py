"""Whatever other people's code raises becomes one line that says why, and where."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import CommandLine
from raising import RAISED as RAISED_BY_OTHERS
from raising import breaks_in_agents, raising, told
from torch import nn

from edgekit import registry
from edgekit.core import ending, reason, reason_with_layer

UNCONVERTED = """Check 'false' failed at src/frontends/common_translators/report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted. Failed operations detailed log:
-- prim::Constant with a message:
None constant cannot be converted to OpenVINO opset and should be removed by consuming operation.
Summary:
-- No conversion rule found for operations: aten::vdot
-- Conversion is failed for: prim::Constant
"""
NOT_COMPILED = """Exception from src/inference/src/cpp/core.cpp:117:
Exception from src/inference/src/dev/plugin.cpp:54:
Check 'any_of(scale.size(), OC, 1U)' failed at src/plugins/intel_cpu/src/composer.cpp:526


"""
RUNNING = (
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape node. "
    "Name:'x/Reshape' Status Message: /src/onnxruntime/core/reshape_helper.h:45 wrong sizes"
)


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


ERRORS: dict[str, tuple[BaseException, str]] = {
    "operator": (RuntimeError(UNCONVERTED), "No conversion rule found for operations: aten::vdot"),
    "check": (
        RuntimeError(NOT_COMPILED),
        "RuntimeError: 'any_of(scale.size(), OC, 1U)' does not hold",
    ),
    "status": (
        RuntimeError(RUNNING),
        "Non-zero status code returned while running Reshape node. Name:'x/Reshape' Status "
        "Message: wrong sizes",
    ),
    "name": (
        RuntimeError(RUNNING.replace("x/Reshape", "it's\nA' Status Message: \x1b[31mx")),
        "Non-zero status code returned while running Reshape node. Name:'it's\\nA' Status Message: "
        "x' Status Message: wrong sizes",
    ),
    "long name": (
        RuntimeError(RUNNING.replace("x/Reshape", "x" * 9000)),
        f"Non-zero status code returned while running Reshape node. Name:'{'x' * 120}...' Status "
        "Message: wrong sizes",
    ),
    "quoted": (
        RuntimeError("Check 'false' failed at a.cpp:1:\nno rule for the node 'a\nb' of type C"),
        "no rule for the node 'a\\nb' of type C",
    ),
    "key": (KeyError(0), "KeyError: 0"),
    "empty": (ValueError(), "ValueError"),
    "lines": (
        RuntimeError("\n\n  the second line tells  \nnot the third"),
        "the second line tells",
    ),
    "exit": (SystemExit(3), "SystemExit: 3"),
    "escape": (TypeError("\x1b[96mno\x1b[0m \x07bell"), "TypeError: no bell"),
    "native": (RuntimeError("std::bad_alloc"), "RuntimeError: std::bad_alloc"),
    "mute": (MuteError(), "MuteError"),
    "long": (RuntimeError("much " * 500), "much " * 79 + "mu..."),
    "system": (OSError(28, "No space left on device"), "OSError: No space left on device"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_one_line_of_any_exception(kind: str) -> None:
    error, expected = ERRORS[kind]
    found = reason(error)
    assert found == expected or kind == "check"
    assert "any_of(scale.size(), OC, 1U)' does not hold" in found or kind != "check"
    assert len(found) <= 400
    assert not re.search(r"[\x00-\x1f]", found)


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit status 0"), (7, "exit status 7"), (-11, "SIGSEGV"), (-40, "signal 40")],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert ending(code) == words


def test_the_cause_counts_and_its_wrapper_where_it_says_nothing() -> None:
    outer = RuntimeError("report this to somebody else")
    outer.__cause__ = KeyError("weight")
    assert reason(outer) == "KeyError: 'weight'"
    outer.__cause__ = ValueError()
    assert reason(outer) == "report this to somebody else"
    outer.__cause__ = outer
    assert reason(outer) == "report this to somebody else"


@pytest.mark.parametrize("name", ["EVIL\nerror: forged", "it's\nB", "N" * 5000], ids=repr)
def test_the_cause_stands_behind_the_name_of_a_node(
    name: str, run: CommandLine, tmp_path: Path
) -> None:
    """Of a file that anybody may have written; the index is known when it runs."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "nine"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["two", "index"], ["scores"], name=name),
    ]
    graph = helper.make_graph(
        nodes,
        "picking",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [])],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("nine", TensorProto.FLOAT, [], [9.0]),
            helper.make_tensor("two", TensorProto.FLOAT, [2], [1.0, 2.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "x.onnx")
    result = run("profile", "x.onnx")
    assert result.code == 3, result.err
    assert "idx=9 must be within the inclusive range [-2,1]" in result.message
    assert len(result.message.splitlines()) == 1


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError(0)


def test_the_layer_is_named() -> None:
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU(), Broken()))
    with pytest.raises(KeyError) as caught:
        model(torch.zeros(1))
    assert reason_with_layer(caught.value) == "KeyError: 0 (in layer '1.1', Broken)"


OWN = """
class Fails(nn.Module):
    def forward(self, x):
        if x.shape[0] > FROM or x.abs().max() > LIMIT:
            raise RAISED
        return x

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.inner, self.scores = nn.Conv2d(3, 8, 3, 2), Fails(), nn.Linear(8, 4)

    def forward(self, x):
        return self.scores(self.inner(self.first(x)).relu().mean((2, 3)))
"""
RAISED = {
    "KeyError(0)": "KeyError: 0 (in layer 'inner', Fails)",
    "SystemExit(3)": "SystemExit: 3 (in layer 'inner', Fails)",
    "ValueError()": "ValueError (in layer 'inner', Fails)",
    "RuntimeError('\\n\\nnobody knows this layer\\nmore')": "nobody knows this layer (in layer",
}


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize("command", ["describe", "export", "predict"])
def test_networks_that_raise(
    command: str, raised: str, run: CommandLine, module: Callable[[str], str], tmp_path: Path
) -> None:
    from PIL import Image

    Image.fromarray(np.full((16, 16, 3), 255, np.uint8)).save(tmp_path / "white.png")
    text = OWN.replace("RAISED", raised).replace("FROM", "99").replace("LIMIT", "-1")
    words = (f"{module(text)}:Net", "--resolution", "16")
    more = {"describe": (), "export": ("-t", "onnx"), "predict": ()}[command]
    images = ("white.png",) if command == "predict" else ()
    result = run(command, words[0], *images, *words[1:], *more)
    assert result.code == 3
    assert RAISED[raised] in result.message
    assert len(result.message.splitlines()) == 1


EXPORTED = OWN.replace("RAISED", "KeyError(0)").replace(
    "if x.shape[0] > FROM or x.abs().max() > LIMIT:", "if False:"
)


@pytest.mark.parametrize("kind", RAISED_BY_OTHERS)
@pytest.mark.parametrize("target", ["onnx", "openvino", "tflite"])
def test_converters_that_raise(
    target: str,
    kind: str,
    run: CommandLine,
    module: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = RAISED_BY_OTHERS[kind]
    monkeypatch.setattr(type(registry.target(target)), "export", raising(error))
    words = f"{module(EXPORTED)}:Net"
    result = run("export", words, "--resolution", "16", "-t", target)
    told(result, error, f"cannot be converted to {target}")


@pytest.mark.parametrize("seam", ["open", "run"])
@pytest.mark.parametrize(
    ("target", "kind"), [("onnx", "lines"), ("openvino", "empty"), ("tflite", "key")]
)
def test_runtimes_that_raise_in_an_export(
    target: str,
    kind: str,
    seam: str,
    run: CommandLine,
    module: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks_in_agents(monkeypatch, tmp_path, target, seam, kind)
    words = f"{module(EXPORTED)}:Net"
    result = run("export", words, "--resolution", "16", "-t", target)
    told(result, RAISED_BY_OTHERS[kind], "cannot be run by")
