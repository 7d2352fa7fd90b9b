"""Images that cannot be classified, and strange ones that can."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from PIL import Image
from small_artifacts import Artifacts

Png = Callable[..., Path]


@pytest.fixture(params=["artifact", "checkpoint"])
def source(request: pytest.FixtureRequest, trained_run: Path) -> Path:
    if request.param == "checkpoint":
        return trained_run
    artifacts: Artifacts = request.getfixturevalue("artifacts")
    return artifacts["onnx", "fp32"]


def _png(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(30)))]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    return content


BAD_IMAGES = {
    "text": (b"no image at all\n", "is not an image, or its beginning is damaged"),
    "empty": (b"", "is not an image, or its beginning is damaged"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image"),
    "PDF": (b"%PDF-1.7\n", "is not an image"),
    "first rows only": (_png(40, 30), "is truncated or corrupt"),
    "bomb": (_png(60_000, 60_000), "60000 x 60000 px: expected at most 51 megapixels"),
    "widest": (_png(2**31 - 1, 2**31 - 1), "megapixels"),
    "no width": (_png(0, 30), "is not an image"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_file_that_is_no_image_is_named(
    kind: str, source: Path, run: CommandLine, tmp_path: Path
) -> None:
    content, expected = BAD_IMAGES[kind]
    (tmp_path / "bad.png").write_bytes(content)
    result = run("predict", source, "bad.png")
    assert (result.code, result.out) == (3, "")
    assert "'bad.png'" in result.message
    assert expected in result.message


def test_a_missing_image_is_named(source: Path, run: CommandLine) -> None:
    result = run("predict", source, "missing.png")
    assert (result.code, result.out) == (3, "")
    assert "image 'missing.png' does not exist" in result.message


def test_a_folder_without_images_is_named(source: Path, run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    result = run("predict", source, "folder.png")
    assert (result.code, result.out) == (3, "")
    assert "folder.png holds no images: expected files ending in .bmp" in result.message


def test_a_dangling_link_is_named(source: Path, run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("nowhere.png")
    result = run("predict", source, "link.png")
    assert (result.code, result.out) == (3, "")
    assert "'link.png' is a link that leads nowhere" in result.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_image_is_named(source: Path, run: CommandLine, png: Png) -> None:
    png().chmod(0)
    result = run("predict", source, "image.png")
    assert result.code == 3
    assert "'image.png' cannot be read" in result.message


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (1, 500), (20_000, 10), (20_000, 1), (1, 20_000), (20_000, 200)]
)
def test_an_image_of_any_size_is_classified(
    width: int, height: int, source: Path, run: CommandLine, tmp_path: Path
) -> None:
    Image.new("RGB", (width, height), (90, 120, 30)).save(tmp_path / "odd.png", compress_level=1)
    result = run("predict", source, "odd.png", "--json", "--top", "10")
    assert result.code == 0
    (prediction,) = result.json["predictions"]
    assert prediction["image"] == "odd.png"
    assert sum(label["probability"] for label in prediction["labels"]) == pytest.approx(1)


def test_what_was_predicted_before_a_bad_image_is_kept_beside_the_error(
    source: Path, run: CommandLine, png: Png
) -> None:
    png("good.png")
    result = run("predict", source, "good.png", "missing.png", "good.png", "--json")
    assert result.code == 3
    assert set(result.json) == {"schema", "predictions", "scores", "warnings", "error"}
    assert result.json["schema"] == "edgekit.predict/1"
    assert [p["image"] for p in result.json["predictions"]] == ["good.png"]
    assert (
        result.json["predictions"]
        == run("predict", source, "good.png", "--json").json["predictions"]
    )
    error = result.json["error"]
    assert (error["type"], error["exit_code"]) == ("DataError", 3)
    assert "missing.png" in error["message"]
    assert error["message"] == result.message


def test_names_that_are_no_valid_text_are_classified(
    artifacts: Artifacts, cli: CommandLine, png: Png, tmp_path: Path
) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        png().rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes valid text only")
    source = artifacts["onnx", "fp32"]
    text = cli("predict", source, name)
    assert text.code == 0
    assert text.out.startswith(r"caf\udce9.png")
    result = cli("predict", source, name, "--json")
    assert result.code == 0
    assert result.json["predictions"][0]["image"] == name
