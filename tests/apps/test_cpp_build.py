"""Apps in C++, built and run from their own folder; see ``make apps-test``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from app_files import FileOf, check_labels, edited
from arm64_board import CPU, SITE
from command_line import CommandLine
from PIL import Image
from small_artifacts import Artifacts, copy_artifact
from test_cpp_app import NAMES

from edgekit import apps, registry, tables

pytestmark = pytest.mark.apps

ARM64 = Path(os.environ.get("EDGEKIT_ARM64") or Path(__file__).parents[2] / ".arm64")
LACKING = [name for name in ("cmake", "g++", "make") if shutil.which(name) is None]


@pytest.fixture(autouse=True)
def _needs() -> None:
    if LACKING:
        pytest.skip(f"there is no {LACKING[0]}")
    headers = "#include <cstdio>\n#include <png.h>\n#include <jpeglib.h>\n"
    done = subprocess.run(
        ["g++", "-fsyntax-only", "-x", "c++", "-"], input=headers, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip("there are no headers of libpng and libjpeg")


def inside(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs a program where CMake finds this Python, which has the runtimes."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        list(map(str, words)), cwd=folder, capture_output=True, text=True, timeout=600,
        env={"PATH": path, "CLICOLOR": "0"},
    )  # fmt: skip


def built(folder: Path, *options: str, place: str = "build") -> None:
    for words in (["cmake", "-S", ".", "-B", place, *options], ["cmake", "--build", place]):
        done = inside(folder, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning:" not in done.stderr


def failing(folder: Path) -> tuple[set[str], str]:
    """Names of the app's own tests that fail, and what they say."""
    names = ("pixels", "scores", "labels", "processor")
    told = {
        name: inside(folder / "build", "ctest", "-R", f"^{name}$", "--output-on-failure")
        for name in names
    }
    assert all("1" in done.stdout for done in told.values())
    failed = {name for name, done in told.items() if done.returncode}
    return failed, "".join(done.stdout + done.stderr for done in told.values())


@pytest.mark.parametrize("kind", ["fp32", "float", "int8", "baked"])
@pytest.mark.parametrize("target", tables.TARGETS.built_in)
def test_an_app_runs_and_passes_its_own_test(
    target: str,
    kind: str,
    file_of: FileOf,
    trained_run: Path,
    run: CommandLine,
    tmp_path: Path,
) -> None:
    more = ("--against", trained_run) if kind == "fp32" else ()
    path = file_of(target, kind)
    assert run("app", path, "--platform", "cpp", "-o", "made", *more).code == 0
    folder = tmp_path / "made"
    built(folder)
    assert failing(folder)[0] == set(), failing(folder)[1]
    moved = folder.rename(tmp_path / "moved")  # the program finds what lies beside it
    images = sorted((moved / "golden").glob("*.png"))
    own = inside(tmp_path, moved / "build" / "classify", "--json", *images)
    assert own.returncode == 0, own.stderr
    expected = run("predict", path, *images, "--json").json["predictions"]
    check_labels([json.loads(line)["labels"] for line in own.stdout.splitlines()], expected)


