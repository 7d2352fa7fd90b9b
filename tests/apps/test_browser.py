"""Apps for browsers in a headless Chromium; see ``make apps-test``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from app_files import FileOf, TaskFiles, check_labels, edited
from command_line import CommandLine
from PIL import Image
from small_artifacts import Artifacts, copy_artifact

from edgekit.contract import contract_path

pytestmark = pytest.mark.apps

PACKAGES = Path(__file__).parents[2] / ".apps" / "node_modules"
NODE = shutil.which("node")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
LOOK = Path(__file__).with_name("look.mjs")

NAMES = [
    "\"q'",
    "<b>bold</b><img src=x onerror=alert(1)>",
    "two\nlines",
    "\u202eright to left",
    "\u0633\u0645\u0643\u0629",
    "${x}",
    "\x1b[31m`\u2066\x85",
    "a\\b",
    "",
    "a name that is so long that it has to be broken " * 3,
]


@pytest.fixture(autouse=True)
def _needs() -> None:
    if NODE is None:
        pytest.skip("there is no node")
    if not PACKAGES.is_dir():
        pytest.skip("npm packages are missing: make apps-test")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: install it, or name it with CHROMIUM=PATH")


def node(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NODE), *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300,
        env={**os.environ, "CHROMIUM": str(CHROMIUM)},
    )  # fmt: skip


def vendored(folder: Path) -> None:
    """Gives an app the packages that are here."""
    (folder / "node_modules").symlink_to(PACKAGES)
    done = node("vendor.mjs", cwd=folder)
    assert done.returncode == 0, done.stderr


def look(folder: Path, what: str, *words: object) -> Any:
    """What `look.mjs` sees of a page."""
    done = node(LOOK, folder, what, *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(name="page")
def _page(artifacts: Artifacts, run: CommandLine, tmp_path: Path) -> Path:
    """An app that is complete, of classes with names that have all there is in names."""
    copy = copy_artifact(artifacts["tflite", "fp32"], tmp_path)
    path = copy.with_name(f"renamed #1 %20{copy.suffix}")
    copy.rename(path)
    contract_path(copy).rename(contract_path(path))
    edited(path, labels=NAMES)
    assert run("app", path, "--platform", "web", "-o", "page").code == 0
    vendored(tmp_path / "page")
    return tmp_path / "page"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("tflite", "fp32"),
        ("tflite", "float"),
        ("onnx", "fp32"),
        ("onnx", "float"),
        ("onnx", "int8"),  # of int8 inputs, which LiteRT.js does not take
        ("tflite", "baked"),
        ("onnx", "baked"),
    ],
)
def test_an_app_passes_its_own_test(
    target: str,
    kind: str,
    file_of: FileOf,
    run: CommandLine,
    tmp_path: Path,
) -> None:
    path = file_of(target, kind, baked="fp32")
    assert run("app", path, "--platform", "web", "-o", "made").code == 0
    folder = tmp_path / "made"
    vendored(folder)
    done = node(
        "--test", "--test-reporter", "tap", "tests/golden.test.mjs", "tests/results.test.mjs",
        "tests/browser.test.mjs", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "# skipped 0" in done.stdout
    images = sorted((folder / "golden").glob("*.pixels.png"))
    seen = look(folder, "scores", *images)
    expected = run("predict", path, *images, "--json").json["predictions"]
    check_labels(seen, expected)


@pytest.mark.parametrize(("task", "target"), [("detect", "tflite"), ("segment", "onnx")])
def test_an_app_of_another_task_passes_its_own_test(
    task: str, target: str, task_files: TaskFiles, run: CommandLine, tmp_path: Path
) -> None:
    made = run("app", task_files(task, target), "--platform", "web", "-o", "made")
    assert made.code == 0, made.err
    folder = tmp_path / "made"
    vendored(folder)
    tests = [f"tests/{name}.test.mjs" for name in ("golden", "results", "browser")]
    done = node("--test", "--test-reporter", "tap", *tests, cwd=folder)
    assert done.returncode == 0, done.stdout
    assert "# skipped 0" in done.stdout


def test_images_come_by_drop_and_by_keyboard_and_results_are_told(page: Path) -> None:
    seen = look(page, "use")
    assert seen["outside"] == []  # addresses that are not the app's
    assert seen["isolated"]
    assert seen["focused"] == ["Choose an image", "Use the camera"]
    for way in ("dropped", "chosen"):
        names = seen[way]["names"]
        assert len(names) == 5, way
        assert set(names) <= {*NAMES, f"class {NAMES.index('')}"}
        assert "ms preparing + " in seen[way]["times"]
        assert seen[way]["picture"] == "wide.png"
        assert "list" in seen[way]["tree"]
        assert "img" in seen[way]["tree"]
    assert seen["live"] == "polite"
    assert seen["elements"] == 0  # of HTML in names


def test_the_page_says_that_it_gets_ready_and_shows_what_came_meanwhile(page: Path) -> None:
    seen = look(page, "early")
    loading, getting, ready = seen["said"]
    assert loading.startswith("Loading.")
    assert getting == "Getting ready …"
    assert seen["status"] == ready
    assert ready.startswith("Ready: ")
    assert "fp32, in LiteRT.js with " in ready
    assert (len(seen["names"]), seen["picture"]) == (5, "early.png")


def test_names_of_classes_are_shown_as_text(page: Path) -> None:
    seen = look(page, "names")
    assert sorted(seen["names"]) == sorted(name or "class 8" for name in NAMES)
    assert seen["elements"] == 0
    assert seen["alerts"] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("letter.png", "It is no image: expected a JPEG, PNG, BMP, WebP or GIF file."),
        ("empty.jpg", "It is no image: expected a JPEG, PNG, BMP, WebP or GIF file."),
        ("large.png", "The image is 10000 x 10000 px, which is too large: expected at most 51"),
        ("cut.jpg", "The image is damaged, or of a kind that this browser does not know."),
    ],
)
def test_a_file_that_is_no_good_image_is_a_sentence(
    content: str, message: str, page: Path, tmp_path: Path
) -> None:
    file = tmp_path / content
    if content == "letter.png":
        file.write_text("dear")
    elif content == "empty.jpg":
        file.touch()
    elif content == "large.png":
        Image.new("1", (10_000, 10_000)).save(file)
    else:
        Image.new("RGB", (500, 500), "red").save(file)
        file.write_bytes(file.read_bytes()[:650])
    seen = look(page, "file", file)
    assert seen["message"].startswith(message)
    assert seen["names"] == []


def test_a_camera_takes_pictures_or_is_a_sentence(page: Path) -> None:
    seen = look(page, "camera")
    assert len(seen["names"]) == 5
    assert seen["picture"] == "From the camera"
    assert seen["stopped"]
    assert seen["refused"].startswith("The camera was refused: allow it for this page, or choose")
    assert seen["absent"].startswith("This page may not use a camera (that needs https")


def test_what_is_missing_is_a_sentence(page: Path) -> None:
    shutil.rmtree(page / "classifier" / "vendor")
    # The test's own server starts the page all the same.
    seen = look(page, "start")
    assert seen["message"] == (
        "The runtime is missing: type “npm install” and “npm run vendor” in the app's folder, and "
        "load this page again."
    )
    assert seen["disabled"]


def test_a_plain_server_will_do(page: Path) -> None:
    seen = look(page, "plain")
    assert not seen["isolated"]
    assert seen["about"].endswith("with 1 thread")
    assert len(seen["names"]) == 5


@pytest.mark.parametrize("width", [390, 1280])
def test_all_of_the_page_is_in_sight(width: int, page: Path, tmp_path: Path) -> None:
    for scheme in ("light", "dark"):
        picture = tmp_path / f"{width}-{scheme}.png"
        seen = look(page, "screenshot", width, scheme, picture)
        assert seen["scrolls"] <= width
        assert seen["cut"] == []
        with Image.open(picture) as image:
            assert image.width == width
