"""Apps for microcontrollers, built for this machine and tested with the real interpreter; see
``make apps-test``."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from app_files import edited
from command_line import CommandLine
from test_cpp_app import NAMES, compiled
from test_cpp_build import built, inside

from edgekit import apps
from edgekit.apps.mcu import sources
from edgekit.contract import load
from edgekit.core import Preprocessing
from edgekit.data import preprocess
from edgekit.data.stored import stored_values
from edgekit.errors import DataError

pytestmark = pytest.mark.apps

TESTS = ("pixels", "scores", "labels", "program")
LACKING = [name for name in ("cmake", "g++", "make") if shutil.which(name) is None]


@pytest.fixture(autouse=True)
def _needs() -> None:
    if LACKING:
        pytest.skip(f"there is no {LACKING[0]}")
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")


@pytest.fixture
def artifact(int8_files: Path, copied: Callable[[Path], Path]) -> Path:
    """A file with integers at both ends."""
    (path,) = (int8_files / "int8").glob("*.tflite")
    return copied(path)


def failing(folder: Path) -> tuple[set[str], str]:
    """Names of the app's own tests that fail, and what they say."""
    done = inside(folder, "ctest", "--test-dir", "build", "--output-on-failure")
    assert f"of {len(TESTS)}" in done.stdout, done.stdout + done.stderr
    names = [name for name in TESTS if not re.search(rf" {name} \.+ +Passed", done.stdout)]
    assert bool(names) == bool(done.returncode)
    return set(names), done.stdout + done.stderr


def test_an_app_runs_and_passes_its_own_test(
    artifact: Path, short_network: Path, run: CommandLine, tmp_path: Path
) -> None:
    words = ("--platform", "mcu", "-o", "made", "--against", short_network)
    assert run("app", artifact, *words).code == 0
    folder = tmp_path / "made"
    built(folder)
    assert failing(folder)[0] == set(), failing(folder)[1]
    done = inside(folder, "python", "host/run.py", "build/libclassify.so")
    assert done.returncode == 0, done.stderr
    used, arena = map(int, re.findall(r"arena: (\d+) of (\d+) bytes", done.stdout)[0])
    assert 0 <= arena - used < 1024
    known = run("predict", artifact, folder / "golden" / "small.png", "--device", "tflm", "--json")
    labels = known.json["predictions"][0]["labels"]
    shown = re.findall(r"^ +([\d.]+)%  (.*)$", done.stdout, re.MULTILINE)
    assert [name for _, name in shown] == [each["label"] for each in labels]
    for (percent, _), each in zip(shown, labels, strict=True):
        assert float(percent) == pytest.approx(100 * each["probability"], abs=0.006)


@pytest.mark.parametrize("place", ["made", "with a space"])
def test_what_is_linked_takes_no_memory_from_a_heap(
    place: str, artifact: Path, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifact, "--platform", "mcu", "-o", place).code == 0
    built(tmp_path / place)
    library = tmp_path / place / "build" / "classifier" / "libclassifier.a"
    told = subprocess.run(
        ["nm", "--undefined-only", "-C", library], capture_output=True, text=True, check=True
    ).stdout
    assert "Invoke" in told
    for name in ("malloc", "operator new", "__cxa_throw", "std::__throw", "__cxa_allocate"):
        assert name not in told


def test_a_wrong_app_fails_its_test_and_the_name_says_where(
    artifact: Path, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifact, "--platform", "mcu", "-o", "made").code == 0
    folder = tmp_path / "made"

    def wrong(file: str, old: str, new: str) -> set[str]:
        path = folder / "classifier" / file
        text = path.read_text()
        assert text.count(old) >= 1
        path.write_text(text.replace(old, new))
        built(folder)
        found, _ = failing(folder)
        path.write_text(text)
        return found - {"program"}

    assert wrong("geometry.cc", "std::max(0.0, 1.0 - x)", "1.0") == {"pixels"}
    assert wrong("decode.cc", "std::exp(", "std::exp2(") == {"labels"}
    header = (folder / "classifier" / "model.h").read_text()
    (arena,) = re.findall(r"CLASSIFIER_ARENA_BYTES (\d+)", header)
    assert wrong("model.h", f"BYTES {arena}", f"BYTES {int(arena) - 1024}") == {"scores"}
    (zero,) = re.findall(r"kOutputZeroPoint = (-?\d+);", header)
    assert wrong("model.h", f"ZeroPoint = {zero};", "ZeroPoint = 500;") == {"scores"}
    operators = (folder / "classifier" / "operators.h").read_text()
    (count,) = re.findall(r"CLASSIFIER_OPERATORS (\d+)", operators)
    less = f"OPERATORS {int(count) - 1}"
    assert wrong("operators.h", f"OPERATORS {count}", less) == {"scores"}
    array = (folder / "classifier" / "model_data.cc").read_text().splitlines()
    middle = len(array) // 2
    line = ",".join(str(255 - int(n)) for n in array[middle].strip(",").split(","))
    assert "scores" in wrong("model_data.cc", "\n".join(array[middle - 40 : middle + 40]),
                             "\n".join([f"{line},"] * 80))  # fmt: skip


