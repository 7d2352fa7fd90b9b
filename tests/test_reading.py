"""Files that somebody else wrote."""

from __future__ import annotations

import ast
import os
import sqlite3
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path

import pytest

import edgekit
from edgekit.core import database, reading

ROOT = Path(edgekit.__file__).parents[1]

# What these read is the kernel's, this process's own, of installed packages, or part of edgekit.
OWN = {
    "edgekit/cli/console.py", "edgekit/cli/doctor.py", "edgekit/cli/list.py",
    "edgekit/core/reading.py", "edgekit/agent/kernel.py", "edgekit/agent/bounds.py",
    "edgekit/agent/environment.py", "edgekit/measure/meters/_sysfs.py",
    "edgekit/agent/placing.py", "edgekit/agent/store.py", "edgekit/agent/worker.py",
    "edgekit/native_output.py", "edgekit/plugins.py",
    "exporters/_openvino_opener.py", "exporters/tflite/litert.py",
}  # fmt: skip
# Files that a search has just written itself, in its own folder.
SEARCH = {f"edgekit/search/{name}.py" for name in ("contest", "jobs", "netadapt", "workshop")}


def _reads(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in ("read_text", "read_bytes") and not isinstance(
            call.func.value, ast.Call
        )
    if not (isinstance(call.func, ast.Name) and call.func.id == "open"):
        return False
    mode = call.args[1] if len(call.args) > 1 else ast.Constant("r")
    return not (isinstance(mode, ast.Constant) and set("wax") & set(str(mode.value)))


def test_files_are_opened_for_reading_in_one_place() -> None:
    for file in sorted([*(ROOT / "edgekit").rglob("*.py"), *(ROOT / "exporters").rglob("*.py")]):
        name = str(file.relative_to(ROOT))
        if name in OWN | SEARCH or "template" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Call) and _reads(node)), f"{name}:{node.lineno}"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(reading.UnfitFile) as caught:
        reading.read_bytes(tmp_path / "pipe")
    assert caught.value.strerror == "is a pipe: expected a regular file"


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert reading.read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(reading.UnfitFile, match="has 5 bytes: expected at most 4"):
        reading.read_bytes(tmp_path / "file", 4)
    with pytest.raises(reading.UnfitFile, match="is a folder"):
        reading.check_file(tmp_path)


@pytest.mark.parametrize("depth", [101, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), ["[]", ('{"a":', "}")])
def test_deep_json_is_refused(depth: int, opening: str, closing: str) -> None:
    with pytest.raises(ValueError, match="nested more than 100 levels deep"):
        reading.parse_json(opening * depth + "1" + closing * depth)
    assert reading.parse_json(opening * 99 + "1" + closing * 99)


def test_other_tools_may_write_any_number_and_more_of_them() -> None:
    (found,) = reading.parse_json("[NaN]", any_numbers=True)
    assert found != found
    with pytest.raises(ValueError, match="too many parts: they would take over 1 MiB"):
        reading.parse_json("[" + "1," * 20_000 + "1]", most_bytes=1 << 20)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "9" * 5000, "{", "\ud800"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of the library
        reading.parse_json(text)


def test_memory_is_taken_for_what_a_file_has(tmp_path: Path) -> None:
    """Not for what it might have at most."""
    path = tmp_path / "small"
    path.write_bytes(b"x" * 1000)
    tracemalloc.start()
    assert len(reading.read_bytes(path)) == 1000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_what_is_compressed_has_a_bound() -> None:
    bomb = zlib.compress(bytes(1 << 28), 9)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"it inflates to over 1,000,000 bytes"):
        reading.inflate(bomb, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    assert reading.inflate(zlib.compress(b"12345"), 5) == b"12345"
    for damaged in (b"", b"x", zlib.compress(b"12345")[:-4]):
        with pytest.raises(ValueError, match="it cannot be inflated"):
            reading.inflate(damaged)


def test_fields_of_databases_have_a_bound(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x")) as connection:
        connection.execute("CREATE TABLE t (a TEXT)")
        connection.execute("INSERT INTO t VALUES (?)", ("x" * 1001,))
        connection.commit()
    with (
        closing(database.connect_database(str(tmp_path / "x"), 1000)) as connection,
        pytest.raises(sqlite3.DataError, match="too big"),
    ):
        connection.execute("SELECT a FROM t").fetchall()


def test_databases_are_opened_in_one_place() -> None:
    for file in sorted((ROOT / "edgekit").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        assert "sqlite3.connect(" not in text or file.name == "database.py", file
        assert "zlib.decompress" not in text or file.name == "reading.py", file


AMPLIFIED = {
    "objects": ("[{}", ",{}", "]"),
    "lists": ("[[]", ",[]", "]"),
    "numbers": ("[1", ",1", "]"),
    "short texts": ('["ab"', ',"ab"', "]"),
    "long names": ('{"": 0', ', "{}": 1000', "}"),
    "objects of one": ('[{"a": 0}', ', {"a": 1000}', "]"),
    "lists of lists": ("[[[]]", ", [[]]", "]"),
}


@pytest.mark.parametrize("kind", AMPLIFIED)
def test_objects_of_json_take_no_more_than_is_counted(kind: str) -> None:
    first, more, last = AMPLIFIED[kind]
    each = (more.replace("{}", str(i)) if kind == "long names" else more for i in range(10_000))
    text = first + "".join(each) + last
    tracemalloc.start()
    reading.parse_json(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= reading.object_bytes(text) + (1 << 20)  # of the decoder, and what looks at depth
    assert reading.object_bytes(text) == reading.object_bytes(text.encode())


@pytest.mark.parametrize("kind", AMPLIFIED)
def test_json_of_too_many_parts_is_refused_before_it_is_read(kind: str) -> None:
    first, more, last = AMPLIFIED[kind]
    text = first + more * (reading.LARGEST_OBJECTS // 60) + last
    tracemalloc.start()
    with pytest.raises(ValueError, match="it has too many parts: they would take over 512 MiB"):
        reading.parse_json(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_as_many_samples_as_fit_into_a_file_are_read() -> None:
    sample = "1.234567, "
    count = reading.LARGEST_RESULTS // len(sample)
    assert reading.object_bytes(sample) * count <= reading.LARGEST_OBJECTS
