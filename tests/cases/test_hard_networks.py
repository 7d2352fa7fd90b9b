"""What becomes of networks that exports can get wrong, on every target."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine

from edgekit import registry, tables

EXACT = (
    "plain", "faint_class", "uneven_pool", "mix_tokens", "l2", "bilinear", "inplace",
    "chunk_inplace", "conv1x1_pad", "wnorm", "nearest_exact", "group_norm",
)  # fmt: skip
"""Whose files in float32 follow the network to `LEAST_DB`."""

LEAST_DB = 100.0
INTEGERS = ("plain", "faint_class", "uneven_pool", "mix_tokens", "l2")
LEAST_INTEGER_DB = 11.0
"""'plain' has 14 to 15 dB in int8 on every target, nearly all of it for the noise among the images.
A class without its bias, or a product of zeros, leaves less than 6."""


@pytest.fixture
def hard(tmp_path: Path) -> Callable[[str], str]:
    """Names one of the networks, which lie in the folder of the test."""
    shutil.copy(Path(__file__).with_name("hard_networks.py"), tmp_path)
    return lambda name: f"hard_networks:{name}"


@pytest.mark.parametrize("name", EXACT)
def test_files_in_float_follow_the_network(
    run: CommandLine, hard: Callable[[str], str], name: str
) -> None:
    result = run("export", hard(name), "--resolution", 32, "-t", "all", "-o", "out", "--json")
    assert result.code == 0, result.err
    found = {one["target"]: one["agreement"]["sqnr_db"] for one in result.json["artifacts"]}
    assert set(found) == set(tables.TARGETS)
    assert min(found.values()) >= LEAST_DB, found


def _of_integers() -> list[object]:
    """Target and precision; those that take long are slow, but for int8."""
    return [
        pytest.param(name, precision, marks=() if quick else pytest.mark.slow)
        for name in tables.TARGETS
        for precision, scheme in registry.target(name).schemes.items()
        if scheme.weights == "int8" and precision != "int8-mixed"
        for quick in [precision == "int8" or name == "tflite"]
    ]


@pytest.mark.parametrize(("target", "precision"), _of_integers())
@pytest.mark.parametrize("name", INTEGERS)
def test_files_of_integers_follow_the_network(
    run: CommandLine, hard: Callable[[str], str], name: str, target: str, precision: str
) -> None:
    result = run(
        "export", hard(name), "--resolution", 32, "-t", target, "-o", "out", "--json",
        "-p", precision, "--calibration", "synthetic",
    )  # fmt: skip
    assert result.code == 0, result.err
    found = {one["precision"]: one["agreement"]["sqnr_db"] for one in result.json["artifacts"]}
    assert min(found.values()) >= LEAST_INTEGER_DB, found


@pytest.mark.parametrize("command", ["export", "search"])
def test_a_network_that_draws_random_numbers_is_refused(
    run: CommandLine, hard: Callable[[str], str], command: str
) -> None:
    budget = ("--budget", "latency=0.9x", "--data", "digits") if command == "search" else ()
    result = run(command, hard("dropout"), "--resolution", 32, "-t", "onnx", *budget, "-o", "out")
    assert result.code == 3
    assert "random" in result.message
    assert "hard_networks.py" in result.message


def test_a_weight_beyond_float16_is_named(run: CommandLine, hard: Callable[[str], str]) -> None:
    result = run("export", hard("big_weight"), "--resolution", 32, "-t", "all", "-p", "fp16")
    assert result.code == 3, result.err
    assert result.message.count("2.0.weight") >= 1
    assert "float16" in result.message


@pytest.mark.parametrize("target", tables.TARGETS)
@pytest.mark.parametrize("name", ["softmax", "sigmoid1"])
def test_probabilities_of_the_network_itself_are_shown(
    run: CommandLine, hard: Callable[[str], str], tmp_path: Path, name: str, target: str
) -> None:
    from PIL import Image

    pixels = np.random.default_rng(8).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    done = run("export", hard(name), "--resolution", 32, "-t", target, "-o", "out", "--json")
    assert done.code == 0, done.err
    path = done.json["artifacts"][0]["path"]
    shown = {
        words: run("predict", words, "image.png", "--resolution", 32, "--json")
        if words != path
        else run("predict", words, "image.png", "--json")
        for words in (path, hard(name))
    }
    own, network = (
        {one["index"]: one["probability"] for one in found.json["predictions"][0]["labels"]}
        for found in shown.values()
    )
    assert own == pytest.approx(network, abs=1e-4)
    if name == "softmax":
        assert max(own.values()) > 0.9
