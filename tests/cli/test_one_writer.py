"""Two commands at once that write one name: one file stays, and the other command is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

from edgekit import staging
from edgekit.contract import load
from edgekit.locks import RUN_LOCK, in_turn, one_writer

SMALL = "mobilenetv1@0.25"
EXPORT = ("export", SMALL, "-t", "onnx", "--resolution", "32")
MEASURE = ("--seconds", "1", "--energy", "off")

# What each command writes, and its words behind an artifact's measurements in the store.
WRITERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "export": (f"{SMALL}-fp32.onnx.json", EXPORT),
    "profile": ("m.json", ("profile", "ARTIFACT", *MEASURE, "-o", "m.json")),
    "compare": ("m.json", ("compare", "ARTIFACT", "ARTIFACT", "--seconds", "1", "-o", "m.json")),
    "report": ("page.html", ("report", "ARTIFACT", "-o", "page.html")),
    "export-profiles": ("t.csv", ("export-profiles", "-o", "t.csv")),
    "devices": (
        "config/edgekit/profiles/board/device.toml",
        ("devices", "add", "board", "--transport", "ssh://board"),
    ),
}


def hidden(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.mark.parametrize("command", WRITERS)
def test_a_file_that_appears_meanwhile_is_not_replaced(
    command: str,
    run: CommandLine,
    artifacts: Artifacts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, words = WRITERS[command]
    words = tuple(w.replace("ARTIFACT", str(artifacts["tflite", "fp32"])) for w in words)
    if command in ("report", "export-profiles"):
        assert run("profile", artifacts["tflite", "fp32"], *MEASURE).code == 0

    @contextmanager
    def late(path: Path) -> Iterator[None]:
        (tmp_path / name).write_text("of another process")
        with in_turn(path):
            yield

    monkeypatch.setattr(staging, "in_turn", late)
    result = run(*words)
    assert result.code == 3, result.err
    assert f"{Path(name).name} exists already" in result.message
    assert "--overwrite" in result.message
    assert (tmp_path / name).read_text() == "of another process"
    assert not (tmp_path / f"{SMALL}-fp32.onnx").exists()  # nor the part of it that came first
    assert hidden(tmp_path) == []
    assert run(*words, "--overwrite").code == 0
    assert (tmp_path / name).read_text() != "of another process"


def test_of_two_exports_at_once_one_is_refused(tmp_path: Path, package_env: dict[str, str]) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "edgekit", *EXPORT],
            cwd=tmp_path,
            env=package_env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 3], errors
    assert "exists already" in "".join(errors)
    assert load(tmp_path / f"{SMALL}-fp32.onnx").agreement is not None
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{SMALL}-fp32.onnx", f"{SMALL}-fp32.onnx.json"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["training", "demo"])
def test_a_folder_has_one_writer(name: str, run: CommandLine, tmp_path: Path) -> None:
    words = {
        "training": ("train", SMALL, "--data", "synthetic", "--epochs", "1", "--resolution", "32"),
        "demo": ("demo",),
    }[name]
    (tmp_path / "out").mkdir()
    with one_writer(tmp_path / "out", name):
        result = run(*words, "-o", "out")
        assert result.code == 2
        assert f"another {name} is at work in out: wait for it" in result.message
        assert [path.name for path in (tmp_path / "out").iterdir()] == [RUN_LOCK]
    assert list((tmp_path / "out").iterdir()) == []


def test_the_lock_of_a_process_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / RUN_LOCK).touch()
    with one_writer(tmp_path, "training"):
        assert hidden(tmp_path) == [tmp_path / RUN_LOCK]
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_files_are_published_all_or_none(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(staging.os, "link", _no_links)
    names = ("data", "main", "contract")
    finals = [tmp_path / name for name in names]
    (tmp_path / "main").write_text("earlier")

    def published(overwrite: bool) -> None:
        with staging.staging(tmp_path) as staged:
            for name in names:
                (staged / name).write_text("new")
            staging.publish(staged, finals, overwrite=overwrite)

    with pytest.raises(staging.OutputError, match="main exists already"):
        published(overwrite=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"main": "earlier"}
    published(overwrite=True)
    assert {path.read_text() for path in finals} == {"new"}
    for path in finals:
        path.unlink()
    published(overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def _no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")
