"""Artifacts whose files are missing, altered, rejected, or of something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

from edgekit import registry, tables

TARGETS = tuple(tables.TARGETS)
Copied = Callable[[Path], Path]
Png = Callable[..., Path]


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
