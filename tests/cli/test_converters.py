"""TensorFlow Lite files through the command line: which converter, and what none can take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import CommandLine
from small_networks import network
from torch import nn
from torch.export import Dim

from edgekit.contract import load

SMALL = "mobilenetv1@0.25"
Module = Callable[[str], str]


@pytest.mark.parametrize("converter", ["edgekit", "litert-torch"])
def test_a_converter_can_be_chosen_and_is_told_by_the_contract(
    converter: str, run: CommandLine
) -> None:
    arguments = ("export", SMALL, "-t", "tflite", "--resolution", "32", "--json")
    result = run(*arguments, "--converter", converter)
    assert result.code == 0
    (artifact,) = result.json["artifacts"]
    assert artifact["agreement"]["passed"]
    tools = load(Path(artifact["path"])).tools
    assert ("litert-torch" in tools) == (converter == "litert-torch")


@pytest.mark.parametrize(
    ("target", "converter", "reason"),
    [
        ("onnx", "edgekit", "no converter 'edgekit' for onnx: they have one each"),
        ("tflite", "nobody", "no converter 'nobody' for tflite: expected edgekit or litert-torch"),
    ],
)
def test_a_converter_that_no_target_has_is_refused(
    target: str, converter: str, reason: str, run: CommandLine
) -> None:
    result = run("export", SMALL, "-t", target, "--converter", converter)
    assert result.code == 2
    assert reason in result.message


def export(run: CommandLine, words: str | Path) -> str:
    """The message of an export that is refused, and leaves nothing behind."""
    result = run("export", words, "-t", "tflite", "--resolution", "32", "-o", "out")
    assert (result.code, result.out) == (3, ""), result.err
    assert len(result.message.splitlines()) == 1
    assert not list(Path("out").glob("*"))
    return result.message


def test_an_operator_outside_the_table_is_named_with_its_place_and_the_way_out(
    run: CommandLine, module: Module
) -> None:
    name = module(network("x = torch.cumsum(x, 1)"))
    message = export(run, f"{name}:Net")
    assert f"the operator cumsum in the network ({name}.py:" in message
    assert "--converter litert-torch" in message
    arguments = ("export", f"{name}:Net", "-t", "tflite", "--resolution", "32")
    assert run(*arguments, "--converter", "litert-torch").code == 0


REFUSED = {
    "control flow": ("x = x if float(x.sum()) > 0 else -x", "PyTorch cannot export the network: "),
    "a loop over numbers": ("for _ in range(int(x.abs().max() + 1)): x = x + 1", "cannot export"),
    "a dictionary of more": ("return {'scores': x.mean((2, 3)), 'why': 3}", "gives a int as 'why'"),
    "an output by its values": ("return x.mean((2, 3)), x[x > 0.1]", "has the shape"),
    "integer scores": ("return x.mean((2, 3)).int()", "gives (nearly) the same outputs"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_networks_that_have_no_place_in_a_file_are_refused(
    kind: str, run: CommandLine, module: Module
) -> None:
    statement, expected = REFUSED[kind]
    message = export(run, f"{module(network(statement))}:Net")
    assert expected in message
    assert len(message) < 500


class Two(nn.Module):
    def forward(self, image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (image + other).mean((2, 3))


def test_two_inputs_need_an_example(run: CommandLine, module: Module, tmp_path: Path) -> None:
    text = (
        "class Net(nn.Module):\n    def forward(self, x, y):\n        return (x + y).mean((2, 3))\n"
    )
    assert "cannot take an input of shape (1, 3, 32, 32)" in export(run, f"{module(text)}:Net")
    image = torch.zeros(1, 3, 32, 32)
    torch.export.save(torch.export.export(Two().eval(), (image, image)), tmp_path / "two.pt2")
    result = run("export", "two.pt2", "-t", "tflite", "--task", "classify")
    assert "expected one input" in result.message
    assert run("export", "two.pt2", "-t", "tflite", "-o", "two").code == 0


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(image).relu().mean((2, 3)))


def saved(path: Path, batch: int, sizes: object = None) -> None:
    example = (torch.zeros(batch, 3, 32, 32),)
    program = torch.export.export(Small().eval(), example, dynamic_shapes=sizes)
    torch.export.save(program, path)


def test_open_sizes_are_fixed_at_the_resolution_that_is_asked_for(
    run: CommandLine, tmp_path: Path
) -> None:
    side = 8 * Dim("side", min=2, max=16)
    saved(tmp_path / "open.pt2", 2, ({0: Dim("batch"), 2: side, 3: side},))
    result = run("export", "open.pt2", "-t", "tflite", "--resolution", "64", "--json")
    assert result.code == 0, result.err
    (artifact,) = result.json["artifacts"]
    (image,) = load(Path(artifact["path"])).inputs
    assert image.shape == (1, 64, 64, 3)


def test_a_batch_other_than_one_is_refused(run: CommandLine, tmp_path: Path) -> None:
    saved(tmp_path / "eight.pt2", 8)
    assert "takes batches of 8 only: export it with batch 1" in export(run, "eight.pt2")


def test_weights_beyond_the_format_are_refused(run: CommandLine, module: Module) -> None:
    # One number seen 600 million times: it takes no memory here, and 2.2 GiB in a file.
    name = module(
        "class Seen(nn.Parameter):\n    def __deepcopy__(self, memo):\n        return self\n\n"
        + network("x = torch.maximum(x, self.table[0])")
        + "\ndef net():\n    net = Net()\n"
        + "    net.table = Seen(torch.ones(1).expand(600_000_000))\n    return net\n"
    )
    message = export(run, f"{name}:net")
    assert "the weights take 2.2 GiB: a TensorFlow Lite file holds at most 2 GiB" in message
