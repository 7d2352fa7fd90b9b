"""Apps for Android, as far as they can be compiled and run without Android; see ``make apps-test``.

Sources are compiled against Android's own classes. Those of CameraX, AndroidX, LiteRT, ONNX Runtime
and AndroidX's tests are stand-ins, in ``android/stubs``, with the declarations of their
documentation. The model is run by Python (``run_model.py``); all else by Java.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_files import FileOf, check_labels, edited
from command_line import CommandLine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_cases import Case, all_pngs, check_prepared, images, numbers_of
from PIL import Image
from small_artifacts import Artifacts, copy_artifact, once, shared_folder
from test_cpp_app import NAMES
from test_prepare import preprocessings
from turned_files import turned_files

from edgekit import apps
from edgekit.core import Preprocessing, to_json
from edgekit.data import preprocess
from edgekit.data.decode import pixels_of

pytestmark = pytest.mark.apps

HERE = Path(__file__).parent / "android"
TEMPLATE = Path(apps.__file__).parent / "android" / "template"
TARGETS = sorted(path.name for path in (TEMPLATE / "runtimes").iterdir())
PACKAGES = Path(__file__).parents[2] / ".apps"
KOTLIN = PACKAGES / "android" / "npm" / "node_modules" / "kotlin-compiler" / "lib"
KTLINT = (
    PACKAGES
    / "android"
    / "npm"
    / "node_modules"
    / "@naturalcycles"
    / "ktlint"
    / "resources"
    / "ktlint"
)
JARS = PACKAGES / "android" / "root" / "usr" / "share" / "java"
ANDROID = JARS / "com.android.android-23.jar"
JUNIT = JARS / "junit4.jar"
STDLIB = KOTLIN / "kotlin-stdlib.jar"
SPACE = "{http://schemas.android.com/apk/res/android}"


@pytest.fixture(autouse=True)
def _needs() -> None:
    if shutil.which("java") is None:
        pytest.skip("there is no Java")
    for place in (STDLIB, KTLINT, ANDROID, JUNIT):
        if not place.exists():
            pytest.skip(f"{place.name} is missing: make apps-test")


def done(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, text=True, timeout=600
    )


def path_of(*places: object) -> str:
    return os.pathsep.join(map(str, places))


def compiled(sources: list[Path], out: Path, *classes: Path, android: bool = True) -> None:
    """Compiles Kotlin with all warnings as errors, against the classes of Android or of Java."""
    own = [ANDROID, *classes] if android else classes
    told = done(
        "java", "-Xmx1g", "-cp", KOTLIN / "kotlin-compiler.jar",
        "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", *(["-no-jdk"] if android else []),
        "-no-stdlib", "-no-reflect", "-jvm-target", "11", "-Werror", "-Wextra",
        "-module-name", "app" if android else "tests",  # else one overwrites what the other names
        "-cp", path_of(*own, STDLIB), "-d", out, *sources,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert "warning:" not in told.stderr


def kotlin(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kt"))


def library(folder: Path) -> list[Path]:
    """What the classifier and its golden tests are made of, without runtimes."""
    return [*kotlin(folder / "classifier" / "src" / "main"), *kotlin(folder / "golden")]


@pytest.fixture(scope="session", name="classes")
def _classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled classifier, its golden test, and what drives both: in one folder."""
    folder = shared_folder(tmp_path_factory) / "android"
    with once(folder) as mine:
        if mine:
            staged = folder.with_name("android.part")
            compiled(library(TEMPLATE), staged)
            tests = [TEMPLATE / "classifier/src/test/kotlin/classifier/GoldenTest.kt"]
            tests.append(HERE / "Harness.kt")
            compiled(tests, staged, staged, JUNIT, JARS / "json-android.jar", android=False)
            staged.rename(folder)
    return folder


