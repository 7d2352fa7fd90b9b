"""``edgekit history`` and ``edgekit export-profiles``, through the command line."""

from __future__ import annotations

import csv
import sqlite3
import statistics
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine

from edgekit.core import Block, Energy, Measurement
from edgekit.measure.statistics import counted
from edgekit.measure.store import Store

NOW = datetime.now(UTC)
TIMES = tuple(1 + i / 100 for i in range(20))
P50 = statistics.median(counted(TIMES))


def measurement(**changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "artifact": "exported/mobilenetv3-large-minimalistic-fp32.onnx",
        "target": "onnx",
        "device": "host",
        "runtime": "ONNX Runtime 1.31.1",
        "threads": 1,
        "batch": 1,
        "started": NOW.isoformat(),
        "blocks": tuple(Block(float(i), i // 2, TIMES, (2.0,)) for i in range(4)),
        "energy": Energy("unavailable", reason="no meter"),
        "load_ms": 12.5,
    }
    return Measurement(**{**values, **changes})


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of the test's own, with three measurements."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    found = Store(busy_s=0.05)
    found.add(
        [
            measurement(started=(NOW - timedelta(days=9)).isoformat()),
            measurement(
                artifact="runs/digits",
                target="pytorch",
                device="raspberry-pi-5-on-the-desk",
                runtime="PyTorch 2.13.0 eager",
                started=(NOW - timedelta(hours=5)).isoformat(),
                stable=False,
                reasons=("load of 1.5",),
            ),
            measurement(
                threads=4,
                energy=Energy("measured", "rapl", "package", mj_per_inference=3.5, ci95=(3.0, 4.0)),
            ),
        ]
    )
    return found


def test_history_lists_the_newest_first(run: CommandLine) -> None:
    shown = run("history")
    assert (shown.code, shown.err) == (0, "")
    assert max(map(len, shown.out.splitlines())) <= 80
    ids = [line.split()[0] for line in shown.out.splitlines() if line[:4].strip().isdecimal()]
    assert ids == ["3", "2", "1"]
    assert "* unstable" in shown.out
    document = run("history", "--json").json
    assert document["schema"] == "edgekit.history/1"
    assert [one["id"] for one in document["measurements"]] == [3, 2, 1]
    newest = document["measurements"][0]
    assert newest["latency_ms"]["n"] == 4 * len(counted(TIMES)) < 4 * len(TIMES)
    assert newest["latency_ms"]["p50"] == pytest.approx(P50)
    assert (newest["threads"], newest["energy"]["mj_per_inference"]) == (4, 3.5)
    assert document["measurements"][1]["reasons"] == ["load of 1.5"]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["--artifact", "mobilenet"], [3, 1]),
        (["--device", "raspberry-pi-5-on-the-desk"], [2]),
        (["--runtime", "pytorch"], [2]),
        (["--since", "1d"], [3, 2]),
        (["--since", "2h"], [3]),
        (["--since", "2w"], [3, 2, 1]),
        (["--since", "2020-01-31"], [3, 2, 1]),
        (["--since", "2020-01-31T12:30", "--limit", "1"], [3]),
        (["--artifact", "no-such-thing"], []),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_history_is_filtered(filters: list[str], ids: list[int], run: CommandLine) -> None:
    document = run("history", *filters, "--json").json
    assert [one["id"] for one in document["measurements"]] == ids
    shown = run("history", *filters)
    assert shown.code == 0
    assert ("no measurement matches" in shown.out) == (not ids)


def test_history_is_empty_before_the_first_measurement(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "new"))
    shown = run("history")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("no measurements yet")
    assert run("history", "--json").json["measurements"] == []
    assert not (tmp_path / "new").exists()


def test_a_measurement_without_samples_is_listed(run: CommandLine, store: Store) -> None:
    store.add([measurement(blocks=(), started=(NOW + timedelta(hours=1)).isoformat())])
    assert run("history", "--limit", "1").code == 0
    assert run("history", "--limit", "1", "--json").json["measurements"][0]["latency_ms"] is None
    assert run("export-profiles", "-o", "all.csv").code == 0


@pytest.mark.parametrize("when", ["yesterday", "7", "7y", "2026-13-01", "", "999999w"])
def test_a_time_that_cannot_be_read_is_explained(when: str, run: CommandLine) -> None:
    for command in (["history"], ["export-profiles", "-o", "a.csv"]):
        result = run(*command, "--since", when)
        assert (result.code, result.out) == (2, "")
        assert f"--since {when}: expected a date" in result.message


