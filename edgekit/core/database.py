"""Databases in files of SQLite, which anybody may have written.

A file holds code, too: views, triggers, columns that are computed and checks run when a table of
their name is read or written, for as long as they like, and no signal ends SQLite's own code. So
nothing is read before a file is seen to have no other tables than those that edgekit makes, and
every statement and answer has a bound.
"""

from __future__ import annotations

import functools
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgekit.core.reading import LARGEST_NOTE

LARGEST_ANSWER = 128 << 20
"""Most bytes of all rows that a statement gives. A search of weeks notes a tenth."""

# What a row takes beside its texts.
_ROW_BYTES = 200

# Steps of SQLite's machine: so many at most for one statement, which takes a second or two. A row
# of the longest answer takes thirty.
_MOST_STEPS = 50_000_000

# Before the tables are known to be edgekit's. SQLite reads what there is with the first statement,
# in eight steps for each table, and 300,000 tables take it seven minutes.
_FIRST_STEPS = 10_000


class Database(sqlite3.Connection):
    """A connection whose statements end, without transactions of Python's own."""

    _most_steps = _FIRST_STEPS

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        """Runs a statement.

        Raises:
            sqlite3.DataError: it takes too many steps.
        """
        # An iterator that is at its end raises, which ends the statement. It is no function of
        # Python, in which a signal would raise: SQLite's caller drops exceptions.
        parts = 50
        steps = iter((0,) * parts)
        self.set_progress_handler(steps.__next__, self._most_steps // parts)
        with self._bounded():
            return super().execute(statement, values)

    def rows(self, statement: str, values: Any = ()) -> list[Any]:
        """All rows that a statement gives.

        Raises:
            sqlite3.DataError: they take too much memory, or too many steps.
        """
        found, size = [], 0
        with self._bounded():
            for row in self.execute(statement, values):
                size += _ROW_BYTES + sum(len(x) for x in row if isinstance(x, (str, bytes)))
                if size > LARGEST_ANSWER:
                    raise sqlite3.DataError(f"it gives over {LARGEST_ANSWER:,} bytes at once")
                found.append(row)
        return found

    def check_tables(self, tables: str) -> None:
        """Refuses a file that has other tables than these, or anything else; it may lack some.

        To be called before any of them is read.

        Args:
            tables: the statements that make them. What they say has to stay, but for white space
                and comments: files of former versions have them, too.

        Raises:
            sqlite3.DatabaseError: names what is there.
        """
        known = _known(tables)
        for kind, name, text in self.rows("SELECT type, name, sql FROM sqlite_master"):
            if known.get(name, ...) != _normal(text):
                raise sqlite3.DatabaseError(
                    f"it has the {kind} '{name}', which is not of edgekit's making"
                )
        self._most_steps = _MOST_STEPS

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Says why a statement of the block was ended."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
                raise
            raise sqlite3.DataError(f"it takes over {self._most_steps:,} steps to read") from error


@functools.lru_cache(maxsize=8)
def _known(tables: str) -> dict[str, str | None]:
    """What statements make: texts by name, as SQLite keeps them."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(tables)
        found = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    finally:
        connection.close()
    return {name: _normal(text) for name, text in found}


def _normal(text: str | None) -> str | None:
    """A statement without comments and white space; those of edgekit have no quotes."""
    return None if text is None else "".join(re.sub(r"--[^\n]*", "", text).split())


def connect_database(
    path: str, most_bytes: int = LARGEST_NOTE, *, uri: bool = False, busy_s: float = 5.0
) -> Database:
    """Opens a file of SQLite; `Database.check_tables` is to follow.

    Args:
        path: or, with ``uri``, an address of it.
        most_bytes: of a field; one that has more raises `sqlite3.DataError` when it is read.
        busy_s: how long other processes that write to it are waited for.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(path, busy_s, isolation_level=None, uri=uri, factory=Database)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most_bytes)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