def java(classes: Path, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    jars = (JUNIT, JARS / "hamcrest.jar", JARS / "json-android.jar", STDLIB)
    head = ("java", "-Xmx1g", "-Djava.awt.headless=true", "-cp", path_of(classes, *jars))
    return done(*head, *words, cwd=cwd)


def failing(classes: Path, folder: Path) -> tuple[set[str], str]:
    """Names of the golden tests of this machine that fail, and what they say."""
    told = java(classes, "org.junit.runner.JUnitCore", "classifier.GoldenTest",
                cwd=folder / "classifier")  # fmt: skip
    names = re.findall(r"^\d+\) (\w+)\(classifier.GoldenTest\)", told.stdout, re.M)
    assert bool(names) == (told.returncode != 0), told.stdout + told.stderr
    return set(names), told.stdout


def classified(classes: Path, folder: Path, path: Path, *files: Path) -> Any:
    """What `classify` of the harness tells of an app."""
    source = folder / "app" / "src"
    command = f"{sys.executable}\n{HERE.with_name('run_model.py')}\n{path}"
    told = java(
        classes, "HarnessKt", "classify", source / "main/assets/model",
        source / "androidTest/assets/golden", command, *files, cwd=folder,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


@pytest.mark.parametrize("kind", ["fp32", "float", "int8", "baked"])
@pytest.mark.parametrize("target", TARGETS)
def test_an_app_passes_its_golden_tests_in_java(
    target: str,
    kind: str,
    classes: Path,
    file_of: FileOf,
    trained_run: Path,
    run: CommandLine,
    tmp_path: Path,
) -> None:
    path = file_of(target, kind, baked="fp32")
    more = ("--against", trained_run) if kind == "fp32" else ()
    assert run("app", path, "--platform", "android", "-o", "made", *more).code == 0
    folder = tmp_path / "made"
    for source in [*kotlin(TEMPLATE / "classifier"), *kotlin(TEMPLATE / "golden")]:
        assert (folder / source.relative_to(TEMPLATE)).read_bytes() == source.read_bytes()
    assert failing(classes, folder)[0] == set(), failing(classes, folder)[1]
    files = sorted((folder / "app/src/androidTest/assets/golden").glob("*l.png"))
    told = classified(classes, folder, path, *files)
    assert told["scores"] == []
    expected = run("predict", path, *files, "--top", "10", "--json").json["predictions"]
    assert len(expected) == len(files) > 0
    check_labels([image["labels"] for image in told["images"]], expected, within=1e-6)


def test_a_wrong_app_fails_its_test_and_the_name_says_where(
    classes: Path, artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    path = artifacts["tflite", "fp32"]
    assert run("app", path, "--platform", "android", "-o", "made").code == 0
    folder = tmp_path / "made"
    number = 0

    def wrong(file: str, old: str, new: str) -> set[str]:
        nonlocal number
        place = folder / "classifier/src/main/kotlin/classifier" / file
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new))
        number += 1
        changed = tmp_path / str(number)
        compiled(library(folder), changed)
        place.write_text(text)
        both = Path(path_of(changed, classes))
        scores = classified(both, folder, path)["scores"]
        return failing(both, folder)[0] | ({"scores"} if scores else set())

    assert wrong("Resample.kt", "maxOf(0.0, 1.0 - x)", "1.0") == {"pixels"}
    assert wrong("Preprocess.kt", "- mean) / std", "- mean) * std") == {"scores"}
    assert wrong("Decode.kt", "sortedByDescending", "sortedBy") == {"labels"}


def prepared(classes: Path, cases: list[Case], folder: Path) -> list[Any]:
    """What the app makes of images: arrays, or messages of what it refuses."""
    said = [
        {"content": base64.b64encode(content).decode(), "how": to_json(how)}
        for content, how in cases
    ]
    (folder / "cases.json").write_text(json.dumps(said))
    told = java(classes, "HarnessKt", "prepare", "cases.json", "out", cwd=folder)
    assert told.returncode == 0, told.stderr
    return numbers_of(json.loads(told.stdout), folder / "out", ">f4")


@given(st.lists(st.tuples(images(), preprocessings()), min_size=100, max_size=150))
@settings(max_examples=5, suppress_health_check=list(HealthCheck))
def test_an_app_makes_the_same_numbers_of_an_image(
    classes: Path, tmp_path_factory: pytest.TempPathFactory, cases: list[Case]
) -> None:
    check_prepared(cases, prepared(classes, cases, tmp_path_factory.mktemp("prepared")))


def test_png_files_of_every_kind_are_decoded_to_the_bit(classes: Path, tmp_path: Path) -> None:
    cases = all_pngs()
    check_prepared(cases, prepared(classes, cases, tmp_path))


def test_only_the_exif_block_turns_an_image(classes: Path, tmp_path: Path) -> None:
    how = Preprocessing(resize=None, crop=(48, 48), mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0)
    cases: list[Case] = [(each, how) for each, _ in turned_files()]
    for (content, _), found in zip(cases, prepared(classes, cases, tmp_path), strict=True):
        opened = pixels_of(Image.open(io.BytesIO(content)), "image", how.exif, how.alpha)
        expected = preprocess.prepare(opened, how).reshape(-1)
        assert np.abs(found - expected).max() <= 4


def test_a_picture_is_made_smaller_until_it_can_be_drawn(classes: Path, tmp_path: Path) -> None:
    sides = [(1, 1), (2048, 2048), (2049, 3), (3, 2049), (8192, 6144), (50_999_999, 1)]
    words = [side for pair in sides for side in pair]
    told = java(classes, "HarnessKt", "reduce", 2048, *words, cwd=tmp_path)
    found = json.loads(told.stdout)
    assert found == [1, 1, 2, 2, 4, 32768]
    for (width, height), by in zip(sides, found, strict=True):
        assert 4 * (width / by) * (height / by) < 100e6


def test_pictures_are_shown_by_what_makes_them_smaller() -> None:
    """Views that decode by themselves do so at full size, which ends the app at 26 megapixels."""
    for path in kotlin(TEMPLATE / "app" / "src" / "main"):
        assert not re.search("setImageURI|ImageDecoder|decodeStream", path.read_text())


def test_what_is_no_good_image_is_refused(classes: Path, tmp_path: Path) -> None:
    how = preprocess.default(32)
    contents = [b"", b"no image"]
    for kind, mode in (("PNG", "1"), ("JPEG", "L"), ("GIF", "L"), ("BMP", "1"), ("WEBP", "L")):
        large = io.BytesIO()
        Image.new(mode, (10_000, 10_000)).save(large, kind)
        contents.append(large.getvalue()[:4000])
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8))
    for kind in ("PNG", "JPEG"):
        whole = io.BytesIO()
        noise.save(whole, kind)
        contents += [whole.getvalue()[:20]]
    whole = io.BytesIO()
    noise.save(whole, "PNG")
    contents += [whole.getvalue()[:9000], whole.getvalue().replace(b"IDAT", b"IDAX")]
    told = prepared(classes, [(content, how) for content in contents], tmp_path)
    assert [each.partition(":")[0] for each in told] == [
        *["it is no image"] * 2,
        *["the image is 10000 x 10000 px, which is too large"] * 5,
        *["the image is damaged"] * 4,
    ]


