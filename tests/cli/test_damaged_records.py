"""One damaged record in the store is named by every command that reads it, and hides no other."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from report_records import measurement

from edgekit.contract import digest
from edgekit.core import Block
from edgekit.measure.encoding import encode
from edgekit.measure.store import Store

Raw = tuple[bytes, bytes]
GOOD = measurement()


def with_times(*times: float) -> Callable[[], Raw]:
    first = dataclasses.replace(GOOD.blocks[0], samples_ms=times)
    return lambda: encode(dataclasses.replace(GOOD, blocks=(first, *GOOD.blocks[1:])))


def changed(**values: Any) -> Callable[[], Raw]:
    return lambda: encode(dataclasses.replace(GOOD, **values))


def rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[], Raw]:
    def made() -> Raw:
        record, samples = encode(GOOD)
        data = json.loads(zlib.decompress(record))
        change(data)
        return zlib.compress(json.dumps(data).encode()), samples

    return made


RECORDS: dict[str, Callable[[], Raw]] = {
    "no bytes": lambda: (b"", b""),
    "no time": with_times(0.0, 0.0),
    "time runs backwards": with_times(1.0, -1.0),
    "endless": with_times(1.0, float("inf")),
    "not a number": with_times(1.0, float("nan"), 1.0),
    "a block without samples": with_times(),
    "no block has samples": changed(blocks=(Block(0.0, 0, (), (1.0,)),)),
    "absurd": changed(load_ms=-1e300),
    "no batch": changed(batch=0),
    "fewer threads than none": changed(threads=-1),
    "never": changed(started="yesterday"),
    "before all time": changed(started="0001-01-01T00:00:00+23:59"),
    "a block begins with words": rewritten(lambda data: data["blocks"][0].__setitem__(0, "x")),
    "more digits than a float": rewritten(lambda data: data.update(load_ms=10**400)),
    "no artifact": rewritten(lambda data: data.pop("artifact")),
    "too many parts": rewritten(lambda data: data.update(tools=[{}] * 2_000_000)),
    "another version's": rewritten(lambda data: data.update(future=1)),
}


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of two measurements in a store of the test's own."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    path = tmp_path / "small.onnx"
    path.write_bytes(b"a network")
    good = dataclasses.replace(GOOD, artifact="small.onnx", sha256=digest([path]))
    Store().add([good, dataclasses.replace(good, threads=2)])
    return path


@pytest.mark.parametrize("kind", RECORDS)
def test_a_damaged_record_is_named_and_hides_no_other(
    kind: str, run: CommandLine, artifact: Path
) -> None:
    store = Store()
    with closing(sqlite3.connect(store.path)) as connection:
        values = (*RECORDS[kind](), digest([artifact]))
        connection.execute(
            "INSERT INTO measurements (started_s, artifact, device, runtime, record, samples, "
            "sha256) VALUES (2e9, 'small.onnx', 'host', 'x', ?, ?, ?)",
            values,
        )
        connection.commit()
    for words in (
        ["history"],
        ["export-profiles", "-o", "table.csv"],
        ["export-profiles", "--samples", "-o", "samples.csv"],
        ["report", artifact, "-o", "page.html"],
    ):
        result = run(*words)
        assert result.code == 0, (words, result.err)
        assert f"{store.path}: measurement 3 is damaged" in result.err, words
    shown = run("history", "--json").json
    assert [one["id"] for one in shown["measurements"]] == [2, 1]
    assert len(shown["skipped"]) == 1
