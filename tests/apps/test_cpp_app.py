"""Apps in C++: their literals, and what they make of images, where there is a compiler."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_files import edited
from command_line import CommandLine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_cases import Case, check_prepared, expected_of, images, numbers_of
from PIL import Image
from small_artifacts import Artifacts, once, shared_folder
from test_prepare import preprocessings
from turned_files import turned_files

import edgekit
from edgekit import apps
from edgekit.apps.cpp import literals
from edgekit.core import Preprocessing
from edgekit.core.preprocessing import ALPHAS, FITS, INTERPOLATIONS, LAYOUTS, pair
from edgekit.data import preprocess

TEMPLATE = Path(apps.__file__).parent / "cpp" / "template"
COMPILER = shutil.which("g++") or shutil.which("clang++")
with_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no compiler for C++")

NAMES = [
    "\"q'\\",
    "two\nlines\r\n",
    '??/" ??=',
    "\u202eright to left",
    "\u0633\u0645\u0643\u0629",
    "nul\x00 and 7",
    "\x1b[31m1",
    "\\x41${x}$(x)",
    "\udcff",  # of a file name that is no text
    '")"; exit(1); //',
    "",
    "é1",
]


def test_the_places_of_functions_are_those_of_the_native_runner() -> None:
    """The table of the same interface, which stands in each as it uses it."""
    native = Path(edgekit.__file__).parent / "agent" / "native" / "onnxruntime.cc"
    app = TEMPLATE / "runtimes" / "onnx" / "runtime.cc"
    mine, known = (
        dict(re.findall(r"^  (k\w+) = (\d+),$", path.read_text(), re.MULTILINE))
        for path in (app, native)
    )
    shared = mine.keys() & known.keys()
    assert len(shared) > 15
    assert {name: mine[name] for name in shared} == {name: known[name] for name in shared}


def test_literals_are_ascii_on_one_line() -> None:
    for name in NAMES:
        literal = literals.string(name)
        assert literal.isascii()
        assert literal.isprintable()
        assert "??" not in literal
    assert literals.string("é1") == r'"\303\2511"s'
    assert literals.string(b"\xff?") == r'"\377\?"s'
    assert [literals.number(x) for x in (0.1, 1e-30, 3, float("inf"), float("-inf"))] == [
        "0.1",
        "1e-30",
        "3.0",
        "INFINITY",
        "-INFINITY",
    ]


@with_compiler
def test_literals_are_what_they_stand_for(tmp_path: Path) -> None:
    lines = [f"  put({literals.string(name)});" for name in NAMES]
    source = tmp_path / "names.cc"
    head = (
        "#include <cstdio>\n#include <string>\nusing namespace std::string_literals;\n"
        "void put(const std::string& s) { std::fwrite(s.c_str(), 1, s.size() + 1, stdout); }\n"
    )
    source.write_text("\n".join([head, "int main() {", *lines, "}"]))
    for standard in ("c++17", "c++14"):  # of which the second has trigraphs
        compiled("-std=" + standard, source, "-o", tmp_path / "names")
        told = subprocess.run([tmp_path / "names"], capture_output=True, check=True).stdout
        expected = b"".join(name.encode("utf-8", "surrogatepass") + b"\0" for name in NAMES)
        assert told == expected


def compiled(*words: object) -> None:
    done = subprocess.run([str(COMPILER), *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session", name="prepare")
def _prepare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of ``prepare.cc``."""
    folder = shared_folder(tmp_path_factory)
    program = folder / "prepare"
    with once(program) as mine:
        if mine:
            headers = folder / "headers.cc"
            headers.write_text("#include <cstdio>\n#include <png.h>\n#include <jpeglib.h>\n")
            there = subprocess.run([str(COMPILER), "-fsyntax-only", headers], capture_output=True)
            if there.returncode:
                pytest.skip("there are no headers of libpng and libjpeg")
            code = TEMPLATE / "classifier"
            sources = [
                code / name for name in ("geometry.cc", "image.cc", "preprocess.cc", "resample.cc")
            ]
            sources.append(Path(__file__).with_name("prepare.cc"))
            compiled(
                "-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-I", code,
                *sources, "-lpng", "-ljpeg", "-o", folder / "prepare.part",
            )  # fmt: skip
            (folder / "prepare.part").rename(program)
    return program