@given(st.data())
@settings(max_examples=5)
def test_files_with_wrong_bytes_are_refused_or_decoded(
    classes: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    how = Preprocessing(resize=None, crop=(4, 4), fit="stretch")
    cases: list[Case] = []
    for _ in range(150):
        content = bytearray(data.draw(images()))
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cases.append((bytes(content), how))
    for found in prepared(classes, cases, tmp_path_factory.mktemp("wrong")):
        assert isinstance(found, str) or found.shape == (48,)


def test_names_of_classes_are_data(
    classes: Path, artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    path = copy_artifact(artifacts["tflite", "fp32"], tmp_path)
    names = [*[name for name in NAMES if name != "\udcff"][:9], "$x ${x} <b>&amp;</b> @string/x"]
    edited(path, labels=names)
    assert run("app", path, "--platform", "android", "-o", "made").code == 0
    folder = tmp_path / "made"
    assert failing(classes, folder)[0] == set()
    for file in folder.rglob("*"):
        if file.is_file() and "assets" not in file.parts:
            assert "\u202e" not in file.read_text("utf-8", "replace")
    golden = folder / "app/src/androidTest/assets/golden"
    (image,) = classified(classes, folder, path, golden / "wide.png")["images"]
    shown = {each["label"]: each["name"] for each in image["labels"]}
    assert set(shown) == set(names)
    for name, written_out in shown.items():
        assert not re.search(r"[\x00-\x1f\x7f\u202a-\u202e\u2028]", written_out)
        assert written_out == name or "\\u" in written_out or name == ""
    assert shown["\u202eright to left"] == "\\u202eright to left"


def test_a_damaged_model_is_not_loaded(
    classes: Path, artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    path = artifacts["tflite", "fp32"]
    assert run("app", path, "--platform", "android", "-o", "made").code == 0
    model = tmp_path / "made/app/src/main/assets/model"
    place = model / path.name
    place.write_bytes(place.read_bytes()[:1000])
    told = classified(classes, tmp_path / "made", path)
    assert told == {"error": f"{path.name} is damaged, or another file than its contract says"}
    place.unlink()
    assert classified(classes, tmp_path / "made", path) == {"error": f"{path.name} is missing"}
    next(model.iterdir()).unlink()
    assert "does not hold one model" in classified(classes, tmp_path / "made", path)["error"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_app_compiles_against_the_classes_of_android(
    target: str,
    classes: Path,
    artifacts: Artifacts,
    run: CommandLine,
    tmp_path: Path,
) -> None:
    if shutil.which("aapt") is None:
        pytest.skip("there is no aapt")
    assert run("app", artifacts[target, "fp32"], "--platform", "android", "-o", "made").code == 0
    app = tmp_path / "made" / "app" / "src"
    names = resources(app, tmp_path)
    sources = [*kotlin(app), *(HERE / "stubs").rglob("*.kt"), HERE / "stubs", tmp_path / "names"]
    sources += [
        path
        for path in kotlin(tmp_path / "made" / "classifier" / "src" / "main")
        if path.name == "ModelRuntime.kt"
    ]
    compiled(sources, tmp_path / "out", classes, JUNIT)
    assert (tmp_path / "out/com/example/classifier/MainActivity.class").is_file()
    assert (tmp_path / "out/classifier/ModelRuntime.class").is_file()
    code = "".join(path.read_text() for path in [*kotlin(app), *app.rglob("*.xml")])
    for kind, name in names:
        if kind != "style":
            assert re.search(rf"R\.{kind}\.{name}\b|@{kind}/{name}\b", code), f"{name} is not used"


def resources(app: Path, folder: Path) -> list[tuple[str, str]]:
    """Packs the resources, and gives their kinds and names; `R.java` is below ``names``."""
    manifest = folder / "manifest" / "AndroidManifest.xml"
    manifest.parent.mkdir()
    text = (app / "main" / "AndroidManifest.xml").read_text()
    # Gradle puts the package there.
    manifest.write_text(text.replace("<manifest ", '<manifest package="com.example.classifier" '))
    (folder / "names").mkdir()
    told = done(
        "aapt", "package", "-f", "-m", "-J", folder / "names", "-M", manifest,
        "-S", app / "main" / "res", "-A", app / "main" / "assets", "-I", ANDROID,
        "-F", folder / "app.apk", "--min-sdk-version", "24", "--target-sdk-version", "23",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    inside = done("aapt", "list", folder / "app.apk").stdout.split()
    assert {path.name for path in (app / "main/assets/model").iterdir()} == {
        name.rpartition("/")[2] for name in inside if name.startswith("assets/model/")
    }
    code = (folder / "names/com/example/classifier/R.java").read_text()
    found = []
    for kind, body in re.findall(r"static final class (\w+) {(.*?)\n    }", code, re.S):
        found += [(kind, name) for name in re.findall(r"static final int (\w+)=", body)]
    assert ("layout", "main") in found
    return found


def test_what_can_be_touched_has_a_size_and_a_name() -> None:
    """So that screen readers and large fonts find their way; sizes of texts grow with the font."""
    for file in (TEMPLATE / "app/src/main/res/layout").glob("*.xml"):
        for view in ElementTree.parse(file).iter():
            if view.tag == "Button":
                assert view.get(f"{SPACE}minHeight") == "48dp"
                assert view.get(f"{SPACE}text", "").startswith("@string/")
            if view.tag == "ImageView" or view.tag.endswith("PreviewView"):
                assert view.get(f"{SPACE}contentDescription", "").startswith("@string/")
            if view.tag == "TextView":
                assert view.get(f"{SPACE}textSize", "1sp").endswith("sp")
                assert view.get(f"{SPACE}layout_height") == "wrap_content"


def test_sources_pass_ktlint(run: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    shutil.copytree(TEMPLATE, folder / "template")
    shutil.copytree(HERE, folder / "tests")
    told = done("java", "-jar", KTLINT, "**/*.kt", "**/*.kts", cwd=folder)
    assert told.returncode == 0, told.stdout
    (folder / "wrong.kts").write_text("plugins {")
    assert done("java", "-jar", KTLINT, "**/*.kts", cwd=folder).returncode != 0
