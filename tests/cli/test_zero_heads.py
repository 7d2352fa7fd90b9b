"""Untrained networks whose last layer starts at zero, or whose rounding grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine

Module = Callable[[str], str]

MIXER = """
class Mixer(nn.Module):
    def __init__(self, classes=6):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 8, 8)
        self.norm = nn.LayerNorm(16)
        self.tokens = nn.Linear(16, 16)
        self.channels = nn.Linear(16, 16)
        self.head = nn.Linear(16, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm(x)).relu()
        FAULT
        return self.head(x.mean(1))
"""

HEAD = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.batch = nn.Conv2d(3, 16, 3, 2), NORM
        self.places = nn.Parameter(torch.zeros(1, 16, 1, 1))
        self.scores, self.norm = nn.Linear(16, 10), nn.LayerNorm(10)
        self.head, self.scale = nn.Parameter(torch.zeros(16, 10)), nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(10))
        nn.init.zeros_(self.norm.weight)

    def forward(self, x):
        x = (self.batch(self.stem(x)) + self.places).relu().mean((2, 3))
        return END
"""

HEADS = [("x @ self.head + self.bias", "head"), ("self.norm(self.scores(x))", "norm.weight")]

GROWING = """
class Growing(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.layers(x)
        FAULT
        y = torch.sigmoid(self.head(x.mean((2, 3))))
        for _ in range(TIMES):
            y = 1.5 - 1.9 * y.abs()
        return y
"""

ODD = """
class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return {}[0] if self.training else self.norm(x).flatten(1)[:, :4]
"""


def test_a_head_of_zeros_is_filled_and_that_is_said(run: CommandLine, module: Module) -> None:
    words = f"{module(MIXER.replace('FAULT', ''))}:Mixer"
    result = run("export", words, "-t", "all", "--resolution", 32, "-o", "out", "--json")
    assert result.code == 0, result.err
    assert "those of 'head', which start at zero, filled" in result.err
    assert "batch-norm" not in result.err
    for artifact in result.json["artifacts"]:
        assert artifact["agreement"]["sqnr_db"] >= 100
        assert artifact["agreement"]["left_out"] == 0
    path = result.json["artifacts"][0]["path"]
    verified = run("verify", path, "--against", words, "--json")
    assert verified.code == 0
    assert "'head', which start at zero, filled" in verified.json["preparation"]


@pytest.mark.parametrize("norm", ["nn.Identity()", "nn.BatchNorm2d(16)"])
@pytest.mark.parametrize(("end", "name"), HEADS)
def test_heads_that_are_no_layers_are_filled_too(
    run: CommandLine, module: Module, end: str, name: str, norm: str
) -> None:
    words = f"{module(HEAD.replace('END', end).replace('NORM', norm))}:Net"
    result = run("export", words, "-t", "tflite", "--resolution", 32, "--json")
    assert result.code == 0, result.err
    assert f"those of '{name}', which start at zero, filled" in result.err
    (artifact,) = result.json["artifacts"]
    assert artifact["agreement"]["sqnr_db"] >= 100
    verified = run("verify", artifact["path"], "--against", words)
    assert verified.code == 0, verified.err


def test_zeros_that_cannot_be_filled_are_named(run: CommandLine, module: Module) -> None:
    text = HEAD.replace("END", "(x @ self.head) * self.scale")
    words = f"{module(text.replace('NORM', 'nn.Identity()'))}:Net"
    result = run("export", words, "-t", "tflite", "--resolution", 32)
    assert result.code == 3
    assert (
        "all weights of 'places', 'head', 'norm.weight' are zero: train it, or give"
        in result.message
    )


def test_a_head_of_zeros_hides_no_chance(run: CommandLine, module: Module) -> None:
    words = f"{module(MIXER.replace('FAULT', 'x = F.dropout(x)'))}:Mixer"
    result = run("export", words, "-t", "tflite", "--resolution", 32)
    assert result.code == 3
    assert "(x = F.dropout(x))" in result.message


def test_trained_weights_of_zero_are_named(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    import torch

    name = module(MIXER.replace("FAULT", ""))
    result = run("export", f"{name}:Mixer", "-t", "tflite", "--resolution", 32)
    assert result.code == 0
    state = torch.nn.Module.state_dict(__import__(name).Mixer())
    torch.save(state, tmp_path / "weights.pt")
    given = ("--weights", "weights.pt", "--resolution", 32, "-o", "other")
    result = run("export", f"{name}:Mixer", "-t", "tflite", *given)
    assert result.code == 3
    assert "all weights of 'head' are zero" in result.message


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_rounding_that_grows_is_said_to(run: CommandLine, module: Module, precision: str) -> None:
    text = GROWING.replace("FAULT", "").replace("TIMES", "60")  # each almost doubles rounding
    words = f"{module(text)}:Growing"
    result = run("export", words, "-t", "tflite", "-p", precision, "--resolution", 32)
    assert result.code == 3
    assert "PyTorch itself computes" in result.message
    assert "train it first" in result.message


def test_a_float_file_of_random_weights_that_fails_says_so(
    run: CommandLine, module: Module
) -> None:
    fault = "x = x * 1.5 if torch.utils._python_dispatch._get_current_dispatch_mode() else x"
    text = GROWING.replace("FAULT", fault).replace("TIMES", "0")
    result = run("export", f"{module(text)}:Growing", "-t", "tflite", "--resolution", 32)
    assert result.code == 4
    assert "random weights make rounding grow from layer to layer: train it first" in result.message


def test_the_kind_of_an_exception_is_said(run: CommandLine, module: Module) -> None:
    words = f"{module(ODD)}:Odd"
    result = run("export", words, "-t", "tflite", "--resolution", 32)
    assert result.code == 3
    assert "cannot run in training mode" in result.message
    assert "KeyError: 0" in result.message
