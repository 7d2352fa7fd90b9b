"""Apps for browsers: what needs no browser."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_files import FileOf, TaskFiles
from command_line import CommandLine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_cases import Case, all_pngs, check_prepared, images, numbers_of
from PIL import Image
from small_artifacts import Artifacts
from test_prepare import preprocessings
from turned_files import turned_files

from edgekit import apps
from edgekit.core import Preprocessing, to_json
from edgekit.data import preprocess
from edgekit.data.decode import pixels_of

TEMPLATE = Path(apps.__file__).parent / "web" / "template"
NODE = shutil.which("node")
with_node = pytest.mark.skipif(NODE is None, reason="there is no node")


def node(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NODE), *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300
    )


def prepared(cases: list[Case], folder: Path) -> list[Any]:
    """What the app makes of images: arrays, or messages of what it refuses."""
    said = [
        {"content": base64.b64encode(content).decode(), "how": to_json(how)}
        for content, how in cases
    ]
    (folder / "cases.json").write_text(json.dumps(said))
    script = Path(__file__).with_name("prepare.mjs")
    done = node(script, TEMPLATE / "classifier", folder / "cases.json", folder / "out")
    assert done.returncode == 0, done.stderr
    return numbers_of(json.loads(done.stdout), folder / "out", "<f4")


@with_node
@given(st.lists(st.tuples(images(), preprocessings()), min_size=40, max_size=60))
@settings(max_examples=5, suppress_health_check=list(HealthCheck))
def test_an_app_makes_the_same_numbers_of_an_image(
    tmp_path_factory: pytest.TempPathFactory, cases: list[Case]
) -> None:
    check_prepared(cases, prepared(cases, tmp_path_factory.mktemp("prepared")))


@with_node
def test_only_the_exif_block_turns_an_image(tmp_path: Path) -> None:
    how = Preprocessing(resize=None, crop=(48, 48), mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0)
    files = [each for each, _ in turned_files()]
    pngs = [(each, how) for each in files if each.startswith(b"\x89PNG")]
    for (content, _), found in zip(pngs, prepared(pngs, tmp_path), strict=True):
        pixels = pixels_of(Image.open(io.BytesIO(content)), "image")
        np.testing.assert_array_equal(found, preprocess.prepare(pixels, how).reshape(-1))
    script = f"""
        import {{ header }} from "{(TEMPLATE / "classifier" / "header.js").as_uri()}";
        import {{ readFileSync }} from "node:fs";
        const files = JSON.parse(readFileSync("{tmp_path / "files.json"}", "utf8"));
        console.log(JSON.stringify(files.map((each) => {{
          const found = header(new Uint8Array(Buffer.from(each, "base64")));
          return [found.orientation, Buffer.from(found.hidden).toString("base64")];
        }})));
    """
    (tmp_path / "files.json").write_text(json.dumps([base64.b64encode(x).decode() for x in files]))
    (tmp_path / "script.mjs").write_text(script)
    done = node(tmp_path / "script.mjs")
    assert done.returncode == 0, done.stderr
    for (content, orientation), (found, hidden) in zip(
        turned_files(), json.loads(done.stdout), strict=True
    ):
        assert found == orientation
        if not content.startswith(b"\x89PNG"):  # what the browser gets turns nothing
            opened = Image.open(io.BytesIO(base64.b64decode(hidden)))
            assert 0x0112 not in opened.getexif()


@with_node
def test_png_files_of_every_kind_are_decoded_to_the_bit(tmp_path: Path) -> None:
    cases = all_pngs()
    check_prepared(cases, prepared(cases, tmp_path))


@with_node
@pytest.mark.parametrize(
    ("size", "message"), [((10_000, 10_000), "10000 x 10000 px, which is too large: expected")]
)
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(
    size: tuple[int, int], message: str, tmp_path: Path
) -> None:
    how, contents = preprocess.default(32), []
    for kind, mode in (("PNG", "1"), ("JPEG", "L"), ("GIF", "L"), ("BMP", "1"), ("WEBP", "L")):
        content = io.BytesIO()
        Image.new(mode, size).save(content, kind)
        contents.append(content.getvalue()[:4000])
    for refused in prepared([(content, how) for content in contents], tmp_path):
        assert message in refused


def failing_without_browser(folder: Path) -> tuple[set[str], str]:
    """Kinds of the app's own tests that fail, and what they say."""
    tests = ("tests/golden.test.mjs", "tests/results.test.mjs")
    done = node("--test", "--test-reporter", "tap", *tests, cwd=folder)
    lines = [line.strip() for line in done.stdout.splitlines()]
    failed = [line for line in lines if line.startswith("not ok")]
    return {line.split(" - ")[1].partition(":")[0] for line in failed}, done.stdout


