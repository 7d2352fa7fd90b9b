"""Files that were written for one kind of processor, and go to another one."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine, Result
from small_artifacts import copy_artifact, once, shared_folder
from ssh_server import SshServer

from edgekit import registry
from edgekit.contract import contract_path, contract_text, load
from edgekit.core import Quantizing
from edgekit.core.forms import fits
from edgekit.devices import device, runner

NOISE = ("--seconds", 1, "--precision-goal", 50, "--energy", "off")


@pytest.fixture(scope="module")
def integers(short_network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of integers for this machine. Read-only."""
    from edgekit.conversion import export

    folder = shared_folder(tmp_path_factory) / "other-kinds"
    with once(folder) as mine:
        if mine:
            part = folder.with_name("other-kinds.part")
            export(str(short_network), ["onnx"], ["int8"], out=part, overwrite=True)
            part.rename(folder)
    (path,) = folder.glob("*.onnx")
    return path


@pytest.fixture
def on_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """All devices are taken for Arm."""
    monkeypatch.setattr(device, "isa_family", lambda machine, extensions: "arm")
    monkeypatch.setattr(device, "_HARDWARE", {})


def warnings(result: Result) -> list[str]:
    assert result.code == 0, result.err
    lines = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    return [line.removeprefix("warning: ") for line in lines if "processors of the kind" in line]


def commands(path: Path, network: Path, image: Path) -> Iterator[tuple[object, ...]]:
    yield "verify", path, "--against", network
    yield "evaluate", path, "--data", "digits"
    yield "predict", path, image
    yield "profile", path, *NOISE
    yield "compare", path, path, "--seconds", 1


def test_every_command_says_so_once(
    run: CommandLine,
    integers: Path,
    short_network: Path,
    png: Callable[..., Path],
    on_arm: None,
) -> None:
    own = load(integers).scheme.isa
    for words in commands(integers, short_network, png()):
        result = run(*words, "--json")
        (text,) = warnings(result)
        assert text.startswith(f"{integers} was written for processors of the kind {own}, and")
        assert "this machine is of the kind arm" in text
        assert f"'edgekit export {short_network} --target onnx --precision int8'" in text
        document = result.json
        entries = document.get("measurements", [document])
        assert all(text in entry["warnings"] for entry in entries), words


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_a_device_is_named(
    run: CommandLine,
    integers: Path,
    short_network: Path,
    png: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_arm: None,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(runner, "_SLOTS", {})
    (tmp_path / "server").mkdir()
    server = SshServer(tmp_path / "server")
    server.install(monkeypatch)
    try:
        words = ("--transport", server.address, "--python", sys.executable)
        assert run("devices", "add", "pi", *words).code == 0
        for words in commands(integers, short_network, png()):
            (text,) = warnings(run(*words, "--device", "pi", "--json"))
            assert "and pi is of the kind arm" in text
            assert "--precision int8 --device pi'" in text
        for_it = run(
            "export", short_network, "-t", "onnx", "-p", "int8", "--device", "pi", "-o", "for-pi"
        )
        assert for_it.code == 0, for_it.err
        (path,) = Path("for-pi").glob("*.onnx")
        assert load(path).scheme.isa == "arm"
        assert warnings(run("predict", path, png(), "--device", "pi")) == []
        for slots in runner._SLOTS.values():
            slots.close()
    finally:
        server.close()


def test_nothing_is_said_of_what_fits_or_is_not_known(
    run: CommandLine,
    integers: Path,
    short_network: Path,
    png: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for words in commands(integers, short_network, png()):
        result = run(*words, "--json")
        assert warnings(result) == []
        entries = result.json.get("measurements", [result.json])
        assert all(entry["warnings"] == [] for entry in entries), words
    monkeypatch.setattr(device, "isa_family", lambda machine, extensions: "arm")
    older = copy_artifact(integers, tmp_path)
    contract = load(older)
    scheme = dataclasses.replace(contract.scheme, isa=None)
    contract_path(older).write_text(contract_text(dataclasses.replace(contract, scheme=scheme)))
    assert "isa" not in json.loads(contract_path(older).read_text())["scheme"]
    assert warnings(run("predict", older, png())) == []
    contract_path(older).unlink()
    assert warnings(run("profile", older, *NOISE)) == []


def test_what_somebody_chose_is_for_no_processor(run: CommandLine, short_network: Path) -> None:
    from edgekit.conversion import export
    from edgekit.quantize.integers import Integers

    for name, integers in (("own", Integers(forms={})), ("isa", Integers(processor="arm"))):
        (made,) = export(
            str(short_network), ["tflite"], ["int8"], out=name, integers=integers, overwrite=True
        )
        assert load(made.path).scheme.isa == {"own": None, "isa": "arm"}[name]
    floats = run("export", short_network, "-t", "tflite", "-p", "fp32", "-o", "floats")
    assert floats.code == 0, floats.err
    (path,) = Path("floats").glob("*.tflite")
    assert load(path).scheme.isa is None


@pytest.mark.parametrize(
    ("name", "precision", "isa", "there", "expected"),
    [
        ("onnx", "int8", "x86-vnni", "arm", False),
        ("onnx", "int8", "arm", "x86-vnni", False),
        ("onnx", "int8", "x86-vnni", "x86", False),  # sums overflow there
        ("onnx", "int8", "x86", "x86-vnni", True),  # seven bits do no harm
        ("onnx", "int8-mixed", "x86", "arm", False),
        ("onnx", "int8-dynamic", "x86-vnni", "arm", True),
        ("tflite", "int8", "x86", "x86-vnni", True),
        ("tflite", "int8", "x86", "arm", False),
        ("openvino", "int8", "x86-vnni", "arm", True),
        ("openvino", "int8", "arm", "x86", False),
    ],
)
def test_what_counts_are_the_forms(
    name: str, precision: str, isa: str, there: str, expected: bool
) -> None:
    found = registry.target(name)
    assert isinstance(found, Quantizing)
    assert fits(found.choices, precision, isa, there) is expected
    assert fits(found.choices, precision, isa, isa)
