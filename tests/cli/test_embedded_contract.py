"""The contract inside an artifact, for files that have lost the one beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

from edgekit import tables
from edgekit.contract import contract_path

SMALL = "mobilenetv1@0.25"
TARGETS = tuple(tables.TARGETS)
Copied = Callable[[Path], Path]
Png = Callable[..., Path]


@pytest.mark.parametrize("target", TARGETS)
def test_the_embedded_contract_serves_without_the_other(
    target: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png, trained_run: Path
) -> None:
    original = artifacts[target, "fp32"]
    path, image = copied(original), png()
    contract_path(path).unlink()
    assert run("predict", path, image).code == 3
    inside = run("predict", path, image, "--embedded", "--json")
    beside = run("predict", original, image, "--json")
    assert inside.code == 0
    assert inside.json == beside.json
    assert run("evaluate", path, "--data", "digits", "--embedded").code == 0
    assert run("verify", path, "--against", trained_run, "--embedded").code == 0
    described = run("describe", path, "--embedded", "--json")
    assert described.code == 0
    whole = run("describe", original, "--json").json
    only_of_the_file = dict.fromkeys(("sha256", "size_bytes", "agreement"))
    expected = {**whole["artifact"], **only_of_the_file, "path": path.name}
    assert described.json == {**whole, "artifact": expected}


@pytest.mark.parametrize("command", ["describe", "evaluate", "predict"])
def test_a_network_has_no_embedded_contract(command: str, run: CommandLine, png: Png) -> None:
    more = {"describe": [], "evaluate": ["--data", "digits"], "predict": [png()]}
    result = run(command, SMALL, *more[command], "--embedded")
    assert (result.code, result.out) == (2, "")
    assert f"'{SMALL}' is no artifact: --embedded goes with artifacts only" in result.message


def test_embedded_contracts_serve_for_the_artifacts_of_a_comparison(
    artifacts: Artifacts, copied: Copied, run: CommandLine
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    contract_path(path).unlink()
    assert run("describe", SMALL, "--compare", path).code == 3
    found = run("describe", SMALL, "--compare", path, "--embedded", "--json")
    assert found.code == 0
    alone = run("describe", path, "--embedded", "--json").json
    assert found.json["other"]["params"] == alone["params"]


def test_help_says_what_the_embedded_contract_cannot_show(run: CommandLine) -> None:
    for command in ("describe", "predict", "evaluate", "verify"):
        text = " ".join(run(command, "--help").out.split())
        assert "--embedded" in text
        assert "bytes are then not checked" in text


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_that_edgekit_did_not_write_says_so(
    target: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts[target, "fp32"])
    contract_path(path).unlink()
    _remove_embedded(target, path)
    beside, inside = run("predict", path, png()), run("predict", path, png(), "--embedded")
    assert (beside.code, inside.code) == (3, 3)
    assert "the file was not written by edgekit" in beside.message
    assert "has no contract inside: it was not written by edgekit" in inside.message


def _remove_embedded(target: str, path: Path) -> None:
    if target == "onnx":
        import onnx

        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, path)
    else:
        # The same length, so that offsets inside the file hold.
        key, other = {
            "tflite": (b"edgekit.contract", b"another.contract"),
            "openvino": (b"<edgekit>", b"<another>"),
        }[target]
        content = path.read_bytes().replace(key, other)
        path.write_bytes(content.replace(b"</edgekit>", b"</another>"))
