"""Artifacts of several files: all commands know all of them, and name the one that is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from damage import contracts, tflite_files
from external_data import artifact_with_external_data, rename_to
from small_artifacts import Artifacts

from edgekit import registry
from edgekit.contract import contract_path, digest, load
from exporters import onnx as onnx_target

Copied = Callable[[Path], Path]
Png = Callable[..., Path]
Laid = Callable[[str], tuple[Path, Path]]

COMMANDS = ("predict", "evaluate", "verify", "describe", "profile", "compare", "report")
TARGETS = ("onnx", "openvino")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def laid(artifacts: Artifacts, copied: Copied) -> Laid:
    """An artifact of a target in the test's folder, and the file of its weights beside it."""

    def lay(target: str) -> tuple[Path, Path]:
        path = copied(artifacts[target, "fp32"])
        if target == "onnx":
            return path, artifact_with_external_data(path)
        return path, path.with_suffix(".bin")

    return lay


@pytest.fixture
def words(trained_run: Path, png: Png) -> Callable[[str, Path], list[object]]:
    """What to run a command with on an artifact."""

    def found(command: str, path: Path) -> list[object]:
        more: dict[str, list[object]] = {
            "predict": [png()],
            "evaluate": ["--data", "digits"],
            "verify": ["--against", trained_run, "--per-layer"],
            "profile": ["--per-op", "--batch", 2, "--seconds", 1],
            "compare": [path, "--seconds", 1],
            "report": ["-o", "page.html"],
        }
        return [command, path, *more.get(command, [])]

    return found


Words = Callable[[str, Path], list[object]]


def test_every_command_reads_all_files(laid: Laid, words: Words, run: CommandLine) -> None:
    path, _ = laid("onnx")
    for command in COMMANDS:
        result = run(*words(command, path))
        assert result.code == 0, (command, result.err)


def test_a_file_that_is_cut_short_beside_it_is_named(
    laid: Laid, words: Words, run: CommandLine
) -> None:
    path, beside = laid("onnx")
    size = beside.stat().st_size
    os.truncate(beside, size - 1)
    contract_path(path).unlink()
    for command in ("profile", "compare", "describe"):
        result = run(*words(command, path))
        assert result.code == 3, command
        what = f"{beside} has {size - 1:,} bytes, and {path} has weights up to byte {size:,} of it"
        assert f"{what}: it is cut short" in result.message


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_that_is_missing_beside_it_is_named(
    target: str, laid: Laid, words: Words, run: CommandLine
) -> None:
    path, beside = laid(target)
    beside.unlink()
    for command in COMMANDS:
        result = run(*words(command, path))
        assert (result.code, result.out) == (3, ""), command
        assert result.message == (
            f"{path} needs {beside.name} beside it, which is missing: put both into one folder"
        ), command