@pytest.mark.parametrize(
    ("target", "precision"),
    [
        ("tflite", "fp32"),
        ("tflite", "int8"),
        ("onnx", "fp32"),
        ("onnx", "int8"),
        ("openvino", "fp32"),
        ("openvino", "int8"),
    ],
)
def test_an_app_for_arm64_passes_its_own_test(
    target: str, precision: str, short_network: Path, run: CommandLine, tmp_path: Path
) -> None:
    """Under QEMU, as for a Raspberry Pi 4."""
    if shutil.which("aarch64-linux-gnu-g++") is None:
        pytest.skip("there is no g++-aarch64-linux-gnu")
    libraries = ARM64 / "libraries"
    if not libraries.is_dir():
        pytest.skip(f"{ARM64} has no libraries for arm64: make devices-test")
    options = ["--isa", "arm", "--calibration-images", "64"] if precision == "int8" else []
    words = ("-t", target, "-p", precision, *options, "-o", "exported")
    assert run("export", short_network, *words).code == 0
    (path,) = (tmp_path / "exported").glob(f"*{registry.target(target).suffix}")
    assert run("app", path, "--platform", "cpp", "-o", "made").code == 0
    folder = tmp_path / "made"
    template = Path(apps.__file__).parent / "cpp" / "template" / "runtimes" / target
    module = json.loads((template / "runtime.json").read_text())["module"]
    site = (ARM64 / "root" / SITE).resolve()
    built(
        folder,
        "-DCMAKE_TOOLCHAIN_FILE=arm64.cmake",
        f"-DCMAKE_FIND_ROOT_PATH={libraries.resolve()}",
        f"-DEDGE_RUNTIME_DIR={site / module}",
    )
    found = f"{libraries.resolve()}/usr/lib/aarch64-linux-gnu:{site}/openvino/libs"
    emulator = [ARM64.resolve() / "qemu-aarch64", "-cpu", CPU, "-L", ARM64.resolve() / "root"]
    for name in ("pixels", "scores", "labels", "processor"):
        words = (name, "golden", "classifier/model")
        program = ("-E", f"LD_LIBRARY_PATH={found}", "build/golden_test", *words)
        done = inside(folder, *emulator, *program)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_app_fails_its_test_and_the_name_says_where(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifacts["tflite", "fp32"], "--platform", "cpp", "-o", "made").code == 0
    folder = tmp_path / "made"

    def wrong(file: str, old: str, new: str) -> set[str]:
        path = folder / "classifier" / file
        text = path.read_text()
        assert text.count(old) >= 1
        path.write_text(text.replace(old, new))
        built(folder)
        found, _ = failing(folder)
        path.write_text(text)
        return found

    assert wrong("geometry.cc", "std::max(0.0, 1.0 - x)", "1.0") == {"pixels"}
    assert wrong("preprocess.cc", "value / std", "value * std") == {"scores"}
    assert wrong("decode.cc", "std::exp(", "std::exp2(") == {"labels"}


def test_names_of_classes_are_shown_on_one_line_whatever_is_in_them(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    path = copy_artifact(artifacts["tflite", "fp32"], tmp_path)
    names = [name for name in NAMES if name != "\udcff"][:10]
    edited(path, labels=names)
    assert run("app", path, "--platform", "cpp", "-o", "made").code == 0
    folder = tmp_path / "made"
    built(folder)
    assert failing(folder)[0] == set(), failing(folder)[1]
    shown = inside(folder, "build/classify", "--top", "10", "golden/wide.png")
    lines = shown.stdout.splitlines()
    assert len(lines) == 11, shown.stdout + shown.stderr
    assert "\x1b" not in shown.stdout
    assert "\\u202eright" in shown.stdout
    assert "two\\u000alines" in shown.stdout
    told = inside(folder, "build/classify", "--top", "10", "--json", "golden/wide.png")
    labels = json.loads(told.stdout)["labels"]
    assert {each["label"] for each in labels} == set(names)


def test_what_is_refused_is_a_sentence(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifacts["tflite", "fp32"], "--platform", "cpp", "-o", "made").code == 0
    folder = tmp_path / "made"
    built(folder)
    (folder / "letter.png").write_text("dear")
    Image.new("1", (10_000, 10_000)).save(folder / "large.png")
    images = ("letter.png", "large.png", "nowhere.png", "golden", "golden/wide.png")
    done = inside(folder, "build/classify", *images)
    assert done.returncode == 3
    said = [line for line in done.stderr.splitlines() if line.startswith(images)]
    assert said == [
        "letter.png: it is no image: expected a PNG or JPEG file",
        "large.png: the image is 10000 x 10000 px, which is too large: expected at most 51 "
        "megapixels",
        "nowhere.png: there is no such file",
        "golden: it is no file: expected a PNG or JPEG file",
    ]
    assert done.stdout.startswith("golden/wide.png")
    for words in ((), ("--top", "x", "a.png"), ("--what",), ("--threads",)):
        assert inside(folder, "build/classify", *words).returncode == 2
    (model,) = (folder / "build" / "model").glob("*.tflite")
    model.write_bytes(model.read_bytes()[:1000])
    broken = inside(folder, "build/classify", "golden/wide.png")
    assert broken.returncode == 1
    assert broken.stderr.endswith(" is damaged, or another model than model.cc says\n")
    model.unlink()
    missing = inside(folder, "build/classify", "golden/wide.png")
    assert missing.stderr.endswith(" cannot be read: No such file or directory\n")
    lost = inside(folder, "cmake", "-S", ".", "-B", "other", "-DEDGE_RUNTIME_DIR=/nowhere")
    assert lost.returncode == 1
    assert "Give the folder of the runtime with -DEDGE_RUNTIME_DIR=FOLDER" in lost.stderr
