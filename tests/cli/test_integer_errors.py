"""What ``edgekit export`` refuses of integers: images, precisions, options, layers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image
from small_networks import network

from edgekit import tables
from edgekit.models.weights import load_checkpoint, save_checkpoint

Module = Callable[[str], str]


def images(folder: Path, count: int, color: int | None = None) -> Path:
    """A folder of two classes of small images: noise, or all of one colour."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 40, 3)) if color is None else np.full((40, 40, 3), color)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def test_a_network_without_images_needs_some(run: CommandLine) -> None:
    result = run("export", "mobilenetv3-small", "-t", "tflite", "-p", "int8", "--resolution", 32)
    assert (result.code, result.out) == (3, "")
    assert "has no images that the ranges of integers could come from" in result.message
    assert "--calibration SRC" in result.message


def calibrated(run: CommandLine, words: str, source: Path, *more: object) -> object:
    return run(
        "export", words, "-t", "tflite", "-p", "int8", "--resolution", 32, "-o", "out",
        "--calibration", source, *more,
    )  # fmt: skip


def test_too_few_images_are_refused(run: CommandLine, module: Module, tmp_path: Path) -> None:
    words = f"{module(network())}:Net"
    result = calibrated(run, words, images(tmp_path / "few", 6))
    assert result.code == 3
    assert "has 2 images: calibration needs 16 at least" in result.message


@pytest.mark.parametrize("color", [0, 120], ids=["black", "grey"])
def test_images_of_one_colour_are_refused(
    color: int, run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network())}:Net"
    result = calibrated(run, words, images(tmp_path / "flat", 60, color))
    assert result.code == 3
    assert "calibration images" in result.message
    assert "are of one colour all over" in result.message


def test_images_that_are_no_numbers_once_prepared_are_refused(
    run: CommandLine, short_network: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(short_network)
    assert checkpoint.preprocessing is not None
    preprocessing = dataclasses.replace(checkpoint.preprocessing, std=(1e-39, 1.0, 1.0))
    save_checkpoint(
        tmp_path / "odd.pt", dataclasses.replace(checkpoint, preprocessing=preprocessing)
    )
    result = run("export", "odd.pt", "-t", "tflite", "-p", "int8", "--data", "synthetic", "-o", "o")
    assert (result.code, result.out) == (3, "")
    assert "'std' is (1e-39, 1.0, 1.0): expected numbers that leave pixels finite" in result.message


def test_too_small_a_number_of_images_is_refused(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network())}:Net"
    source = images(tmp_path / "enough", 60)
    result = calibrated(run, words, source, "--calibration-images", 3)
    assert result.code == 2
    assert "3 images for calibration: expected at least 16" in result.message


def test_a_precision_that_a_target_lacks_names_those_it_has(run: CommandLine) -> None:
    result = run("export", "mobilenetv3-small", "-t", "openvino", "-p", "int8-dynamic")
    assert result.code == 2
    assert "target openvino has no precision int8-dynamic: it has fp16, fp32, int8" in (
        result.message
    )


def test_ranges_that_a_target_lacks_name_those_it_has(run: CommandLine) -> None:
    words = ("export", "mobilenetv3-small", "-t", "tflite", "-p", "int8", "--ranges", "entropy")
    result = run(*words, "--calibration", "synthetic")
    assert result.code == 2
    assert "no ranges 'entropy': expected minmax or percentile or mse" in result.message


@pytest.mark.parametrize("drop", ["0", "-1", "nan", "101"])
def test_a_bound_that_is_none_is_refused(drop: str, run: CommandLine) -> None:
    words = ("export", "mobilenetv3-small", "-t", "tflite", "-p", "int8", "--max-drop", drop)
    result = run(*words, "--calibration", "synthetic")
    assert result.code == 2
    assert f"--max-drop {drop}: expected points above 0" in result.message


def test_a_bound_needs_integers(run: CommandLine, short_network: Path) -> None:
    result = run("export", short_network, "-t", "onnx", "-p", "fp16", "--max-drop", 0.5)
    assert result.code == 2
    assert "--max-drop goes with precisions of integers" in result.message


def test_an_interface_of_integers_goes_with_integers(run: CommandLine) -> None:
    result = run("export", "mobilenetv3-small", "-t", "tflite", "-p", "fp32", "--io", "int8")
    assert result.code == 2
    assert "--io int8 goes with static integer precisions" in result.message


@pytest.mark.parametrize(
    ("precision", "option"),
    [("fp16", ("--float-layers", "scores")), ("int8-dynamic", ("--ranges", "percentile"))],
)
def test_options_that_a_precision_has_no_use_for_are_refused(
    precision: str, option: tuple[str, str], run: CommandLine
) -> None:
    result = run("export", "mobilenetv3-small", "-t", "tflite", "-p", precision, *option)
    assert result.code == 2
    assert option[0] in result.message
    assert precision in result.message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("int8", "--isa", "riscv"), "--isa riscv: expected x86, x86-vnni, arm"),
        (("fp16", "--isa", "arm"), "--isa goes with precisions of integers: fp16 has none"),
        (("int8", "--isa", "arm", "--tune"), "--tune measures on this machine, whose processor is"),
    ],
)
def test_a_processor_that_makes_no_sense_is_refused(
    words: tuple[str, ...], expected: str, run: CommandLine
) -> None:
    result = run(
        "export", "mobilenetv3-small", "-t", "onnx", "--calibration", "synthetic", "-p", *words
    )
    assert result.code == 2
    assert expected in result.message


def test_a_few_images_of_one_colour_are_no_harm_and_many_are(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network())}:Net"
    source = images(tmp_path / "half", 60)
    for i, path in enumerate(sorted(source.rglob("*.png"))):
        if i % 2:
            Image.new("RGB", (40, 40)).save(path)
    result = calibrated(run, words, source)
    assert result.code == 3
    assert "are of one colour all over" in result.message


def test_layers_that_do_not_exist_are_refused(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network())}:Net"
    source = images(tmp_path / "enough", 60)
    result = calibrated(run, words, source, "--float-layers", "secnod")
    assert result.code == 3
    assert "no layer 'secnod'" in result.message
    assert "second" in result.message


@pytest.mark.parametrize("target", tables.TARGETS)
def test_nothing_to_quantize_is_said(
    target: str, run: CommandLine, module: Module, tmp_path: Path
) -> None:
    text = """
class Net(nn.Module):
    def forward(self, x):
        return x.amax(dim=(2, 3))
"""
    words = f"{module(text)}:Net"
    source = images(tmp_path / "enough", 60)
    result = run(
        "export", words, "-t", target, "-p", "int8", "--resolution", 32, "-o", "out",
        "--calibration", source,
    )  # fmt: skip
    assert result.code == 3
    assert "no layer" in result.message
    assert "int8" in result.message
    kinds = {"onnx": "ReduceMax", "openvino": "ReduceMax", "tflite": "REDUCE_MAX"}
    assert re.search(rf"it has [^;]*{kinds[target]}", result.message)


def test_an_end_that_stays_in_float_has_no_integers(run: CommandLine, module: Module) -> None:
    words = f"{module(network())}:Net"
    for target in ("onnx", "tflite"):
        result = run(
            "export", words, "-t", target, "-p", "int8", "--resolution", 32, "--io", "int8",
            "--calibration", "digits", "--float-layers", "scores", "-o", "out",
        )  # fmt: skip
        assert result.code == 3
        assert "--io " in result.message
