"""Apps in Python, run and tested from their own folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from app_files import FileOf, check_labels, edited
from command_line import CommandLine
from packaging.specifiers import SpecifierSet
from PIL import Image
from small_artifacts import Artifacts, copy_artifact

from edgekit import tables
from edgekit.contract import contract_path


def inside(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs this Python in an app's folder, where it finds no edgekit but the app."""
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=300,
        env={"PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["fp32", "float", "int8", "baked"])
@pytest.mark.parametrize("target", tables.TARGETS.built_in)
def test_an_app_runs_and_passes_its_own_test(
    target: str,
    kind: str,
    file_of: FileOf,
    run: CommandLine,
    tmp_path: Path,
) -> None:
    path = file_of(target, kind)
    assert run("app", path, "--platform", "python", "-o", "made").code == 0
    folder = tmp_path / "made"
    tested = inside(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert "passed" in tested.stdout
    assert "skipped" not in tested.stdout
    images = sorted((folder / "golden").glob("*.pixels.png"))
    own = inside(folder, "-m", "classifier", "--json", *map(str, images))
    assert own.returncode == 0, own.stderr
    expected = run("predict", path, *images, "--json").json["predictions"]
    check_labels([json.loads(line)["labels"] for line in own.stdout.splitlines()], expected)


def test_a_wrong_app_fails_its_test_and_the_name_says_where(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifacts["tflite", "fp32"], "--platform", "python", "-o", "made").code == 0
    folder = tmp_path / "made"

    def failing(file: str, old: str, new: str) -> set[str]:
        path = folder / "classifier" / file
        text = path.read_text()
        assert text.count(old) >= 1
        path.write_text(text.replace(old, new))
        tested = inside(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        path.write_text(text)
        failed = [line for line in tested.stdout.splitlines() if line.startswith("FAILED")]
        return {line.split("::")[1].partition("[")[0].partition(" ")[0] for line in failed}

    assert failing("preprocess.py", "(0, top, size[1], bottom)", "(0, 0, size[1], height)") == {
        "test_pixels"
    }
    assert failing("preprocess.py", "found /= ", "found *= ") == {"test_scores"}
    assert failing("decode.py", "np.exp(", "np.exp2(") == {"test_labels", "test_vectors_of_scores"}
    assert failing("decode.py", '"stable")[:most]', '"stable")[:0]') == {"test_labels"}
    assert "test_vectors_of_scores" in failing(
        "decode.py", "/ shares.sum()", "/ shares.sum() * np.nan"
    )


def test_a_file_for_another_kind_of_processor_is_told(
    file_of: FileOf, run: CommandLine, tmp_path: Path
) -> None:
    """Its scores may be near enough: within the bound of files of integers."""
    path = copy_artifact(file_of("onnx", "float"), tmp_path)
    scheme = json.loads(contract_path(path).read_text())["scheme"]
    assert scheme["isa"].startswith("x86")
    edited(path, scheme={**scheme, "isa": "arm"})
    assert run("app", path, "--platform", "python", "-o", "made").code == 0
    tested = inside(tmp_path / "made", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    failed = [line for line in tested.stdout.splitlines() if line.startswith("FAILED")]
    assert [line.split("::")[1].split()[0] for line in failed] == ["test_processor"]
    assert "the model was written for arm, and this is x86" in tested.stdout


def test_what_is_refused_is_a_sentence(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    path = copy_artifact(artifacts["tflite", "fp32"], tmp_path)
    edited(path, labels=None)
    assert run("app", path, "--platform", "python", "-o", "made").code == 0
    folder = tmp_path / "made"
    (folder / "letter.png").write_text("dear")
    Image.new("1", (10_000, 10_000)).save(folder / "large.png")
    content = (folder / "golden" / "turned.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    images = ("letter.png", "large.png", "cut.jpg", "nowhere.png", "golden", "golden/wide.png")
    done = inside(folder, "-m", "classifier", *images)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith(images)]
    assert said[:2] == [
        "letter.png: it is no image: expected a JPEG, PNG, BMP, WebP or GIF file",
        "large.png: the image is too large: expected at most 51 megapixels",
    ]
    assert said[2].startswith("cut.jpg: the image is damaged: ")
    assert said[3] == "nowhere.png: there is no such file"
    assert said[4] == "golden: it cannot be read: Is a directory"
    assert len(said) == 5
    shown = done.stdout.splitlines()
    assert shown[0].startswith("golden/wide.png")
    assert all(" class " in line for line in shown[1:])  # which have no names


def test_names_of_classes_are_shown_on_one_line_whatever_is_in_them(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    source = artifacts["tflite", "fp32"]
    path = tmp_path / f"renamed #1 %20{source.suffix}"
    path.write_bytes(source.read_bytes())
    contract_path(path).write_bytes(contract_path(source).read_bytes())
    names = [
        "\"q'",
        "<b>&amp;",
        "two\nlines",
        "\u202eright",
        "\x1b[31m",
        "${x}",
        "`",
        "a\\b",
        "",
        "é",
    ]
    edited(path, labels=names)
    assert run("app", path, "--platform", "python", "-o", "made").code == 0
    shown = inside(tmp_path / "made", "-m", "classifier", "--top", "10", "golden/wide.png")
    lines = shown.stdout.splitlines()
    assert len(lines) == 11, shown.stdout + shown.stderr
    assert "\x1b" not in shown.stdout
    assert "\\u202eright" in shown.stdout
    assert "two\\u000alines" in shown.stdout
    golden = json.loads((tmp_path / "made" / "golden" / "golden.json").read_text())
    assert {each["label"] for each in golden["images"][0]["labels"]} <= set(names)
    assert np.isfinite(golden["images"][0]["scores"]["file"]).all()


@pytest.mark.parametrize("target", tables.TARGETS.built_in)
def test_a_readme_names_the_python_that_the_packages_need(
    target: str, artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifacts[target, "fp32"], "--platform", "python", "-o", "made").code == 0
    told = re.search(r"Python (3[.\d]*\d) or later", (tmp_path / "made/README.md").read_text())
    assert told is not None
    for line in (tmp_path / "made/requirements.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        found = metadata.distribution(name)
        assert found.version == version
        needed = SpecifierSet(found.metadata.get("Requires-Python") or "")
        assert needed.contains(told[1]), line
    assert told[1] in ("3.9", *(f"3.{minor}" for minor in range(10, sys.version_info[1] + 1)))


@pytest.mark.apps
def test_an_app_runs_with_nothing_but_what_its_readme_installs(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifacts["onnx", "fp32"], "--platform", "python", "-o", "made").code == 0
    made = subprocess.run([sys.executable, "-m", "venv", tmp_path / "own"], capture_output=True)
    if made.returncode:
        pytest.skip("this Python makes no environments: python3-venv is missing")
    python = tmp_path / "own" / "bin" / "python"
    for words in (
        ("-m", "pip", "install", "-q", "-r", "requirements.txt"),
        ("-m", "pip", "install", "-q", "pytest"),
        ("-m", "pytest", "-q"),
        ("-m", "classifier", "golden/wide.png"),
    ):
        done = subprocess.run(
            [python, *words], cwd=tmp_path / "made", capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