def line(file: Path, how: Preprocessing) -> str:
    """A case as `prepare.cc` reads it."""
    return " ".join(
        map(
            str,
            [
                file, FITS.index(how.fit), *((0, 0) if how.resize is None else pair(how.resize)),
                *how.size, how.pad, INTERPOLATIONS.index(how.interpolation),
                int(how.exif == "upright"), ALPHAS.index(how.alpha), int(how.channels == 1),
                int(how.channel_order.startswith("B")), how.scale,
                LAYOUTS.index(how.layout), *how.mean, *how.std,
            ],
        )
    )  # fmt: skip


def prepared(program: Path, cases: list[Case], folder: Path) -> list[Any]:
    """What the app makes of images: arrays, or messages of what it refuses."""
    lines = []
    for number, (content, how) in enumerate(cases):
        file = folder / str(number)
        file.write_bytes(content)
        lines.append(line(file, how))
    (folder / "cases").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [program, folder / "cases", folder / "out"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = [int(line) if line.isdigit() else line for line in done.stdout.splitlines()]
    return numbers_of(told, folder / "out", "<f4")


@with_compiler
@given(st.lists(st.tuples(images(transparency=True), preprocessings()), min_size=40, max_size=60))
@settings(max_examples=6, suppress_health_check=list(HealthCheck))
def test_an_app_makes_the_same_numbers_of_an_image(
    prepare: Path, tmp_path_factory: pytest.TempPathFactory, cases: list[Case]
) -> None:
    check_prepared(cases, prepared(prepare, cases, tmp_path_factory.mktemp("prepared")))


@with_compiler
def test_only_the_exif_block_turns_an_image(prepare: Path, tmp_path: Path) -> None:
    how = Preprocessing(resize=None, crop=(48, 48), mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0)
    files = [each for each, _ in turned_files()]
    cases = [(each, how) for each in files]
    for content, found in zip(files, prepared(prepare, cases, tmp_path), strict=True):
        np.testing.assert_allclose(found, expected_of(content, how).reshape(-1), atol=4)


@with_compiler
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_a_jpeg_file_is_turned_and_its_colours_are_close(
    mode: str, orientation: int, prepare: Path, tmp_path: Path
) -> None:
    how = Preprocessing(resize=None, crop=(40, 40), scale=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    ramp = np.linspace(0, 255, 60 * 50 * 3).reshape(60, 50, 3).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    Image.fromarray(ramp).convert(mode).save(content, "JPEG", quality=90, exif=exif)
    (numbers,) = prepared(prepare, [(content.getvalue(), how)], tmp_path)
    off = np.abs(numbers - expected_of(content.getvalue(), how).reshape(-1))
    assert off.max() <= 8
    assert off.mean() < 1


@with_compiler
def test_what_is_no_good_image_is_refused(prepare: Path, tmp_path: Path) -> None:
    how = preprocess.default(32)
    contents = [b"", b"no image"]
    for kind, mode in (("PNG", "1"), ("JPEG", "L")):
        large, whole = io.BytesIO(), io.BytesIO()
        Image.new(mode, (10_000, 10_000)).save(large, kind)
        noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
        Image.fromarray(noise).save(whole, kind)
        contents += [large.getvalue()[:4000], whole.getvalue()[:9000], whole.getvalue()[:20]]
    told = prepared(prepare, [(content, how) for content in contents], tmp_path)
    assert [each.partition(":")[0] for each in told] == [
        "it is no image",
        "it is no image",
        *["the image is 10000 x 10000 px, which is too large", *["the image is damaged"] * 2] * 2,
    ]


def test_a_file_that_an_app_cannot_decode_is_no_golden_image(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "own.webp")
    path = artifacts["tflite", "fp32"]
    done = run("app", path, "--platform", "cpp", "-o", "made", "--image", "own.webp")
    assert done.code == 2
    assert done.message.endswith("it decodes PNG and JPEG files, and own.webp is none: convert it")


def test_code_of_an_app_says_what_golden_json_says(
    artifacts: Artifacts, copied: Callable[[Path], Path], run: CommandLine, tmp_path: Path
) -> None:
    path = copied(artifacts["tflite", "fp32"])
    names = [f"name {i} ??> \n" for i in range(10)]
    edited(path, labels=names)
    assert run("app", path, "--platform", "cpp", "-o", "made").code == 0
    code = (tmp_path / "made" / "golden" / "golden.cc").read_text()
    for image in json.loads((tmp_path / "made" / "golden" / "golden.json").read_text())["images"]:
        for row in image["scores"].values():
            assert ", ".join(map(repr, row)) in code
    model = (tmp_path / "made" / "classifier" / "model.cc").read_text()
    assert all(literals.string(name) in model for name in names)
    assert "$" not in model
