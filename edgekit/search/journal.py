"""What a search has done, in a file that survives being killed at any moment."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit.contract import digest
from edgekit.core.database import connect_database
from edgekit.core.names import inside, shown
from edgekit.core.reading import (
    LARGEST_OBJECTS,
    UnfitFile,
    check_file,
    object_bytes,
    parse_json,
    read_bytes,
)
from edgekit.core.text import counted_words
from edgekit.errors import EdgekitError, InputError, OutputError, UsageError

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS candidates (
    series TEXT, step INTEGER, round INTEGER, channels TEXT, width INTEGER, top1 REAL, loss REAL,
    seconds REAL, error TEXT, PRIMARY KEY (series, step, round, channels));
CREATE TABLE IF NOT EXISTS steps (
    series TEXT, step INTEGER, record TEXT NOT NULL, PRIMARY KEY (series, step));
CREATE TABLE IF NOT EXISTS events (
    at TEXT, kind TEXT NOT NULL, series TEXT, step INTEGER, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS seconds (what TEXT PRIMARY KEY, value REAL NOT NULL);
"""


FILE_NAME = "journal.sqlite"

_ADVICE = "restore it from a copy, or begin anew with another folder (-o)"


def files_of_search(folder: Path) -> list[str]:
    """Names of what a search has left in a folder beside its journal, as it writes them."""
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    found = [name for name in names if _OF_SEARCH.fullmatch(name)]
    return sorted(found, key=lambda name: (name == "model.pt", name))


_OF_SEARCH = re.compile(r"model\.pt|start\.pt|step-([0-9]+)")