@with_node
@pytest.mark.parametrize(
    ("task", "old", "new", "kind"),
    [
        ("detect", "shared > f(union * overlap)", "shared < f(union * overlap)", "objects"),
        ("detect", "left - across * box[0]", "left", "objects"),
        ("segment", "i + 0.5 - first", "i - first", "masks"),
        ("segment", "scores[at] > scores[best]", "scores[at] < scores[best]", "masks"),
    ],
)
def test_what_outputs_of_other_tasks_come_to_needs_no_browser(
    task: str,
    old: str,
    new: str,
    kind: str,
    task_files: TaskFiles,
    run: CommandLine,
    tmp_path: Path,
) -> None:
    assert run("app", task_files(task, "onnx"), "--platform", "web", "-o", "made").code == 0
    folder = tmp_path / "made"
    failed, told = failing_without_browser(folder)
    assert failed == set(), told
    decode = folder / "classifier" / "decode.js"
    text = decode.read_text()
    assert text.count(old) == 1
    decode.write_text(text.replace(old, new))
    assert failing_without_browser(folder)[0] == {kind}


@with_node
def test_an_app_passes_what_its_own_test_has_without_a_browser(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    path = artifacts["tflite", "fp32"]
    assert run("app", path, "--platform", "web", "-o", "made").code == 0
    folder = tmp_path / "made"

    def failing() -> tuple[set[str], str]:
        return failing_without_browser(folder)

    assert failing()[0] == set(), failing()[1]

    def wrong(file: str, old: str, new: str) -> set[str]:
        place = folder / "classifier" / file
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new))
        failed, _ = failing()
        place.write_text(text)
        return failed

    assert wrong("resample.js", "Math.max(0, 1 - Math.abs(x))", "1") == {"pixels"}
    assert wrong("decode.js", "Math.exp(", "Math.expm1(") == {"labels", "vectors of scores"}
    # What is missing is wrong, too.
    assert wrong("decode.js", "order.slice(0, most)", "order.slice(0, 0)") == {"labels"}
    assert "labels" in wrong("decode.js", "order.slice(0, most)", "order.slice(0, most - 1)")
    assert "vectors of scores" in wrong(
        "decode.js", "return shares.map((share) => share / sum);", "return [];"
    )
    assert wrong("preprocess.js", "const channels = grey ? 1 : 3;", "const channels = 1;") == {
        "pixels"
    }
    call = "export function finishedPixels("
    cut = "{ const found = whole(...all); return { ...found, data: found.data.slice(0, 9) }; }"
    nothing = f"export function finishedPixels(...all) {cut}\nfunction whole("
    assert wrong("preprocess.js", call, nothing) == {"pixels"}
    gap = cut.replace("found.data.slice(0, 9)", "Float32Array.from(found.data, () => NaN)")
    assert wrong("preprocess.js", call, nothing.replace(cut, gap)) == {"pixels"}


@with_node
def test_a_test_without_a_browser_fails_and_says_how_to_get_one(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifacts["tflite", "fp32"], "--platform", "web", "-o", "made").code == 0
    folder = tmp_path / "made"
    scripts = json.loads((folder / "package.json").read_text())["scripts"]
    for name, code in (("test", 1), ("test:images", 0)):
        words = scripts[name].removeprefix("node ").split()
        done = node(words[0], "--test-reporter=tap", *words[1:], cwd=folder)
        assert done.returncode == code, done.stdout
        assert ("nothing has run the model: classifier/vendor is missing: npm run vendor" in
                done.stdout) == bool(code)  # fmt: skip


@with_node
def test_a_folder_is_served_through_a_link(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifacts["tflite", "fp32"], "--platform", "web", "-o", "made").code == 0
    (tmp_path / "link").symlink_to(tmp_path / "made")
    server = subprocess.Popen(
        [str(NODE), tmp_path / "link" / "serve.mjs", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("http://127.0.0.1:")
    finally:
        server.kill()
        server.communicate()


def test_what_runs_in_a_browser_comes_from_the_folder(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    for target in ("tflite", "onnx"):
        done = run("app", artifacts[target, "fp32"], "--platform", "web", "-o", target, "--json")
        assert done.code == 0, done.err
        folder = tmp_path / target
        package = json.loads((folder / "package.json").read_text())
        versions = {**package["dependencies"], **package["devDependencies"]}.values()
        assert all(version[0].isdigit() for version in versions)
        for file in done.json["files"]:
            if file.endswith((".js", ".html", ".css")) and "model" not in file:
                assert "://" not in (folder / file).read_text(), file


def test_files_that_browsers_do_not_run_are_refused(
    file_of: FileOf, copied: Callable[[Path], Path], run: CommandLine
) -> None:
    def message(target: str, kind: str) -> str:
        path = file_of(target, kind)
        done = run("app", copied(path), "--platform", "web", "-o", "made")
        assert done.code == 2
        return done.message

    assert message("openvino", "fp32").endswith(
        "it runs files of the targets onnx, tflite: export one of these"
    )
    assert message("tflite", "int8").endswith(
        "takes inputs of float32, int32, uint8, and this one is of int8: export it without "
        "--io int8"
    )
    path = file_of("onnx", "int8")
    assert run("app", copied(path), "--platform", "web", "-o", "made").code == 0
