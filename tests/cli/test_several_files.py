"""Several files, and folders of files, in the place of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import copy_artifact


@pytest.fixture
def files(int8_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder ``f`` of exported files beside other things."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").mkdir()
    found = sorted(
        path for path in (int8_files / "float").iterdir() if path.suffix in (".onnx", ".tflite")
    )
    for path in found:
        copy_artifact(path, tmp_path / "f")
    (tmp_path / "f" / "notes.txt").write_text("mine")
    (tmp_path / "f" / "old.onnx.rejected").write_bytes(b"")
    return [f"f/{path.name}" for path in found]


def test_a_folder_is_verified_file_by_file(
    run: CommandLine, files: list[str], short_network: Path
) -> None:
    result = run("verify", "f", "--against", short_network)
    assert result.code == 0, result.err
    assert f"{len(files)} files passed" in result.out
    told = run("verify", "f", "--against", short_network, "--json").json
    assert [one["artifact"] for one in told["results"]] == files
    one = run("verify", files[0], "--against", short_network, "--json").json
    assert one["artifact"] == files[0]
    Path(files[0]).write_bytes(b"no network")
    broken = run("verify", *files, "--against", short_network, "--json")
    assert broken.code == 3
    assert len(broken.json["results"]) == len(files) - 1
    assert broken.json["failed"][0]["type"] in ("ContractError", "InputError")


def test_a_folder_is_evaluated_file_by_file(
    run: CommandLine, files: list[str], short_network: Path
) -> None:
    result = run("evaluate", "f", short_network, "--data", "digits")
    assert result.code == 0, result.err
    assert "± points" in result.out
    told = run("evaluate", "f", short_network, "--data", "digits", "--json").json
    assert [one["source"] for one in told["results"]] == [*files, str(short_network)]
    assert told["failed"] == []
    assert "source" in run("evaluate", files[0], "--data", "digits", "--json").json


def test_a_folder_is_profiled_in_turns(run: CommandLine, files: list[str]) -> None:
    told = run("profile", "f", "--seconds", 1, "--energy", "off", "--no-store", "--json")
    assert told.code == 0, told.err
    assert [one["artifact"] for one in told.json["measurements"]] == files


def test_a_folder_of_images_is_predicted(
    run: CommandLine, files: list[str], png: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "images" / "inner").mkdir(parents=True)
    shutil.move(png("b.png"), tmp_path / "images")
    shutil.move(png("a.png"), tmp_path / "images" / "inner")
    (tmp_path / "images" / "notes.txt").write_text("mine")
    told = run("predict", files[0], "images", png("last.png"), "--json").json
    names = [Path(one["image"]).name for one in told["predictions"]]
    assert names == ["b.png", "a.png", "last.png"]
    (tmp_path / "none").mkdir()
    none = run("predict", files[0], "none")
    assert none.code == 3
    assert "none holds no images: expected files ending in " in none.message


@pytest.mark.parametrize(
    "line",
    [
        ("verify", "empty", "--against", "mobilenetv2"),
        ("evaluate", "empty", "--data", "digits"),
        ("profile", "empty"),
    ],
)
def test_a_folder_without_files(line: tuple[str, ...], run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run(*line)
    assert result.code == 3
    assert "empty holds no exported file, and is no run folder" in result.message