@pytest.mark.parametrize("command", [["history"], ["export-profiles", "-o", "a.csv"]])
def test_a_store_that_cannot_be_read_is_named(
    command: list[str], run: CommandLine, store: Store, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    result = run(*command)
    assert (result.code, result.out) == (3, "")
    assert "newer edgekit (schema 7" in result.message
    store.path.write_bytes(b"nonsense" * 1000)
    result = run(*command)
    assert (result.code, result.out) == (3, "")
    assert f"cannot read {store.path}: the file is damaged" in result.message
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["history"], 2),
        (["history", "--json"], 2),
        (["export-profiles", "-o", "t.csv"], 2),
        (["history", "--limit", "1"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_damaged_measurement_is_skipped_and_named(
    words: list[str], left: int, run: CommandLine, store: Store, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("UPDATE measurements SET samples = x'00' WHERE id = 3")
        connection.commit()
    result = run(*words)
    assert result.code == 0
    assert "warning: " in result.err
    assert "measurement 3 is damaged" in result.err
    if "--json" in words:
        assert [one["id"] for one in result.json["measurements"]] == [2, 1]
        assert len(result.json["skipped"]) == 1
    elif words[0] == "export-profiles":
        assert len(rows_of(tmp_path / "t.csv")) == left


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_measurements_are_written_as_csv(run: CommandLine, tmp_path: Path) -> None:
    result = run("export-profiles", "-o", "new/all.csv", "--json")
    assert result.json == {
        "schema": "edgekit.export-profiles/1",
        "path": "new/all.csv",
        "rows": 3,
        "measurements": 3,
    }
    rows = rows_of(tmp_path / "new" / "all.csv")
    assert [row["id"] for row in rows] == ["3", "2", "1"]
    assert float(rows[0]["p50_ms"]) == pytest.approx(P50)
    assert (rows[0]["energy_ci95_low_mj"], rows[1]["energy_ci95_low_mj"]) == ("3.0", "")
    assert (rows[0]["stable"], rows[1]["stable"]) == ("True", "False")
    assert rows[1]["reasons"] == "load of 1.5"


def test_samples_are_written_as_csv(run: CommandLine, tmp_path: Path) -> None:
    assert run("export-profiles", "-o", "s.csv", "--samples", "--runtime", "pytorch").code == 0
    rows = rows_of(tmp_path / "s.csv")
    assert len(rows) == 4 * (20 + 1)
    times = [float(row["ms"]) for row in rows if row["network"] == "artifact"]
    assert times == [*TIMES] * 4
    assert {row["instance"] for row in rows} == {"0", "1"}
    assert {row["ms"] for row in rows if row["network"] == "reference"} == {"2.0"}


@pytest.mark.parametrize("samples", [[], ["--samples"]], ids=["", "samples"])
def test_parquet_holds_what_csv_holds(samples: list[str], run: CommandLine, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("export-profiles", "-o", "a.parquet", *samples).code == 0
    assert run("export-profiles", "-o", "a.csv", *samples).code == 0
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in table]
    assert text == rows_of(tmp_path / "a.csv")


def test_parquet_without_its_package_names_the_line_that_installs_it(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run("export-profiles", "-o", "a.parquet")
    assert (result.code, result.out) == (5, "")
    assert "pip install pyarrow" in result.message
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ([], 2, ["--output"]),
        (["-o", "a.xlsx"], 2, ["a.xlsx", ".csv or .parquet"]),
        (["-o", "a.csv", "--limit", "0"], 2, ["--limit"]),
        (["-o", "a.csv", "--artifact", "none"], 3, ["no measurement of", "nothing is written"]),
        (["-o", "precious.csv"], 3, ["precious.csv exists already: give --overwrite"]),
        (["-o", "precious.csv/a.csv"], 3, ["precious.csv"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_table_that_cannot_be_written_is_explained(
    arguments: list[str], code: int, named: list[str], run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "precious.csv").write_text("precious")
    result = run("export-profiles", *arguments)
    assert (result.code, result.out) == (code, "")
    for text in named:
        assert text in result.message
    assert (tmp_path / "precious.csv").read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"home", "precious.csv"}


def test_a_table_is_replaced_when_asked(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    assert run("export-profiles", "-o", "a.csv", "--overwrite").code == 0
    assert len(rows_of(tmp_path / "a.csv")) == 3


def test_batches_are_told_apart_where_they_differ(run: CommandLine, store: Store) -> None:
    assert " N " not in run("history").out
    store.add([measurement(batch=8)])
    shown = run("history").out
    assert " N " in shown
    assert max(map(len, shown.splitlines())) <= 80
