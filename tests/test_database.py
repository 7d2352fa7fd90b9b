"""Databases that somebody else wrote: every reader refuses what computes, and every answer ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from command_line import CommandLine
from report_records import measurement

from edgekit.core import database
from edgekit.errors import EdgekitError, InputError
from edgekit.measure.store import Store
from edgekit.search.costs import CostTable
from edgekit.search.journal import Iteration, Journal

ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x FROM r) SELECT x FROM r"


def _journal(path: Path) -> object:
    with Journal(path, {"network": "a"}) as journal:
        return journal.steps("netadapt")


def _costs(path: Path) -> object:
    with closing(CostTable(path, {})) as table:
        return table.get("a part")


# A reader of each file, and a table of it.
READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "store": (lambda path: Store(path).find(), "measurements"),
    "store that is written": (lambda path: Store(path).add([measurement()]), "measurements"),
    "journal": (_journal, "facts"),
    "costs": (_costs, "parts"),
}


def _instead(made: str) -> str:
    """Statements that put something else in the place of a table."""
    return f"ALTER TABLE {{0}} RENAME TO gone; {made}; DROP TABLE gone"


KINDS = {
    "view": _instead("CREATE VIEW {0} AS " + ENDLESS),
    "trigger": f"CREATE TRIGGER t AFTER INSERT ON {{0}} BEGIN {ENDLESS}; END",
    "another view": "CREATE VIEW other AS " + ENDLESS,
    "computed column": "ALTER TABLE {0} ADD COLUMN z AS (hex(zeroblob(1000000)))",
    "check": "ALTER TABLE {0} ADD COLUMN z CHECK (length(hex(zeroblob(1000000))) > 0)",
    "default": "ALTER TABLE {0} ADD COLUMN z DEFAULT 1",
    "index": "CREATE INDEX i ON {0} (hex(zeroblob(1000000)))",
    "another table": "CREATE TABLE other (x)",
    "virtual table": "CREATE VIRTUAL TABLE other USING fts5(x)",
}


def _alter(path: Path, statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_files_with_code_are_refused_by_every_reader(
    reader: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    read, table = READERS[reader]
    if reader.startswith("store"):
        Store(path).add([measurement()])
    read(path)
    _alter(path, KINDS[kind].format(table))
    with pytest.raises(EdgekitError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "which is not of edgekit's making" in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
def test_files_of_thousands_of_tables_are_refused(reader: str, tmp_path: Path) -> None:
    """Reading 300,000 of them takes SQLite minutes."""
    path = tmp_path / "file"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO sqlite_master VALUES ('table', ?, ?, 2, ?)",
            ((f"t{i}", f"t{i}", f"CREATE TABLE t{i} (a)") for i in range(3000)),
        )
        connection.execute("COMMIT")
    with pytest.raises(EdgekitError, match="it takes over 10,000 steps to read"):
        READERS[reader][0](path)


def test_an_older_file_may_lack_tables_and_be_laid_out_otherwise(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    _alter(Path(path), "CREATE TABLE a (x TEXT,   -- words\n y);")
    with closing(database.connect_database(path)) as connection:
        connection.check_tables("CREATE TABLE a ( x TEXT, y ); CREATE TABLE b (x)")


def test_a_statement_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(database.connect_database(str(tmp_path / "file"))) as connection:
        connection.check_tables("CREATE TABLE a (x)")
        with pytest.raises(sqlite3.DataError, match="it takes over 50,000,000 steps to read"):
            connection.execute(f"SELECT count(*) FROM ({ENDLESS})")
        monkeypatch.setattr(database, "LARGEST_ANSWER", 100_000)
        with pytest.raises(sqlite3.DataError, match="it gives over 100,000 bytes at once"):
            connection.rows(ENDLESS)
        assert connection.rows("SELECT 1") == [(1,)]


def test_records_together_have_a_bound(tmp_path: Path) -> None:
    path, iteration = tmp_path / "file", Iteration("netadapt", 0)
    with Journal(path, {}) as journal:
        for _ in range(10):
            journal.note("said", iteration, {"a": [{}] * 200_000})
        with pytest.raises(InputError, match=r"file is damaged \(its records have too many parts"):
            journal.events("said")


@pytest.mark.parametrize(
    "words", [["history"], ["export-profiles", "-o", "a.csv"]], ids=lambda words: words[0]
)
@pytest.mark.parametrize("kind", ["view", "trigger"])
def test_a_store_with_code_is_named(
    kind: str, words: list[str], run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path))
    store = Store()
    store.add([measurement()])
    _alter(store.path, KINDS[kind].format("measurements"))
    result = run(*words)
    assert (result.code, result.out) == (3, "")
    assert f"cannot read {store.path}: it has the {kind} " in result.message
    assert "name another folder with EDGEKIT_HOME" in result.message