def test_names_of_classes_stay_what_they_are(
    artifact: Path, run: CommandLine, tmp_path: Path
) -> None:
    edited(artifact, labels=[name for name in NAMES if name != "\udcff"][:10])
    assert run("app", artifact, "--platform", "mcu", "-o", "made").code == 0
    folder = tmp_path / "made"
    built(folder)
    assert failing(folder)[0] == set(), failing(folder)[1]
    shown = inside(folder, "python", "host/run.py", "build/libclassify.so").stdout
    assert shown.isascii()
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 8, shown


def test_a_python_without_the_interpreter_says_what_to_install(
    artifact: Path, run: CommandLine, tmp_path: Path
) -> None:
    assert run("app", artifact, "--platform", "mcu", "-o", "made").code == 0
    done = subprocess.run(
        [shutil.which("python3", path="/usr/bin") or "python3", "-I", "-S", "host/run.py", "x.so"],
        cwd=tmp_path / "made", capture_output=True, text=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 1
    assert "lacks the interpreter: python -m pip install tflite-micro" in done.stderr


HOWS = [
    Preprocessing(resize=20, crop=16),
    Preprocessing(resize=(17, 30), crop=(13, 22), interpolation="bicubic", channel_order="BGR"),
    Preprocessing(resize=None, crop=(9, 5), interpolation="nearest"),
    Preprocessing(resize=None, crop=(12, 16), fit="letterbox", pad=114, interpolation="bilinear"),
    Preprocessing(resize=None, crop=24, fit="letterbox", pad=7, interpolation="area"),
    Preprocessing(resize=None, crop=3, fit="letterbox", pad=255, interpolation="bicubic"),
    Preprocessing(resize=None, crop=(40, 7), fit="stretch", interpolation="area", layout="NCHW"),
    Preprocessing(
        resize=(30, 31), crop=(28, 29), fit="stretch", channel_order="L", mean=(0.5,), std=(0.2,)
    ),
    Preprocessing(resize=None, crop=1, fit="stretch", interpolation="bicubic"),
    Preprocessing(resize=70, crop=(65, 3), layout="NCHW", channel_order="BGR"),
]
MOST = 60
SMALL = 2  # Status::small


@pytest.mark.parametrize("how", HOWS, ids=lambda how: f"{how.fit}-{how.interpolation}")
def test_frames_of_any_size_become_what_edgekit_makes_of_them(
    how: Preprocessing, artifact: Path, tmp_path: Path
) -> None:
    contract = load(artifact)
    given = dataclasses.replace(contract.inputs[0], shape=how.shape())
    contract = dataclasses.replace(contract, preprocessing=how, inputs=(given,))
    (tmp_path / "model.h").write_text(sources.header(contract, 1, 1, "nothing"))
    (tmp_path / "model.cc").write_text(sources.tables(contract))
    code = [
        Path(apps.__file__).parent / place / "template" / "classifier" for place in ("cpp", "mcu")
    ]
    # Else headers beside a source come first.
    for place in (code[0] / "geometry.h", code[0] / "geometry.cc", *code[1].glob("prepare.*")):
        shutil.copy(place, tmp_path)
    shutil.copy(code[1] / "status.h", tmp_path)
    compiled(
        "-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover",
        "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", f"-DCLASSIFIER_MAX_SIDE={MOST}",
        "-I", tmp_path, *tmp_path.glob("*.cc"), Path(__file__).with_name("frames.cc"),
        "-o", tmp_path / "frames",
    )  # fmt: skip
    rng = np.random.default_rng(5)
    sizes = [(MOST, 1), (1, MOST), (MOST, MOST), (1, 1), (MOST, 2), (3, MOST)]
    sizes += [(int(h), int(w)) for h, w in rng.integers(1, MOST + 1, (60, 2))]
    frames = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    with open(tmp_path / "in", "wb") as file:
        for frame in frames:
            file.write(bytes([frame.shape[1], frame.shape[0]]))
            file.write(b"".join(row.tobytes() + b"\0" for row in frame))
    done = inside(tmp_path, tmp_path / "frames", tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = np.fromfile(tmp_path / "out", np.uint8).reshape(len(frames), -1)
    for frame, row in zip(frames, rows, strict=True):
        try:
            pixels = preprocess.resize_and_crop(frame, how)
        except DataError:
            assert row[0] == SMALL, frame.shape
            continue
        assert row[0] == 0, frame.shape
        expected = stored_values(preprocess.normalize(pixels, how), given).reshape(-1)
        np.testing.assert_array_equal(row[1:].view(np.int8), expected, str(frame.shape))
