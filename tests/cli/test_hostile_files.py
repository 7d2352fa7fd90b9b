"""Damaged and hostile files end in a message, whatever they do to the runtime.

A seeded sample of `tests/bench/hostile.py`, which has thousands; and each end by itself.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from damage import KINDS, contracts, openvino_files, tflite_files
from damage.onnx_files import KINDS as ONNX
from damage.onnx_files import changing, fill
from damage.tflite_files import KINDS as TFLITE
from damage.tflite_files import add_loop
from small_artifacts import Artifacts

from edgekit import registry, tables
from edgekit.contract import contract_path

Copied = Callable[[Path], Path]
Png = Callable[..., Path]

SAMPLE = [
    *(("tflite", kind, 0) for kind in sorted({*TFLITE} - {"words"})),
    ("tflite", "words", 3),
    *(("onnx", kind, 1) for kind in ("attributes", "edges", "external", "input_sizes", "notes")),
    *(("openvino", kind, 2) for kind in ("constants", "data", "edges", "bomb", "huge_fill")),
]


@pytest.mark.parametrize(("target", "kind", "seed"), SAMPLE)
def test_a_damaged_file_ends_in_a_message_or_in_figures(
    target: str,
    kind: str,
    seed: int,
    artifacts: Artifacts,
    copied: Copied,
    run: CommandLine,
    png: Png,
) -> None:
    path = copied(artifacts[target, "fp32"])
    KINDS[target][kind](path, random.Random(seed))
    contracts.resign(path)
    result = run("predict", path, png())
    assert result.code in (0, 3), result.err
    if result.code == 3:
        assert str(path) in result.message


@pytest.mark.parametrize("command", ["predict", "profile"])
def test_a_file_that_crashes_its_runtime_is_named(
    command: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["tflite", "fp32"])
    add_loop(path, (1, 0), at_end=False)  # its body is the network, with the loop inside
    contracts.resign(path)
    more = [png()] if command == "predict" else ["--seconds", "1", "--no-store"]
    result = run(command, path, *more)
    assert (result.code, result.out) == (3, "")
    assert f"{path} crashed LiteRT (SIGSEGV): it is damaged" in result.message


GIGABYTES: dict[str, Callable[[Path], object]] = {
    "onnx": lambda path: changing(lambda proto, _: fill(proto, [10**10], "ConstantOfShape"))(
        path, random.Random(0)
    ),
    "openvino": lambda path: openvino_files.fill(path, "30000,30000"),
    "tflite": lambda path: tflite_files.fill(path, [30_000, 30_000]),
}


@pytest.mark.parametrize("target", GIGABYTES)
@pytest.mark.parametrize("command", ["predict", "profile"])
def test_a_file_that_makes_gigabytes_from_nothing_is_refused(
    command: str, target: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts[target, "fp32"])
    GIGABYTES[target](path)
    contracts.resign(path)
    more = [png()] if command == "predict" else ["--seconds", "1", "--no-store"]
    result = run(command, path, *more)
    assert (result.code, result.out) == (3, "")
    assert str(path) in result.message
    # LiteRT gives no reason.
    perhaps = "perhaps it " if target == "tflite" else f"{path} "
    assert f"{perhaps}needs too much memory for its size" in result.message
    assert "EDGEKIT_RUNTIME_MIB" in result.message


@pytest.mark.parametrize("command", ["predict", "profile"])
def test_a_loop_without_an_end_is_ended(
    command: str,
    artifacts: Artifacts,
    copied: Copied,
    run: CommandLine,
    png: Png,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    ONNX["loop"](path, random.Random(0))
    contracts.resign(path)
    monkeypatch.setenv("EDGEKIT_RUNTIME_SECONDS", "1")
    more = [png()] if command == "predict" else ["--seconds", "1", "--no-store"]
    result = run(command, path, *more)
    assert (result.code, result.out) == (3, "")
    assert f"{path} takes too long for its size: ONNX Runtime may compute 1 s" in result.message
    assert "allow more with EDGEKIT_RUNTIME_SECONDS" in result.message


def test_bounds_that_are_no_numbers_are_refused(
    artifacts: Artifacts, run: CommandLine, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_RUNTIME_MIB", "lots")
    result = run("predict", artifacts["onnx", "fp32"], png())
    assert result.code == 2
    assert "EDGEKIT_RUNTIME_MIB is 'lots': expected a positive number" in result.message


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _zeros(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _sparse(path: Path) -> None:
    os.truncate(path, 40 << 30)


UNFIT = {
    "pipe": (_fifo, "is a pipe: expected a regular file"),
    "endless": (_zeros, "is a device or socket: expected a regular file"),
    "sparse": (_sparse, "bytes: expected at most"),
}


def _commands(path: Path, image: Path) -> dict[str, list[object]]:
    return {
        "predict": ["predict", path, image],
        "embedded": ["predict", path, image, "--embedded"],
        "evaluate": ["evaluate", path, "--data", "digits"],
        "describe": ["describe", path],
        "verify": ["verify", path, "--against", "mobilenetv3-small"],
        "profile": ["profile", path, "--seconds", "1", "--no-store"],
        "compare": ["compare", path, path],
    }


@pytest.mark.parametrize("what", ["file", "contract"])
@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("target", tables.TARGETS)
def test_what_is_no_regular_file_is_refused_by_every_command(
    target: str,
    kind: str,
    what: str,
    artifacts: Artifacts,
    copied: Copied,
    run: CommandLine,
    png: Png,
) -> None:
    path, image = copied(artifacts[target, "fp32"]), png()
    file = registry.target(target).files(path)[-1] if what == "file" else contract_path(path)
    make, expected = UNFIT[kind]
    make(file)
    for name, words in _commands(path, image).items():
        if what == "contract" and name == "embedded":
            continue
        result = run(*words)
        assert (result.code, result.out) == (3, ""), name
        assert str(file) in result.message, name
        assert expected in result.message, name


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize(
    "words",
    [
        ["describe", "x.pt"],
        ["describe", "mobilenetv1@0.25", "--weights", "x.pt"],
        ["describe", "mobilenetv1@0.25", "--weights", "x.safetensors"],
        ["describe", "x.pt2"],
        ["train", "mobilenetv1@0.25", "--init", "x.pt", "-o", "run"],
        ["train", "mobilenetv1@0.25", "--teacher", "x.pt", "-o", "run"],
        ["train", "--recipe", "x.toml", "-o", "run"],
        ["report", "x.json", "-o", "page.html"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_what_is_no_regular_file_is_refused_as_any_input(
    words: list[str], kind: str, run: CommandLine, tmp_path: Path
) -> None:
    name = next(word for word in words if word.startswith("x."))
    (tmp_path / name).write_bytes(b"")
    make, expected = UNFIT[kind]
    make(tmp_path / name)
    result = run(*words)
    assert (result.code, result.out) == (3, ""), result.err
    assert name in result.message
    assert expected in result.message
