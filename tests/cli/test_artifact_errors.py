"""Artifacts whose files or contracts are missing, altered, or of something else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

from edgekit import registry
from edgekit.contract import SCHEMA, contract_path, contract_text, load
from edgekit.core import Preprocessing, canonical_json

TARGETS = tuple(registry.TARGETS)
Copied = Callable[[Path], Path]
Png = Callable[..., Path]


def _sign(path: Path, **facts: Any) -> None:
    """Gives an artifact a contract that says something else and is in itself in order."""
    contract_path(path).write_text(contract_text(dataclasses.replace(load(path), **facts)))


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
    del data["contract_sha256"]
    data["tools"]["edgekit"] = "99.0"
    data["rotation"] = 90
    data["contract_sha256"] = hashlib.sha256(canonical_json(data).encode()).hexdigest()
    contract_path(path).write_text(json.dumps(data))
    result = run("predict", path, png())
    assert result.code == 3
    assert "was written by edgekit 99.0" in result.message
    assert "unknown key 'rotation'" in result.message


def test_a_key_that_only_another_edgekit_can_have_written_is_no_damage(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    data = json.loads(contract_path(path).read_text())
    del data["contract_sha256"]
    data["preprocessing"]["rotation"] = 90  # of the same version, as between two releases
    data["contract_sha256"] = hashlib.sha256(canonical_json(data).encode()).hexdigest()
    contract_path(path).write_text(json.dumps(data))
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


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "longer", "text"])
def test_altered_bytes_are_refused(
    target: str, damage: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts[target, "fp32"])
    file = registry.target(target).files(path)[-1]
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    damaged = {
        "flipped": content,
        "cut": content[: len(content) // 2],
        "empty": b"",
        "longer": content + b"\0",
        "text": b"this is no network\n",
    }
    file.write_bytes(damaged[damage])
    result = run("predict", path, png())
    assert (result.code, result.out) == (3, "")
    assert f"{path} is not the exported file any more (sha256 differs" in result.message
    assert "copy it again, or export again" in result.message


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_bytes_are_refused_where_nothing_tells_what_they_were(
    target: str, damage: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts[target, "fp32"])
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-2000], "empty": b"", "text": b"no network\n"}[damage])
    result = run("predict", path, png(), "--embedded")
    assert (result.code, result.out) == (3, "")
    assert str(path) in result.message


@pytest.mark.parametrize("command", ["predict", "describe"])
def test_a_missing_companion_is_named(
    command: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["openvino", "fp32"])
    path.with_suffix(".bin").unlink()
    result = run(command, path, *([png()] if command == "predict" else []))
    assert (result.code, result.out) == (3, "")
    assert f"{path.with_suffix('.bin')} does not exist" in result.message


@pytest.mark.parametrize("target", TARGETS)
def test_a_missing_artifact_is_named(target: str, run: CommandLine, png: Png) -> None:
    name = f"missing{registry.target(target).suffix}"
    for arguments in (["predict", name, png()], ["describe", name]):
        result = run(*arguments)
        assert (result.code, result.out) == (3, "")
        assert f"{name} does not exist" in result.message
    assert run("verify", name, "--against", "mobilenetv2").code == 3


def test_a_file_of_no_known_format_is_no_artifact(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "network.h5").write_bytes(b"\x89HDF")
    result = run("verify", "network.h5", "--against", "mobilenetv2")
    assert result.code == 3
    assert "network.h5 is no artifact: expected a file ending in .onnx, .xml, .tflite" in (
        result.message
    )


@pytest.mark.parametrize("command", ["predict", "evaluate", "verify", "describe"])
@pytest.mark.parametrize("name", ["net.onnx.rejected", "net.bin.rejected", "missing.xml.rejected"])
def test_a_rejected_file_is_told_from_other_files(
    name: str, command: str, run: CommandLine, png: Png, trained_run: Path, tmp_path: Path
) -> None:
    for file in ("net.onnx.rejected", "net.onnx.rejected.json", "net.bin.rejected"):
        (tmp_path / file).write_text("any content")
    more: dict[str, list[object]] = {
        "predict": [png()],
        "evaluate": ["--data", "digits"],
        "verify": ["--against", trained_run],
        "describe": [],
    }
    result = run(command, name, *more[command])
    assert (result.code, result.out) == (3, "")
    expected = {
        "net.onnx.rejected": "net.onnx.rejected failed its verification: "
        "see net.onnx.rejected.json, and export it again",
        "net.bin.rejected": "net.bin.rejected failed its verification: export it again",
        "missing.xml.rejected": "missing.xml.rejected does not exist: expected an exported file",
    }
    assert result.message == expected[name]


def test_a_file_that_its_runtime_cannot_set_up_is_named(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    path = copied(artifacts["tflite", "fp32"])
    content = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    graph = model.subgraphs[0]
    first = next(op for op in graph.operators if len(op.inputs) == 3)
    graph.tensors[first.inputs[1]].shape = [7, 1, 1, 5]  # a filter that fits no image
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    result = run("predict", path, png(), "--embedded")
    assert (result.code, result.out) == (3, "")
    assert f"{path} cannot be loaded by LiteRT: " in result.message
    assert len(result.message.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"crop": 0}, "'crop' is 0"),
        ({"crop": -32}, "'crop' is -32"),
        ({"crop": 10**9, "resize": 10**9}, "'crop' is 1000000000"),
        ({"resize": 16}, "'resize' is 16"),
        ({"resize": 10**9}, "'resize' is 1000000000"),
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
    facts = Preprocessing(resize=64, crop=64)
    _sign(path, inputs=(larger,), preprocessing=facts)
    result = run("predict", path, png())
    assert result.code == 3
    assert "float32 (1, 3, 64, 64)" in result.message
    assert "float32 (1, 3, 32, 32)" in result.message


def test_verify_names_classes_that_differ(artifacts: Artifacts, run: CommandLine) -> None:
    result = run("verify", artifacts["onnx", "fp32"], "--against", "module_that_is_missing:net")
    assert result.code == 3
    assert "module_that_is_missing" in result.message


def test_verify_against_another_network_fails_the_gate_and_keeps_the_file(
    artifacts: Artifacts, run: CommandLine
) -> None:
    path = artifacts["onnx", "fp32"]
    before = path.read_bytes()
    result = run("verify", path, "--against", "mobilenetv3-small", "--data", "digits", "--json")
    assert result.code == 4
    assert result.json["schema"] == "edgekit.verify/1"
    assert result.json["agreement"]["passed"] is False
    assert "does not agree with mobilenetv3-small" in result.message
    assert "first diverging layer: stem" in result.message
    assert "it was made from other weights" in result.message
    assert result.json["same_weights"] is False
    warnings = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "'mobilenetv3-small' is untrained" in warnings[0]
    assert f"{path} was made from other weights than those of 'mobilenetv3-small'" in warnings[1]
    assert path.read_bytes() == before


def test_verify_warns_of_an_untrained_reference_as_export_does(run: CommandLine) -> None:
    exported = run("export", "mobilenetv1@0.25", "-t", "openvino", "--resolution", "32")
    arguments = ("verify", "mobilenetv1@0.25-fp32.xml", "--against", "mobilenetv1@0.25")
    verified = run(*arguments, "--json")
    assert (exported.code, verified.code) == (0, 0)
    for text in (exported.err, verified.err):
        (warning,) = [line for line in text.splitlines() if line.startswith("warning: ")]
        assert "'mobilenetv1@0.25' is untrained: its weights are random" in warning
        assert "batch-norm biases set to 1" in warning
        assert "statistics set from noise" in warning
        assert "something else" in warning
    assert "biases set to 1" in verified.json["preparation"]
    assert verified.json["same_weights"] is None


@pytest.mark.parametrize("option", [["--weights", "w.pt"], ["--resolution", "64"]])
def test_options_of_networks_do_not_go_with_artifacts(
    option: list[str], artifacts: Artifacts, run: CommandLine, png: Png
) -> None:
    result = run("predict", artifacts["onnx", "fp32"], png(), *option)
    assert result.code == 2
    assert "is an artifact" in result.message
