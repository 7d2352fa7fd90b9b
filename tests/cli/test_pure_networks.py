"""Networks that are no function of one image, at every command that makes a reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from small_networks import network

Module = Callable[[str], str]

DRAWS = "x = F.dropout(x, 0.5)"


def in_place() -> str:
    """A network that normalizes the image it is given."""
    return network().replace(
        "x = self.relu(self.first(x))", "x.sub_(0.2).div_(0.5)\n        x = self.first(x)"
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of a few images in four classes."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind in "abcd":
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 255, (4, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{i}.png")
    return tmp_path / "photos"


def test_what_changes_its_input_is_right_on_every_target(run: CommandLine, module: Module) -> None:
    words = f"{module(in_place())}:Net"
    result = run("export", words, "-t", "all", "--resolution", 32, "-o", "out", "--json")
    assert result.code == 0
    assert "it changes its input, so it is given copies" in result.err
    for artifact in result.json["artifacts"]:
        assert artifact["agreement"]["sqnr_db"] >= 100
        verified = run("verify", artifact["path"], "--against", words, "--json")
        assert verified.code == 0
        assert verified.json["agreement"]["sqnr_db"] >= 100
        assert verified.json["notes"] == ["it changes its input, so it is given copies"]


def test_how_a_teacher_is_run_is_said(run: CommandLine, module: Module, photos: Path) -> None:
    meets = "x = F.batch_norm(x, None, None, training=True)"
    line = ("train", "mobilenetv1@0.25", "--data", photos, "--resolution", 32, "--epochs", 1)
    for source, told in (
        (in_place(), "it changes its input, so it is given copies"),
        (network(meets), "the scores of an image depend on the others of its batch"),
    ):
        words = f"{module(source)}:Net"
        result = run(*line, "--teacher", words, "-o", words.partition(":")[0] + "_run")
        assert result.code == 0, result.err
        assert f"teacher '{words}': {told}" in result.err


def test_chance_that_shows_seldom_is_refused_with_the_line(
    run: CommandLine, module: Module, png: Callable[..., Path]
) -> None:
    line = "x = x * (torch.rand(len(x), 1, 1, 1) > 1e-6)"
    words = f"{module(network(line))}:Net"
    for command in (("export", words, "-t", "onnx", "-o", "out"), ("predict", words, png())):
        result = run(*command, "--resolution", 32)
        assert result.code == 3, command
        assert f"'{words}' gives scores that depend on random numbers" in result.message
        assert f"line 16 ({line})" in result.message
    assert not Path("out").exists()


def test_every_command_refuses_chance_with_the_line(
    run: CommandLine, module: Module, png: Callable[..., Path], photos: Path
) -> None:
    steady = f"{module(network())}:Net"
    assert run("export", steady, "-t", "tflite", "--resolution", 32).code == 0
    words = f"{module(network(DRAWS))}:Net"
    size = ("--resolution", 32)
    for command in (
        ("export", words, "-t", "tflite", "-o", "other", *size),
        ("verify", "Net-fp32.tflite", "--against", words),
        ("evaluate", words, "--data", photos, *size),
        ("predict", words, png(), *size),
        ("train", words, "--data", photos, "--epochs", 1, *size),
        ("train", "mobilenetv3-small@0.35", "--data", photos, "--teacher", words, *size),
        ("search", words, "--data", photos, "--budget", "macs=0.9x", "-o", "found", *size),
    ):
        result = run(*command)
        assert result.code == 3, command
        assert f"'{words}' gives other scores each time" in result.message, command
        assert f"({DRAWS})" in result.message, command
        assert ".py, line " in result.message, command
