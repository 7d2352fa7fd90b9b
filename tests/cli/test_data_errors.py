"""Folders of images that cannot be used, or only in part."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine, Result
from PIL import Image

ImageFolder = Callable[..., Path]
SMALL = "mobilenetv1@0.25"
TRAIN = ("--epochs", "1", "--batch-size", "8", "--resolution", "32", "--threads", "1", "-o", "run")


@pytest.fixture(params=["evaluate", "train", "export", "verify"])
def use(
    request: pytest.FixtureRequest, run: CommandLine, trained_run: Path
) -> Callable[..., Result]:
    """Gives a data source to each of the commands that take one."""

    def call(data: object, *more: str) -> Result:
        if request.param == "evaluate":
            return run("evaluate", trained_run, "--data", data, *more)
        if request.param == "train":
            return run("train", SMALL, "--data", data, *TRAIN, *more)
        if request.param == "export":
            return run("export", SMALL, "-t", "onnx", "--data", data, "-o", "out", *more)
        artifacts = request.getfixturevalue("artifacts")
        path = artifacts["onnx", "fp32"]
        return run("verify", path, "--against", trained_run, "--data", data, *more)

    return call


def _assert_refused(result: Result, tmp_path: Path, *named: object, code: int = 3) -> None:
    assert (result.code, result.out) == (code, "")
    for text in named:
        assert str(text) in result.message
    assert not [*tmp_path.glob("run/model.pt"), *tmp_path.glob("out/*"), *tmp_path.glob("*/.*")]


def test_a_missing_folder_is_named(use: Callable[..., Result], tmp_path: Path) -> None:
    _assert_refused(use("pictures/of/cats"), tmp_path, "pictures/of/cats", "digits")


def test_a_misspelt_source_suggests_the_nearest(use: Callable[..., Result], tmp_path: Path) -> None:
    _assert_refused(use("digit"), tmp_path, "'digit'", "digits", code=2)


def test_an_empty_folder_says_what_was_expected(use: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _assert_refused(use("empty"), tmp_path, "'empty' has no class folders", "DIR/class/image.jpg")


def test_a_file_is_no_data_folder(use: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK")
    _assert_refused(use("data.zip"), tmp_path, "'data.zip' is a file, not a data folder")


def test_images_without_class_folders_are_refused(
    use: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "flat" / "a.png")
    _assert_refused(use("flat"), tmp_path, "'flat' has no class folders")


def test_one_class_is_too_few(
    use: Callable[..., Result], tmp_path: Path, image_folder: ImageFolder
) -> None:
    image_folder("single", "0")
    _assert_refused(use("single"), tmp_path, "'single' has one class only, '0'", "at least two")


def test_a_class_without_images_is_named(
    use: Callable[..., Result], tmp_path: Path, image_folder: ImageFolder
) -> None:
    image_folder("data", "0", "1")
    (tmp_path / "data" / "2").mkdir()
    (tmp_path / "data" / "2" / "notes.txt").write_text("no image")
    _assert_refused(use("data"), tmp_path, "data/2", "has no images")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def _text(path: Path) -> None:
    path.write_text("no image")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere.png"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": _truncated,
    "text": _text,
    "empty": _empty,
    "dangling link": _dangling,
    "pipe": _pipe,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_image_is_named_and_left_out_only_on_demand(
    damage: str, image_folder: ImageFolder, run: CommandLine, trained_run: Path
) -> None:
    folder = image_folder("data", "0", "1")
    DAMAGES[damage](folder / "1" / "03.png")
    strict = run("evaluate", trained_run, "--data", "data")
    assert (strict.code, strict.out) == (3, "")
    assert "data/1/03.png" in strict.message
    assert "--skip-corrupt" in strict.message
    lenient = run("evaluate", trained_run, "--data", "data", "--skip-corrupt", "--json")
    assert lenient.code == 0
    assert (lenient.json["n"], lenient.json["skipped"]) == (19, ["data/1/03.png"])
    assert "warning: skipped data/1/03.png" in lenient.err


@pytest.mark.parametrize("command", ["export", "verify"])
def test_a_bad_image_of_the_training_is_named_and_left_out_only_on_demand(
    command: str,
    image_folder: ImageFolder,
    checkpoint_of: Callable[..., Path],
    run: CommandLine,
    tmp_path: Path,
) -> None:
    folder = image_folder("data", "dark", "light", count=20)  # two of each class are for tests
    net = checkpoint_of("data", "dark", "light")
    arguments: tuple[object, ...] = ("export", net, "-t", "openvino", "-o", "out")
    if command == "verify":
        assert run(*arguments).code == 0
        arguments = ("verify", f"out/{SMALL}-fp32.xml", "--against", net)
    from edgekit.data.folder import FolderSource

    bad = FolderSource(folder).paths("test")[0]
    _truncated(bad)
    strict = run(*arguments)
    assert (strict.code, strict.out) == (3, "")
    shown = bad.relative_to(tmp_path)
    assert str(shown) in strict.message
    assert "--skip-corrupt" in strict.message
    lenient = run(*arguments, "--skip-corrupt", "--json")
    assert lenient.code == 0
    assert f"warning: skipped {shown}: it cannot be used" in lenient.err
    assert lenient.json["skipped"] == [str(shown)]
    entry = lenient.json["artifacts"][0] if command == "export" else lenient.json
    about = entry["verified_on"] if command == "export" else entry["data"]
    assert about == "39 images of data and 61 of noise"
    assert entry["agreement"]["n"] == 100


@pytest.mark.parametrize("damage", ["truncated", "dangling link"])
def test_training_names_a_bad_image_and_leaves_it_out_only_on_demand(
    damage: str, image_folder: ImageFolder, run: CommandLine, tmp_path: Path
) -> None:
    folder = image_folder("data", "dark", "light")
    DAMAGES[damage](folder / "dark" / "05.png")
    strict = run("train", SMALL, "--data", "data", *TRAIN)
    assert (strict.code, strict.out) == (3, "")
    assert "data/dark/05.png" in strict.message
    assert "--skip-corrupt" in strict.message
    assert not (tmp_path / "run" / "model.pt").exists()
    again = run("train", SMALL, "--data", "data", *TRAIN, "--overwrite", "--skip-corrupt", "--json")
    assert again.code == 0
    assert (tmp_path / "run" / "model.pt").exists()
    assert "05.png" in again.err


def test_a_class_of_bad_images_only_cannot_be_left_out(
    image_folder: ImageFolder, run: CommandLine, trained_run: Path
) -> None:
    folder = image_folder("data", "0", "1", count=3)
    for path in (folder / "1").iterdir():
        _text(path)
    result = run("evaluate", trained_run, "--data", "data", "--skip-corrupt")
    assert (result.code, result.out) == (3, "")
    assert "class '1' of data folder 'data' holds no readable image" in result.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_named(
    image_folder: ImageFolder, run: CommandLine, trained_run: Path
) -> None:
    (image_folder("data", "0", "1") / "0" / "00.png").chmod(0)
    result = run("evaluate", trained_run, "--data", "data")
    assert result.code == 3
    assert "data/0/00.png" in result.message
    assert "cannot be read" in result.message


def test_a_class_that_the_network_does_not_know_is_named(
    image_folder: ImageFolder, run: CommandLine, trained_run: Path
) -> None:
    image_folder("data", "0", "cat")
    result = run("evaluate", trained_run, "--data", "data")
    assert result.code == 3
    assert "class 'cat' of 'data' is none of the 10 classes" in result.message


def test_classes_that_differ_in_number_are_named(run: CommandLine) -> None:
    result = run("evaluate", SMALL, "--data", "synthetic", "--resolution", "32")
    assert result.code == 3
    assert "1,000 outputs" in result.message
    assert "4 classes" in result.message


def test_an_unknown_split_is_named(run: CommandLine, trained_run: Path) -> None:
    result = run("evaluate", trained_run, "--data", "digits", "--split", "tests")
    assert result.code == 2
    assert "'tests'" in result.message
    assert "test" in result.message.replace("tests", "")


def test_images_that_are_smaller_than_the_input_are_enlarged(
    run: CommandLine, image_folder: ImageFolder, module: Callable[[str], str]
) -> None:
    image_folder("data", "0", "1", count=3)
    name = module(
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(1), nn.LazyLinear(2))\n"
    )
    result = run("evaluate", f"{name}:net", "--data", "data", "--resolution", "64", "--json")
    assert result.code == 0
    assert result.json["n"] == 6


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "LA", "1", "I;16"])
def test_images_of_every_mode_are_evaluated(
    mode: str, image_folder: ImageFolder, run: CommandLine, trained_run: Path
) -> None:
    folder = image_folder("data", "0", "1", count=3)
    suffix = ".jpg" if mode == "CMYK" else ".png"
    pixels = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24)
    image = Image.fromarray(pixels * 100) if mode == "I;16" else Image.new(mode, (24, 24))
    image.save(folder / "0" / f"odd{suffix}")
    result = run("evaluate", trained_run, "--data", "data", "--json")
    assert (result.code, result.json["n"]) == (0, 7)


def test_too_few_images_to_train_on_are_refused(
    image_folder: ImageFolder, run: CommandLine, tmp_path: Path
) -> None:
    image_folder("data", "0", "1", count=1)
    result = run("train", SMALL, "--data", "data", *TRAIN)
    assert (result.code, result.out) == (3, "")
    assert "'data'" in result.message
    assert not (tmp_path / "run").exists()


def test_a_folder_that_vanishes_after_training_is_no_obstacle_to_exporting(
    image_folder: ImageFolder, run: CommandLine
) -> None:
    folder = image_folder("data", "dark", "light")
    assert run("train", SMALL, "--data", "data", *TRAIN).code == 0
    shutil.rmtree(folder)
    result = run("export", "run", "--target", "onnx", "--json")
    assert result.code == 0
    assert "'data'" in result.json["artifacts"][0]["verified_on"]
