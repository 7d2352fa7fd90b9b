"""Apps for browsers: what needs no browser."""

from __future__ import annotations

import base64
import io
import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CommandLine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from small_artifacts import Artifacts
from test_platforms import of_kind
from test_prepare import preprocessings
from turned_files import turned_files

from edgekit import apps
from edgekit.core import Preprocessing, to_json
from edgekit.data import preprocess
from edgekit.data.decode import pixels_of
from edgekit.errors import DataError

TEMPLATE = Path(apps.__file__).parent / "web" / "template"
NODE = shutil.which("node")
with_node = pytest.mark.skipif(NODE is None, reason="there is no node")

Case = tuple[bytes, Preprocessing]


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
    numbers = np.fromfile(folder / "out", "<f4")
    found, at = [], 0
    for told in json.loads(done.stdout):
        if isinstance(told, str):
            found.append(told)
            continue
        found.append(numbers[at : at + told])
        at += told
    return found


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """PNG files of all modes, sizes and orientations."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    mode = draw(st.sampled_from(["RGB", "RGBA", "L", "LA", "P", "1", "I;16"]))
    rng = np.random.default_rng(height * 41 + width)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    else:
        pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
        image = Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = draw(st.integers(0, 8))
    content = io.BytesIO()
    image.save(content, "PNG", exif=exif)
    return content.getvalue()


@with_node
@given(st.lists(st.tuples(images(), preprocessings()), min_size=40, max_size=60))
@settings(max_examples=5, suppress_health_check=list(HealthCheck))
def test_an_app_makes_the_same_numbers_of_an_image(
    tmp_path_factory: pytest.TempPathFactory, cases: list[Case]
) -> None:
    found = prepared(cases, tmp_path_factory.mktemp("prepared"))
    for (content, how), numbers in zip(cases, found, strict=True):
        opened = Image.open(io.BytesIO(content))
        try:
            expected = preprocess.prepare(pixels_of(opened, "image", how.exif, how.alpha), how)
        except DataError:
            assert "give a larger one" in numbers
        else:
            np.testing.assert_array_equal(numbers, expected.reshape(-1))


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


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip
"""PNG specification, 8.2: left, top, and steps across and down."""


def written(kind: int, depth: int, interlaced: bool, height: int, width: int) -> bytes:
    """A PNG file of any kind, since Pillow writes some only."""
    rng = np.random.default_rng([kind, depth, height, width])
    samples = rng.integers(0, 2**depth, (height, width, CHANNELS[kind]))
    packed = b""
    for left, top, across, down in PASSES if interlaced else [(0, 0, 1, 1)]:
        for row in samples[top::down, left::across]:
            if row.size:
                bits = "".join(f"{sample:0{depth}b}" for sample in row.reshape(-1))
                size = -(-len(bits) // 8)
                packed += b"\0" + int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big")

    def chunk(name: bytes, inside: bytes) -> bytes:
        return struct.pack(">I", len(inside)) + name + inside + struct.pack(
            ">I", zlib.crc32(name + inside)
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    palette = rng.integers(0, 256, 3 * 2**depth, np.uint8).tobytes() if kind == 3 else b""
    clear = rng.integers(0, 256, 2**depth, np.uint8).tobytes() if kind == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, inside)
        for name, inside in (
            (b"IHDR", header), (b"PLTE", palette), (b"tRNS", clear),
            (b"IDAT", zlib.compress(packed)), (b"IEND", b""),
        )
        if inside or name == b"IEND"
    )  # fmt: skip


@with_node
def test_png_files_of_every_kind_are_decoded_to_the_bit(tmp_path: Path) -> None:
    kinds = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4),
             (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]  # fmt: skip
    cases: list[Case] = []
    for height, width in ((1, 1), (3, 2), (5, 9), (13, 17)):
        how = Preprocessing(
            resize=None, crop=(height, width), mean=(0.0,) * 4, std=(1.0,) * 4, scale=1.0,
            channel_order="RGBA", alpha="keep",
        )  # fmt: skip
        for kind, depth in kinds:
            for interlaced in (False, True):
                cases.append((written(kind, depth, interlaced, height, width), how))
    for (content, how), found in zip(cases, prepared(cases, tmp_path), strict=True):
        pixels = pixels_of(Image.open(io.BytesIO(content)), "image", how.exif, how.alpha)
        expected = preprocess.prepare(pixels, how).reshape(-1)
        np.testing.assert_array_equal(found, expected, str(content[16:33]))


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


@with_node
def test_an_app_passes_what_its_own_test_has_without_a_browser(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    path = artifacts["tflite", "fp32"]
    assert run("app", path, "--platform", "web", "-o", "made").code == 0
    folder = tmp_path / "made"

    def failing() -> tuple[set[str], str]:
        done = node("--test", "--test-reporter", "tap", "tests/golden.test.mjs", cwd=folder)
        lines = [line.strip() for line in done.stdout.splitlines()]
        failed = [line for line in lines if line.startswith("not ok")]
        return {line.split(" - ")[1].partition(":")[0] for line in failed}, done.stdout

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
    artifacts: Artifacts,
    int8_files: Path,
    copied: Callable[[Path], Path],
    run: CommandLine,
) -> None:
    def message(target: str, kind: str) -> str:
        path = of_kind(artifacts, int8_files, target, kind)
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
    path = of_kind(artifacts, int8_files, "onnx", "int8")
    assert run("app", copied(path), "--platform", "web", "-o", "made").code == 0