@pytest.mark.parametrize("target", TARGETS)
def test_other_bytes_beside_it_are_other_bytes(
    target: str, laid: Laid, words: Words, run: CommandLine
) -> None:
    path, beside = laid(target)
    (found,) = run("profile", path, "--seconds", 1, "--json").json["measurements"]
    assert found["size_bytes"] == path.stat().st_size + beside.stat().st_size
    assert found["sha256"] == digest([path, beside]) == load(path).sha256
    content = bytearray(beside.read_bytes())
    content[len(content) // 2] ^= 1
    beside.write_bytes(content)
    for command in ("predict", "evaluate", "verify", "describe", "profile", "compare"):
        result = run(*words(command, path))
        assert result.code == 3, command
        assert "is not the exported file any more (sha256 differs" in result.message, command
    assert f"{path} has no measurement in" in run(*words("report", path)).message


@pytest.mark.parametrize("name", ["../secret", "/dev/stdin", "sub/../../secret", "a\nb"])
def test_a_name_that_leads_outside_is_refused(
    name: str, laid: Laid, words: Words, run: CommandLine, tmp_path: Path
) -> None:
    path, beside = laid("onnx")
    (tmp_path.parent / "secret").write_bytes(beside.read_bytes())
    rename_to(path, name)
    for command in COMMANDS:
        result = run(*words(command, path))
        assert (result.code, result.out) == (3, ""), command
        assert f"{path} wants weights from a file that no network may name" in result.message


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_no_file_beside_it_is_refused(
    target: str, kind: str, laid: Laid, words: Words, run: CommandLine, tmp_path: Path
) -> None:
    path, beside = laid(target)
    if kind == "link":
        if target == "openvino":
            pytest.skip("its name is that of the main file, and a link is the user's own")
        shutil.move(beside, tmp_path.parent / "elsewhere")
        beside.symlink_to(tmp_path.parent / "elsewhere")
    else:
        beside.unlink()
        beside.mkdir() if kind == "folder" else os.mkfifo(beside)
    expected = {
        "link": f"{path} needs '{beside.name}' beside it, which is a link to another folder",
        "pipe": f"{beside} is a pipe: expected a regular file",
        "folder": f"{beside} is a folder: expected a file",
    }
    for command in COMMANDS:
        result = run(*words(command, path))
        assert (result.code, result.out) == (3, ""), command
        assert expected[kind] in result.message, command


def test_a_file_without_a_contract_needs_its_companions_too(laid: Laid, run: CommandLine) -> None:
    path, beside = laid("onnx")
    contract_path(path).unlink()
    assert run("profile", path, "--seconds", 1).code == 0
    beside.unlink()
    result = run("profile", path, "--seconds", 1)
    assert result.code == 3
    assert f"needs {beside.name} beside it, which is missing" in result.message


@pytest.mark.parametrize("name", ["weights.bin", "../secret"])
def test_an_export_replaces_a_file_whatever_lies_beside_it(
    name: str, laid: Laid, run: CommandLine, trained_run: Path
) -> None:
    path, beside = laid("onnx")
    kept = beside.read_bytes()
    rename_to(path, name)
    words = ("export", trained_run, "-t", "onnx", "-o", path.parent)
    result = run(*words)
    assert result.code == 3
    assert f"{path} exists already: give --overwrite" in result.message
    result = run(*words, "--overwrite")
    assert result.code == 0, result.err
    assert registry.target("onnx").files(path) == (path,)
    assert load(path).size_bytes == path.stat().st_size
    assert beside.read_bytes() == kept  # another network may need it


@pytest.mark.parametrize("command", COMMANDS)
def test_weights_outside_of_a_tflite_file_are_refused(
    command: str,
    artifacts: Artifacts,
    copied: Copied,
    words: Callable[[str, Path], list[object]],
    run: CommandLine,
) -> None:
    """LiteRT's interpreter does not read them, wherever they lie and whatever is said of them."""
    path = copied(artifacts["tflite", "fp32"])
    whole = path.read_bytes()
    names = {"weights.bin": "weights.bin", "../x\x1b[31m": "../x\\x1b[31m", "a" * 10**5: "a" * 40}
    for name, shown in names.items():
        path.write_bytes(whole)
        tflite_files.elsewhere(path, name, {"offset": 2**63, "group": 7} if len(name) > 99 else {})
        contracts.resign(path)
        result = run(*words(command, path))
        assert (result.code, result.out) == (3, "")
        assert f"{path} keeps weights in other files ({shown}" in result.message
        assert "have its converter write them into the file itself" in result.message
        assert result.message.isprintable()
        assert len(result.message) < 500


def test_a_tflite_file_with_its_weights_behind_the_tree_is_as_any(
    artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png, trained_run: Path
) -> None:
    path, image = copied(artifacts["tflite", "fp32"]), png()
    before = run("predict", path, image, "--json").json
    layers = ("verify", path, "--against", trained_run, "--per-layer", "--json")
    told = run(*layers).json["layers"]
    tflite_files.behind(path)
    contracts.resign(path)
    assert run("predict", path, image, "--json").json == before
    assert run("predict", path, image, "--embedded", "--json").json == before
    assert run(*layers).json["layers"] == told
    measured = run("profile", path, "--per-op", "--seconds", 1, "--json").json["measurements"]
    assert measured[0]["operators"]
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-5000])
    contracts.resign(path)
    result = run("predict", path, image)
    assert result.code == 3
    assert str(path) in result.message


def test_weights_that_no_onnx_file_holds_are_refused(
    run: CommandLine, trained_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onnx_target, "LARGEST_WEIGHTS", 1000)
    result = run("export", trained_run, "-t", "onnx", "-o", tmp_path / "out")
    assert result.code == 3
    assert "GiB of weights, and an ONNX file holds" in result.message
    assert "export it to another target" in result.message
    assert not list(tmp_path.glob("out/*"))