@dataclass(frozen=True, slots=True)
class Iteration:
    """What a candidate, a measurement or a note of a search belongs to.

    Attributes:
        series: name of the method, or of what comes before it, such as ``start``.
        step: its number in the series.
        round: how often its candidates have been sieved before.
    """

    series: str
    step: int
    round: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate and how good it is.

    Attributes:
        channels: name of what was made smaller.
        width: what is left of it, where it is one group.
        figure: the task's headline figure on the inputs that candidates are chosen by, in the
            column ``top1``; ``None`` where it failed.
        seconds: that training and scoring took.
        error: why it failed.
    """

    channels: str
    width: int | None
    figure: float | None
    loss: float | None
    seconds: float
    error: str | None = None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns what reading a file of the search raises into an error that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}, which the search has written, is gone: {_ADVICE}") from error
    except UnfitFile as error:
        raise InputError(f"{path} {error.strerror}: {_ADVICE}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _unaltered(path: Path, digested: str, sha256: str) -> Path:
    if digested != sha256:
        raise InputError(f"{path} was altered since the search has written it: {_ADVICE}")
    return path


# How the names begin of SQLite's errors that are about the place and not about what is in the file.
_NOT_WRITTEN = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_READONLY")


class Journal:
    """The journal of one search; one process at a time may open it (`edgekit.locks`).

    Args:
        path: of the file; made where missing.
        identity: what a search that goes on must have in common with the one that was begun.

    Raises:
        UsageError: it is of another search.
        OutputError: it cannot be written.
        InputError: the file cannot be used, or it or files that the search has written were
            altered.
    """

    def __init__(self, path: Path, identity: Mapping[str, str]) -> None:
        self._path = path
        self._settled, self._spent = time.perf_counter(), 0.0
        new = not path.exists()
        try:
            if path.exists():
                check_file(path)
            self._connection = connect_database(str(path))
            self._connection.check_tables(_TABLES)
            self._connection.executescript(_TABLES)
            self._compare(path, identity)
            self._check_files()
        except sqlite3.Error as error:
            self.close()
            if getattr(error, "sqlite_errorname", "").startswith(_NOT_WRITTEN):
                if new:  # else the next search would be told that there is one to go on with
                    path.unlink(missing_ok=True)
                raise OutputError(
                    f"cannot write {path}: {error}; make space there, or name another place"
                ) from error
            raise InputError(f"{path} is no journal of a search ({error}): {_ADVICE}") from error
        except UnfitFile as error:
            raise InputError(f"{path} {error.strerror}") from error
        except EdgekitError:
            self.close()
            raise

    def _check_files(self) -> None:
        """Refuses to go on from files that are not those that the search has written."""
        folder = self._path.parent
        for (name,) in self._execute("SELECT path FROM files ORDER BY path"):
            self.file(name)
        done = self._execute("SELECT count(*) FROM steps WHERE series IN ('start', 'netadapt')")[0][
            0
        ]
        for name in files_of_search(folder):
            # A search that was ended may have begun one step more than it knows.
            step = _OF_SEARCH.fullmatch(name)
            if step is not None and step[1] is not None and int(step[1]) > done:
                raise InputError(
                    f"{self._path} knows {counted_words(done, 'step')}, and there is "
                    f"{folder / name}: {_ADVICE}"
                )

    def knows(self, file: Path) -> bool:
        """Whether a file of the search's folder was noted."""
        return self._sha256(self._relative(file)) is not None

    def file(self, name: str) -> Path:
        """A file that the search has written, and nobody has altered since.

        Args:
            name: its path in the search's folder, from the journal.

        Raises:
            InputError: it was altered, is gone, is none that the search has noted, or no file of
                its folder.
        """
        path, sha256 = self._noted(name)
        with _named(path):
            check_file(path)
            found = digest([path])
        return _unaltered(path, found, sha256)

    def read(self, file: Path) -> bytes:
        """The bytes of a file of the search's folder, which have to be those that it has written.

        Raises:
            InputError: as `file` has it.
        """
        path, sha256 = self._noted(self._relative(file))
        with _named(path):
            content = read_bytes(path)
        _unaltered(path, hashlib.sha256(content).hexdigest(), sha256)
        return content

    def _relative(self, file: Path) -> str:
        return file.relative_to(self._path.parent).as_posix()

    def _sha256(self, path: str) -> str | None:
        rows = self._execute("SELECT sha256 FROM files WHERE path = ?", (path,))
        return rows[0][0] if rows else None

    def _noted(self, name: str) -> tuple[Path, str]:
        try:
            path = inside(self._path.parent, name)
        except ValueError as error:
            raise InputError(f"{self._path} is damaged ({error}): {_ADVICE}") from error
        sha256 = self._sha256(name)
        if sha256 is None:
            raise InputError(
                f"{self._path} has no digest of '{shown(name)}', so nothing tells whether it is "
                f"what the search has written: {_ADVICE}"
            )
        return path, sha256

    def wrote(self, *files: Path) -> None:
        """Notes files of the search's folder, which have to be the same when it goes on."""
        with self._as_a_whole():
            self._note_files(files)

    def _note_files(self, files: Iterable[Path]) -> None:
        for file in files:
            self._execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?)", (self._relative(file), digest([file]))
            )

    def forget_files(self, folder: Path) -> None:
        """Takes back what was noted of the files of a folder, which are about to go."""
        path = f"{self._relative(folder)}/"
        self._execute("DELETE FROM files WHERE substr(path, 1, ?) = ?", (len(path), path))

    @contextmanager
    def _as_a_whole(self) -> Iterator[None]:
        """A block whose statements are all done, or none of them."""
        self._execute("BEGIN")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # of a full disk: SQLite has rolled it back itself
                self._connection.execute("ROLLBACK")
            raise

    def _compare(self, path: Path, identity: Mapping[str, str]) -> None:
        known = dict(self._connection.rows("SELECT name, value FROM facts"))
        if not known:
            left = files_of_search(path.parent)
            if left:
                raise InputError(
                    f"{path} is empty, and there is {left[0]} of the search: {_ADVICE}"
                )
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO facts VALUES (?, ?)", identity.items())
            self._connection.execute("COMMIT")
            return
        for name, value in identity.items():
            if known.get(name) != value:
                raise UsageError(
                    f"{path} is of another search: its {name} is {known.get(name)}, now it is "
                    f"{value}; give what it was begun with, or another folder with -o"
                )

    def candidate(self, iteration: Iteration, channels: str) -> Scored | None:
        """What is known of a candidate."""
        rows = self._execute(
            "SELECT channels, width, top1, loss, seconds, error FROM candidates "
            "WHERE series = ? AND step = ? AND round = ? AND channels = ?",
            (iteration.series, iteration.step, iteration.round, channels),
        )
        return Scored(*rows[0]) if rows else None

    def add(self, iteration: Iteration, scored: Scored, *files: Path) -> None:
        """Notes a candidate, and the files that it has left; see `wrote`."""
        with self._as_a_whole():
            self._note_files(files)
            self._execute(
                "INSERT OR REPLACE INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    iteration.series, iteration.step, iteration.round, scored.channels,
                    scored.width, scored.figure, scored.loss, scored.seconds, scored.error,
                ),
            )  # fmt: skip

    def forget_failures(self, iteration: Iteration) -> None:
        """Lets candidates of a round that failed be tried once more by a search that goes on."""
        self._execute(
            "DELETE FROM candidates WHERE series = ? AND step = ? AND round = ? AND error NOTNULL",
            (iteration.series, iteration.step, iteration.round),
        )

    def candidates(self) -> list[tuple[Iteration, Scored]]:
        """All candidates, in the order of steps."""
        rows = self._execute(
            "SELECT series, step, round, channels, width, top1, loss, seconds, error "
            "FROM candidates ORDER BY step, round, rowid"
        )
        return [(Iteration(*row[:3]), Scored(*row[3:])) for row in rows]

    def finish(self, iteration: Iteration, record: Mapping[str, Any], *files: Path) -> None:
        """Notes a step that is done, and its files; see `wrote`."""
        with self._as_a_whole():
            self._note_files(files)
            self._execute(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?)",
                (iteration.series, iteration.step, json.dumps(record)),
            )

    def steps(self, series: str) -> list[dict[str, Any]]:
        """The records of all steps of a method that are done, in order."""
        rows = self._execute("SELECT record FROM steps WHERE series = ? ORDER BY step", (series,))
        return self._parsed([row[0] for row in rows])

    def note(self, kind: str, iteration: Iteration, record: Mapping[str, Any]) -> None:
        """Notes a measurement, a decision, or something that happened."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
            (at, kind, iteration.series, iteration.step, json.dumps(record)),
        )

    def events(self, kind: str) -> list[dict[str, Any]]:
        """All records of one kind, in order."""
        rows = self._execute("SELECT record FROM events WHERE kind = ? ORDER BY rowid", (kind,))
        return self._parsed([row[0] for row in rows])

    def _parsed(self, texts: list[str]) -> list[dict[str, Any]]:
        try:
            if sum(map(object_bytes, texts)) > LARGEST_OBJECTS:
                raise ValueError("its records have too many parts")
            records = [parse_json(text) for text in texts]
        except (AttributeError, TypeError, ValueError) as error:  # columns take numbers, too
            raise InputError(f"{self._path} is damaged ({error}): {_ADVICE}") from error
        if not all(isinstance(record, dict) for record in records):
            raise InputError(f"{self._path} is damaged (a record is no object): {_ADVICE}")
        return records

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Accounts for wall time; accounts do not lie within one another."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self._spent += spent
            self._spend(what, spent)

    def settle(self) -> None:
        """Accounts for what nothing else does of the time since it was last called, or opened."""
        now = time.perf_counter()
        self._spend("other", now - self._settled - self._spent)
        self._settled, self._spent = now, 0.0

    def _spend(self, what: str, seconds: float) -> None:
        self._execute(
            "INSERT INTO seconds VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET value = value + ?",
            (what, seconds, seconds),
        )

    def seconds(self) -> dict[str, float]:
        """Wall time by what it was spent on."""
        return dict(self._execute("SELECT what, value FROM seconds"))

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """All rows that a statement gives."""
        try:
            return self._connection.rows(statement, values)
        except sqlite3.DataError as error:  # a field or an answer beyond its bound
            raise InputError(f"{self._path} is damaged ({error}): {_ADVICE}") from error
        except sqlite3.Error as error:
            raise OutputError(
                f"{self._path} cannot be used ({error}): is the disk full? What it holds is kept; "
                f"make room, and go on with --resume"
            ) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()
