"""What holds of the apps of every platform, and what they refuse; through the command line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from app_files import edited
from command_line import CommandLine
from PIL import Image
from small_artifacts import Artifacts

from edgekit import registry, tables
from edgekit.contract import contract_path

PLATFORMS = tuple(tables.APPS.built_in)


@pytest.fixture
def artifact(artifacts: Artifacts, copied: Callable[[Path], Path]) -> Path:
    """A file of the trained network that platforms can run."""
    return copied(artifacts["tflite", "fp32"])


@pytest.fixture
def own(platform: str, artifact: Path, int8_files: Path, copied: Callable[[Path], Path]) -> Path:
    """A file that the platform can run."""
    if platform != "mcu":
        return artifact
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    (path,) = (int8_files / "int8").glob("*.tflite")
    return copied(path)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_app_has_all_that_it_needs(
    platform: str, own: Path, run: CommandLine, tmp_path: Path
) -> None:
    done = run("app", own, "--platform", platform, "-o", "made", "--json")
    assert done.code == 0, done.err
    folder = tmp_path / "made"
    files = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    assert done.json["files"] == files
    assert done.json["size_bytes"] == sum((folder / file).stat().st_size for file in files)
    mark = json.loads((folder / "edgekit-app.json").read_text())
    assert mark["artifact"]["sha256"] == done.json["sha256"]
    (golden,) = folder.rglob("golden.json")
    images = json.loads(golden.read_text())["images"]
    assert [each["file"] for each in images] == done.json["golden"]
    for each in images:
        assert (golden.parent / each["file"]).is_file()
        assert (golden.parent / each["pixels"]).is_file()
    readme = (folder / "README.md").read_text()
    assert own.name in readme
    assert not re.search(r"\$[a-z{]", readme)
    assert str(tmp_path) not in readme
    assert max(map(len, readme.splitlines())) < 500


@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_app_replaces_an_app_only(
    platform: str, own: Path, run: CommandLine, tmp_path: Path
) -> None:
    said = ("app", own, "--platform", platform, "-o", "made")
    (tmp_path / "made").mkdir()
    assert run(*said).code == 0  # an empty folder will do
    again = run(*said)
    assert again.code == 3
    assert again.message == "made holds an app already: give --overwrite to replace all of it"
    (tmp_path / "made" / "of-before").touch()
    assert run(*said, "--overwrite").code == 0
    assert not (tmp_path / "made" / "of-before").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    other = run("app", own, "--platform", platform, "-o", "other", "--overwrite")
    assert other.code == 3
    assert other.message == "other is not empty: name a new or an empty folder with -o"
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["letter.txt"]
    file = run("app", own, "--platform", platform, "-o", own)
    assert file.message == f"{own} is no folder: name a new one with -o"


def test_scores_of_the_network_are_golden_as_well(
    artifact: Path, trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    done = run("app", artifact, "--platform", "python", "-o", "made", "--against", trained_run)
    assert done.code == 0, done.err
    golden = json.loads((tmp_path / "made" / "golden" / "golden.json").read_text())
    for image in golden["images"]:
        assert set(image["scores"]) == {"file", "network"}
        assert image["least_db"]["network"] > 60


def test_a_network_that_gives_other_scores_is_refused(artifact: Path, tmp_path: Path) -> None:
    """Modules count as trained, whatever their weights are."""
    import torch

    import edgekit

    torch.manual_seed(3)
    other = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(8, 10),
    ).eval()  # fmt: skip
    with pytest.raises(edgekit.GateError, match=r"give other outputs for the golden images: .* dB"):
        edgekit.app(artifact, "python", tmp_path / "made", against=other)
    assert not (tmp_path / "made").exists()


def test_latencies_of_one_image_are_told_with_their_conditions(
    artifact: Path, run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from edgekit.measure.store import Store

    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    said = ("app", artifact, "--platform", "python", "-o", "made", "--overwrite")

    def told() -> str:
        assert run(*said).code == 0
        return (tmp_path / "made" / "README.md").read_text()

    assert "Nobody has measured it on this machine yet" in told()
    assert run("profile", artifact, "--time-limit", "20", "--seconds", "1").code == 0
    ((_, measured),) = Store().find()
    environment = {**measured.environment, "cpu": "Processor *9*"}
    single = dataclasses.replace(measured, environment=environment, reasons=("it was hot",))
    stable = dataclasses.replace(single, stable=True, reasons=())
    Store().add([dataclasses.replace(single, device="b1", stable=False)])
    text = told()
    if not measured.stable:
        assert "measured it on b1 (" in text
        assert "; not stable: it was hot." in text
    Store().add(
        [
            dataclasses.replace(stable, device="b2"),
            dataclasses.replace(single, device="b3", stable=False),
            dataclasses.replace(stable, device="b4", batch=8),
        ]
    )
    text = told()
    assert "measured it on b2 (" in text
    assert ", batch 1, " in text
    assert ", Processor \\*9\\*, " in text
    assert "not stable" not in text


def test_images_of_ones_own_are_golden_as_well(
    artifact: Path, run: CommandLine, tmp_path: Path
) -> None:
    one = tmp_path / "own.png"
    Image.new("RGB", (40, 50), "green").save(one)
    done = run("app", artifact, "--platform", "python", "-o", "made", "--image", one, "--json")
    assert done.json["golden"][-1] == "own.png"
    twice = run("app", artifact, "--platform", "python", "-o", "b", "--image", one, "--image", one)
    assert twice.message == "two golden images are called own.png: rename one"
    (tmp_path / "letter.png").write_text("dear")
    broken = run("app", artifact, "--platform", "python", "-o", "b", "--image", "letter.png")
    assert (broken.code, "letter.png" in broken.message) == (3, True)
    assert not (tmp_path / "b").exists()


def test_what_is_no_good_artifact_is_refused(
    artifact: Path, trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    def message(path: object, *more: object) -> str:
        done = run("app", path, "--platform", "python", "-o", "made", *more)
        assert done.code in (2, 3)
        assert not (tmp_path / "made").exists()
        return done.message

    assert "is no artifact: expected a file ending in" in message(trained_run)
    assert "--weights goes with --against only" in message(artifact, "--weights", "w.pth")
    assert (
        "unknown app 'playstation'"
        in run("app", artifact, "--platform", "playstation", "-o", "made").message
    )
    assert "is untrained: its scores are others each time" in message(
        artifact, "--against", "mobilenetv3-small"
    )
    edited(artifact, labels=["a", "b"])
    assert "the contract has 2 labels for 10 outputs" in message(artifact)
    edited(artifact, labels=None, preprocessing=None)
    assert "has no preprocessing: export it again" in message(artifact)
    contract = contract_path(artifact)
    contract.write_text(contract.read_text().replace("digits", "numbers"))
    assert "was edited after the export" in message(artifact)
    newer = json.loads(contract.read_text())
    contract.write_text(json.dumps({**newer, "schema": "edgekit.artifact/3"}))
    assert "it is of schema 'edgekit.artifact/3', of another edgekit" in message(artifact)
    contract.write_text("{")
    assert contract.name in message(artifact)
    contract.unlink()
    assert "has no contract" in message(artifact)
    assert "nowhere.onnx" in message("nowhere.onnx")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a proc file system")
def test_a_folder_that_cannot_be_made_is_named(
    artifact: Path, run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("precious")
    for out in ("/proc/edgekit/made", "file/made", "x" * 300):
        done = run("app", artifact, "--platform", "python", "-o", out)
        assert done.code == 3
        assert str(Path(out).parent if "/" in out else out) in done.message
        assert str(tmp_path) not in done.message  # it is named as it was given
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_classes_need_no_names(platform: str, own: Path, run: CommandLine, tmp_path: Path) -> None:
    edited(own, labels=None)
    done = run("app", own, "--platform", platform, "-o", "made")
    assert done.code == 0, done.err
    (golden,) = (tmp_path / "made").rglob("golden.json")
    for image in json.loads(golden.read_text())["images"]:
        assert {each["label"] for each in image["labels"]} == {None}


def test_an_openvino_file_is_copied_with_its_weights(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    path = artifacts["openvino", "fp32"]
    assert run("app", path, "--platform", "python", "-o", "made").code == 0
    names = {file.name for file in registry.target("openvino").files(path)}
    model = tmp_path / "made" / "classifier" / "model"
    assert {file.name for file in model.iterdir()} == {*names, contract_path(path).name}
    shutil.rmtree(tmp_path / "made")
