"""Contracts that are missing, edited, of something else, or that say what cannot be."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from damage import contracts
from PIL import Image
from small_artifacts import Artifacts

from edgekit.contract import SCHEMA, contract_path, contract_text, load
from edgekit.core import Preprocessing

Copied = Callable[[Path], Path]
Png = Callable[..., Path]


def _sign(path: Path, **fields: Any) -> None:
    """Gives an artifact a contract that says something else and is in itself in order."""
    contract_path(path).write_text(contract_text(dataclasses.replace(load(path), **fields)))


@pytest.mark.parametrize("command", ["predict", "evaluate", "verify", "describe"])
def test_an_artifact_without_contract_is_refused(
    command: str,
    artifacts: Artifacts,
    copied: Copied,
    run: CommandLine,
    png: Png,
    trained_run: Path,
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    contract_path(path).unlink()
    more: dict[str, list[object]] = {
        "predict": [png()],
        "evaluate": ["--data", "digits"],
        "verify": ["--against", trained_run],
        "describe": [],
    }
    result = run(command, path, *more[command])
    assert (result.code, result.out) == (3, "")
    assert f"{path} has no contract: {contract_path(path)} does not exist" in result.message
    assert "--embedded" in result.message


@pytest.mark.parametrize("key", ["labels", "preprocessing", "sha256", "contract_sha256", "tools"])
def test_an_edited_contract_is_refused(
    key: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    data = json.loads(contract_path(path).read_text())
    edits: dict[str, Any] = {
        "labels": [*reversed(data["labels"])],
        "preprocessing": {**data["preprocessing"], "scale": 1.0},
        "tools": {},
    }
    data[key] = edits.get(key, "0" * 64)
    contract_path(path).write_text(json.dumps(data))
    result = run("predict", path, png())
    assert (result.code, result.out) == (3, "")
    assert f"{contract_path(path)} was edited after the export" in result.message


def test_a_contract_that_was_only_laid_out_anew_still_holds(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    data = json.loads(contract_path(path).read_text())
    contract_path(path).write_text(json.dumps(dict(sorted(data.items()))))
    assert run("predict", path, png()).code == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is no JSON"),
        ("not JSON", "is no JSON"),
        ('{"schema": ', "is no JSON"),
        ("[]", f"is not of schema '{SCHEMA}'"),
        ("null", f"is not of schema '{SCHEMA}'"),
        ("{}", f"is not of schema '{SCHEMA}'"),
        ('{"schema": "edgekit.artifact/99"}', f"is not of schema '{SCHEMA}'"),
        (f'{{"schema": "{SCHEMA}"}}', "was edited"),
        (f'{{"schema": "{SCHEMA}", "size_bytes": NaN}}', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        pytest.param("[" + "{}," * 2_000_000 + "{}]", "is no JSON: it has too many", id="parts"),
    ],
)
def test_a_contract_that_is_none_is_refused(
    text: str, expected: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    contract_path(path).write_text(text)
    result = run("predict", path, png())
    assert (result.code, result.out) == (3, "")
    assert str(contract_path(path)) in result.message
    assert expected in result.message


def test_a_contract_of_a_newer_edgekit_names_both_versions(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    data = json.loads(contract_path(path).read_text())
    data["tools"]["edgekit"] = "99.0"
    data["rotation"] = 90
    contracts.sign(path, data)
    result = run("predict", path, png())
    assert result.code == 3
    assert "was written by edgekit 99.0" in result.message
    assert "unknown key 'rotation'" in result.message


def test_a_key_that_only_another_edgekit_can_have_written_is_no_damage(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    data = json.loads(contract_path(path).read_text())
    data["preprocessing"]["rotation"] = 90  # of the same version, as between two releases
    contracts.sign(path, data)
    result = run("predict", path, png())
    assert result.code == 3
    assert "was written by another edgekit and cannot be read by this one" in result.message
    assert "unknown key 'rotation'" in result.message
    assert "damaged" not in result.message


def test_a_contract_that_is_no_text_is_refused(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    contract_path(path).write_bytes(b"\xff\xfe\x00\x80" * 8)
    assert "cannot be read" in run("predict", path, png()).message
    contract_path(path).unlink()
    contract_path(path).mkdir()
    result = run("predict", path, png())
    assert result.code == 3
    assert f"{contract_path(path)} cannot be read" in result.message


def test_the_contract_of_another_precision_is_refused(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    shutil.copy(contract_path(artifacts["onnx", "fp16"]), contract_path(path))
    result = run("predict", path, png())
    assert (result.code, result.out) == (3, "")
    assert "is the contract of another file than" in result.message
    assert path.name in result.message


def test_the_contract_of_another_target_is_refused(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    shutil.copy(contract_path(artifacts["openvino", "fp32"]), contract_path(path))
    result = run("predict", path, png())
    assert result.code == 3
    assert "is the contract of a openvino file" in result.message.replace(" an ", " a ")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"crop": 0}, "'crop' is 0"),
        ({"crop": -32}, "'crop' is -32"),
        ({"crop": 10**9, "resize": 10**9}, "'crop' is 1000000000"),
        ({"resize": 16}, "'resize' is 16"),
        ({"resize": 10**9}, "'resize' is 1000000000"),
        ({"crop": (32, 0)}, "'crop' is (32, 0)"),
        ({"crop": (32, 16)}, "its preprocessing gives images (1, 3, 32, 16), its input takes"),
        ({"fit": "cover"}, "'fit' is 'cover'"),
        ({"fit": "letterbox"}, "'resize' is 32: expected null"),
        ({"fit": "letterbox", "resize": None, "pad": 256}, "'pad' is 256: expected 0 to 255"),
        ({"pad": -1}, "'pad' is -1: expected 0 to 255"),
        ({"exif": "turn"}, "'exif' is 'turn'"),
        ({"alpha": "keep"}, "'alpha' is 'keep'"),
        ({"channel_order": "L"}, "'mean' is"),
        ({"channel_order": "GRAY"}, "'channel_order' is 'GRAY'"),
        ({"interpolation": "sinc"}, "'interpolation' is 'sinc'"),
        ({"layout": "CHWN"}, "'layout' is 'CHWN'"),
        ({"std": (0.2, 0.0, 0.2)}, "'std' is"),
        ({"mean": (0.5,)}, "'mean' is"),
        ({"scale": 0.0}, "'scale' is 0.0"),
        ({"layout": "NHWC"}, "its preprocessing gives images (1, 32, 32, 3), its input takes"),
        ({"crop": 16}, "its preprocessing gives images (1, 3, 16, 16), its input takes"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["predict", "evaluate", "verify"])
def test_an_impossible_preprocessing_is_refused(
    change: dict[str, Any],
    named: str,
    command: str,
    artifacts: Artifacts,
    copied: Copied,
    run: CommandLine,
    png: Png,
    trained_run: Path,
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    _sign(path, preprocessing=dataclasses.replace(load(path).preprocessing, **change))
    more: dict[str, list[object]] = {
        "predict": [png()],
        "evaluate": ["--data", "digits"],
        "verify": ["--against", trained_run, "--data", "digits"],
    }
    result = run(command, path, *more[command])
    assert (result.code, result.out) == (3, "")
    assert str(path) in result.message
    assert named in result.message


def test_an_image_that_is_too_small_for_the_preprocessing_is_named(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    _sign(path, preprocessing=dataclasses.replace(load(path).preprocessing, resize=None))
    small, large = png("small.png", 31, 64), png("large.png", 33, 32)
    assert run("predict", path, large).code == 0
    result = run("predict", path, large, small)
    assert result.code == 3
    assert "large.png" in result.out  # what was done before it is kept
    assert "small.png" not in result.out
    assert "small.png" in result.message
    assert "31 x 64 px is smaller than the crop of 32 x 32 px" in result.message
    evaluated = run("evaluate", path, "--data", "digits")
    assert (evaluated.code, evaluated.out) == (3, "")
    assert "'digits', image 0 of split 'test': image of 8 x 8 px" in evaluated.message


@pytest.mark.parametrize("labels", [("zero", "one"), tuple(map(str, range(11)))])
def test_labels_that_are_not_one_for_each_output_are_refused(
    labels: tuple[str, ...], artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    _sign(path, labels=labels)
    result = run("predict", path, png())
    assert (result.code, result.out) == (3, "")
    assert f"{len(labels)} labels for 10 outputs" in result.message


def test_a_contract_of_other_inputs_is_refused(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    (image,) = load(path).inputs
    larger = dataclasses.replace(image, shape=(1, 3, 64, 64))
    preprocessing = Preprocessing(resize=64, crop=64)
    _sign(path, inputs=(larger,), preprocessing=preprocessing)
    result = run("predict", path, png())
    assert result.code == 3
    assert "float32 (1, 3, 64, 64)" in result.message
    assert "float32 (1, 3, 32, 32)" in result.message


def test_a_contract_from_before_fits_is_read_as_it_was_meant(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    before = run("predict", path, png(), "--json").json
    data = json.loads(contract_path(path).read_text())
    for key in ("fit", "pad", "exif", "alpha"):
        del data["preprocessing"][key]
    assert data["preprocessing"]["crop"] == 32
    contracts.sign(path, data)
    assert run("predict", path, png(), "--json").json == before


def test_a_contract_may_ask_for_a_letterbox_over_white(
    artifacts: Artifacts, copied: Copied, run: CommandLine, tmp_path: Path
) -> None:
    """Whatever its shape, a transparent image is then one of the colour of the padding."""
    path = copied(artifacts["onnx", "fp32"])
    preprocessing = dataclasses.replace(
        load(path).preprocessing, fit="letterbox", resize=None, pad=255, alpha="white"
    )
    _sign(path, preprocessing=preprocessing)
    Image.new("RGBA", (9, 50), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (32, 32), (255, 255, 255)).save(tmp_path / "white.png")
    clear, white = run(
        "predict", path, tmp_path / "clear.png", tmp_path / "white.png", "--json"
    ).json["predictions"]
    assert clear["labels"] == white["labels"]
    assert "whole, within 32 px, padded with 255" in run("describe", path).out
