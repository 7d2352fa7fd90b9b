"""The contract inside a file is read within bounds, and without building the file's graph."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from command_line import CommandLine
from damage import contracts
from external_data import varint
from small_artifacts import Artifacts

from edgekit import registry, tables
from edgekit.contract import contract_path
from exporters import _onnx_files, _openvino_files
from exporters.tflite.flatbuffer import pack, schema, unpack

Copied = Callable[[Path], Path]
Png = Callable[..., Path]


def _in_graph(part: bytes) -> Callable[[Path], None]:
    """Adds to an ONNX graph: parts of a message that stands twice are one message."""

    def change(path: Path) -> None:
        content = part * 120_000
        with path.open("ab") as file:
            file.write(bytes([7 << 3 | 2]) + varint(len(content)) + content)

    return change


def _in_xml(old: str, new: str, count: int = 1) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new * count + old, 1), encoding="utf-8")

    return change


def _in_layers(part: str) -> Callable[[Path], None]:
    return _in_xml("</layers>" if part.startswith("<") else "><layers", part, 210_000)


def _entries_of_metadata(path: Path) -> None:
    flat = unpack(path.read_bytes())
    entry = schema().MetadataT()
    entry.name, entry.buffer = "other", 0
    flat.metadata = [entry] * 1100 + flat.metadata
    path.write_bytes(pack(flat))


# What is done to a file of a target, and what is said of it.
KINDS: dict[tuple[str, str], tuple[Callable[[Path], object], str]] = {
    ("onnx", "nodes"): (_in_graph(b"\x0a\0"), "has over 100,000 parts"),
    ("onnx", "inputs"): (_in_graph(b"\x5a\0"), "has over 100,000 parts"),
    ("openvino", "elements"): (_in_layers("<a/>"), "has over 200,000 parts"),
    ("openvino", "attributes"): (_in_layers(' a=""'), "has over 200,000 parts"),
    ("openvino", "declarations"): (
        _in_xml("<net", '<!DOCTYPE net [<!ENTITY a "<b/>">]>'),
        "declares a type of document",
    ),
    ("openvino", "large"): (
        lambda path: path.write_bytes(path.read_bytes() + b" " * (64 << 20)),
        "expected at most 67,108,864: expected an OpenVINO IR",
    ),
    ("tflite", "metadata"): (_entries_of_metadata, "entries of metadata: expected a network"),
    **{
        (target, "long contract"): (
            lambda path, target=target: registry.target(target).embed(path, "x" * (9 << 20)),  # type: ignore[misc]
            "has a contract of 9,437,184 bytes inside: expected at most 8,388,608",
        )
        for target in tables.TARGETS
    },
}


@pytest.fixture(autouse=True)
def fewer_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the bounds, which takes a tenth of the time."""
    monkeypatch.setattr(_onnx_files, "MOST_FIELDS", _onnx_files.MOST_FIELDS // 10)
    monkeypatch.setattr(_openvino_files, "MOST_TAGS", _openvino_files.MOST_TAGS // 10)


@pytest.fixture
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets no reader of whole graphs work in this process; those that run a file may."""

    def start() -> None:
        here = os.getpid()
        for place, name in ((onnx, "load"), (ElementTree, "parse")):
            reader = getattr(place, name)

            def refused(*words: object, reader: Callable[..., object] = reader) -> object:
                assert os.getpid() != here, "a graph is built in the parent"
                return reader(*words)

            monkeypatch.setattr(place, name, refused)

    return start


@pytest.mark.parametrize(("target", "kind"), KINDS)
def test_contracts_inside_are_read_within_bounds(
    target: str,
    kind: str,
    artifacts: Artifacts,
    copied: Copied,
    run: CommandLine,
    png: Png,
    no_graphs: Callable[[], None],
) -> None:
    path, image = copied(artifacts[target, "fp32"]), png()
    change, said = KINDS[target, kind]
    change(path)
    no_graphs()
    tracemalloc.start()
    inside = run("predict", path, image, "--embedded")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (inside.code, inside.out) == (3, "")
    assert str(path) in inside.message
    assert said in inside.message
    assert peak < 160 << 20
    # The inside tells altered bytes from a contract of another file, and what is missing.
    altered = run("predict", path, image)
    assert (altered.code, altered.out) == (3, "")
    contract_path(path).rename(contract_path(path).with_suffix(".gone"))
    missing = run("predict", path, image)
    assert (missing.code, missing.out) == (3, "")
    assert said in missing.message


@pytest.mark.parametrize("target", tables.TARGETS)
def test_good_contracts_are_read_without_a_graph(
    target: str,
    artifacts: Artifacts,
    copied: Copied,
    run: CommandLine,
    no_graphs: Callable[[], None],
) -> None:
    path = copied(artifacts[target, "fp32"])
    contract_path(path).unlink()
    no_graphs()
    assert run("describe", path, "--embedded").code == 0


@pytest.mark.parametrize("command", ["predict", "evaluate", "describe", "verify", "profile"])
def test_graphs_of_too_many_parts_are_refused_by_every_command(
    command: str, artifacts: Artifacts, copied: Copied, run: CommandLine, png: Png
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    KINDS["onnx", "nodes"][0](path)
    contracts.resign(path)
    words: dict[str, list[object]] = {
        "predict": ["predict", path, png()],
        "evaluate": ["evaluate", path, "--data", "digits"],
        "describe": ["describe", path],
        "verify": ["verify", path, "--against", "mobilenetv1@0.25"],
        "profile": ["profile", path, "--seconds", "1", "--no-store"],
    }
    result = run(*words[command])
    assert (result.code, result.out) == (3, "")
    assert f"{path} has over 100,000 parts: expected a network" in result.message
