"""Keeps every measurement, with all its samples, in one SQLite file of the user's.

Columns are what measurements are looked up by. The record itself is compressed JSON; its samples
lie beside it in about three bytes each: a thousand measurements of some seconds take about 10 MiB.
Several processes may write at once.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit.core import Measurement, from_json, to_json
from edgekit.core.database import Database, connect_database
from edgekit.core.reading import LARGEST_RESULTS, parse_json, read_text
from edgekit.errors import InputError, OutputError
from edgekit.measure.encoding import decode, encode
from edgekit.measure.plausible import check_numbers, started_at
from edgekit.staging import write_file

FILE_NAME = "measurements.db"

SCHEMA = 1
"""Version of the tables; a higher one than this is refused."""

SAVED_SCHEMA = "edgekit.measurements/1"
"""Of the files that `save` writes."""

# Tells the file from other SQLite databases: "edgk" in ASCII.
_APPLICATION_ID = 0x6564676B

# A write takes milliseconds: whoever holds the file for longer is not another edgekit.
BUSY_S = 10.0

_TABLES = """
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY,
    started_s REAL NOT NULL,  -- since 1970, UTC
    artifact TEXT NOT NULL,
    sha256 TEXT,
    device TEXT NOT NULL,
    runtime TEXT NOT NULL,
    record BLOB NOT NULL,     -- JSON without samples, zlib
    samples BLOB NOT NULL     -- of all blocks, then all of the reference network
);
CREATE INDEX measurements_started ON measurements (started_s);
"""


def data_folder() -> Path:
    """Where the user's data lie: ``EDGEKIT_HOME``, else ``XDG_DATA_HOME/edgekit``, else below home.

    Raises:
        OutputError: the user has no home folder.
    """
    if os.environ.get("EDGEKIT_HOME"):
        return Path(os.environ["EDGEKIT_HOME"]).expanduser()
    # The XDG Base Directory Specification: a relative path is to be passed over.
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    if data.is_absolute():
        return data / "edgekit"
    try:
        return Path.home() / ".local" / "share" / "edgekit"
    except RuntimeError as error:
        raise OutputError(
            "there is no home folder to keep measurements in: set EDGEKIT_HOME to a folder"
        ) from error


class Store:
    """The file with all measurements.

    Nothing is opened or written before it is needed; each call opens the file anew.

    Args:
        path: by default ``measurements.db`` in `data_folder`.
        busy_s: how long to wait for other processes that write.

    Attributes:
        skipped: what the last `each` or `find` left out, and why.
    """

    def __init__(self, path: Path | None = None, busy_s: float = BUSY_S) -> None:
        self.path = path or data_folder() / FILE_NAME
        self._busy_s = busy_s
        self.skipped: list[str] = []

    def add(self, measurements: Iterable[Measurement]) -> list[int]:
        """Keeps measurements, all of them or none.

        Returns:
            Their numbers.

        Raises:
            OutputError: the file is locked, damaged, of a newer edgekit, not writable, or the
                disk is full. What was measured can still go to `save_beside`.
        """
        rows = [_row(measurement) for measurement in measurements]
        with self._explained(OutputError, "cannot keep the measurement in"):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"cannot keep the measurement in {self.path}: {error.strerror}; name another "
                    f"folder with EDGEKIT_HOME"
                ) from error
            with closing(self._connect("rwc")) as connection:
                self._prepare(connection)
                with _transaction(connection):
                    insert = (
                        "INSERT INTO measurements "
                        "(started_s, artifact, sha256, device, runtime, record, samples) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)"
                    )
                    numbers = [connection.execute(insert, row).lastrowid for row in rows]
        return [number for number in numbers if number is not None]

    def find(
        self,
        *,
        artifact: str | None = None,
        device: str | None = None,
        runtime: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[tuple[int, Measurement]]:
        """Looks up measurements; see `each`."""
        return list(
            self.each(artifact=artifact, device=device, runtime=runtime, since=since, limit=limit)
        )

    def each(
        self,
        *,
        artifact: str | None = None,
        device: str | None = None,
        runtime: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[tuple[int, Measurement]]:
        """Yields measurements with their numbers, the newest first; none where no file is yet.

        One that is damaged is left out, and named in `skipped`.

        Args:
            artifact: part of its source, or the beginning of its SHA-256.
            device: name of the profile.
            runtime: part of its name.
            since: with its time zone.

        Raises:
            InputError: the file is locked, damaged as a whole, of a newer edgekit or not readable.
        """
        self.skipped = []
        if not self.path.exists():
            return
        tests, values = _conditions(artifact, device, runtime, since)
        # The numbers come from the index, so that a page that cannot be read hides its own
        # measurements alone.
        order = "SELECT id FROM measurements ORDER BY started_s DESC, id DESC"
        query = (
            "SELECT record, samples FROM measurements "  # noqa: S608 - fixed texts
            f"WHERE id = ? AND {' AND '.join(tests)}"
        )
        left = limit
        with (
            self._explained(InputError, "cannot read"),
            closing(self._connect("ro")) as connection,
        ):
            if self._version(connection) == 0:
                return
            for (number,) in connection.rows(order):
                if left == 0:
                    return
                try:
                    row = connection.execute(query, [number, *values]).fetchone()
                    measurement = None if row is None else decode(*row)
                    if measurement is not None:
                        check_numbers(measurement)
                except (ValueError, sqlite3.DatabaseError) as error:
                    if isinstance(error, sqlite3.DatabaseError) and not _of_one_row(error):
                        raise
                    self.skipped.append(
                        f"{self.path}: measurement {number} is damaged, or of another edgekit, and "
                        f"was left out ({error})"
                    )
                    continue
                if measurement is not None:
                    left = None if left is None else left - 1
                    yield number, measurement

    def _connect(self, mode: str) -> Database:
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        return connect_database(uri, LARGEST_RESULTS, uri=True, busy_s=self._busy_s)

    def _prepare(self, connection: Database) -> None:
        """Makes the tables in a new file."""
        if self._version(connection) != 0:
            return
        with _transaction(connection):
            if self._version(connection) != 0:  # another process was faster
                return
            for statement in _TABLES.split(";")[:-1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
        # Readers and a writer at once, where the file system can; it stays with the file. SQLite
        # refuses it while another process is busy with the file, which is safe without it too.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")

    def _version(self, connection: Database) -> int:
        """The schema of a file, 0 for an empty one.

        Raises:
            InputError: it is of a newer edgekit, or of something else.
        """
        with _snapshot(connection):  # another process may be making the tables just now
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables == 0 and version == 0:
            return 0
        if owner != _APPLICATION_ID:
            raise InputError(
                f"{self.path} is a database of something else: name another folder with "
                f"EDGEKIT_HOME"
            )
        if version > SCHEMA:
            raise InputError(
                f"{self.path} was written by a newer edgekit (schema {version}, this one knows "
                f"{SCHEMA}): update edgekit, or name another folder with EDGEKIT_HOME"
            )
        connection.check_tables(_TABLES)
        return int(version)

    @contextmanager
    def _explained(self, kind: type[InputError], doing: str) -> Iterator[None]:
        """Turns errors of SQLite into messages."""
        try:
            yield
        except sqlite3.Error as error:
            raise kind(f"{doing} {self.path}: {self._advice(error)}") from error
        except InputError as error:
            if isinstance(error, kind):
                raise
            raise kind(str(error)) from error

    def _advice(self, error: sqlite3.Error) -> str:
        """What an error means and what to do; the low byte of the code is its class."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"another process has locked it for over {self._busy_s:g} s; end that one"
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return "the file is damaged; move it away, and a new one is made"
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return f"{error}; make space, or name another folder with EDGEKIT_HOME"
        return f"{error}; name another folder with EDGEKIT_HOME"


def _of_one_row(error: sqlite3.DatabaseError) -> bool:
    """Whether a row is damaged or too large, rather than the file locked or gone."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of a block's writes or none; others wait from the beginning, not in the middle."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Reads of one state of the file, inside a transaction or not."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.rollback()  # nothing was written


def _conditions(
    artifact: str | None, device: str | None, runtime: str | None, since: datetime | None
) -> tuple[list[str], list[Any]]:
    """Tests of a row, in SQL, and their values."""
    tests: list[str] = ["1"]
    values: list[Any] = []
    if artifact is not None:
        tests.append("(instr(lower(artifact), lower(?)) OR substr(sha256, 1, ?) = lower(?))")
        values += [artifact, max(len(artifact), 1), artifact]
    if device is not None:
        tests.append("lower(device) = lower(?)")
        values.append(device)
    if runtime is not None:
        tests.append("instr(lower(runtime), lower(?))")
        values.append(runtime)
    if since is not None:
        tests.append("started_s >= ?")
        values.append(since.timestamp())
    return tests, values


def _row(measurement: Measurement) -> tuple[Any, ...]:
    return (
        started_at(measurement).timestamp(),
        measurement.artifact,
        measurement.sha256,
        measurement.device,
        measurement.runtime,
        *encode(measurement),
    )


def save(measurements: Sequence[Measurement], path: Path, *, overwrite: bool = False) -> None:
    """Writes measurements into a JSON file, which is complete when it appears.

    Raises:
        OutputError: it cannot be written, or is there and may not be replaced.
    """
    data = {"schema": SAVED_SCHEMA, "measurements": to_json(list(measurements))}
    text = json.dumps(data, allow_nan=False)
    write_file(path, lambda staged: staged.write_text(text, encoding="utf-8"), overwrite=overwrite)


def save_beside(measurements: Sequence[Measurement], folder: Path) -> Path:
    """Saves measurements under a name of their own, for when the store cannot take them.

    Returns:
        The file, never one that was there before.

    Raises:
        OutputError: the folder cannot be written to either.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    path = folder / f"edgekit-measurements-{stamp}-{os.getpid()}.json"
    save(measurements, path)
    return path


def load_saved(path: Path) -> list[Measurement]:
    """Reads a file of `save` or `save_beside`.

    Raises:
        InputError: it cannot be read, is something else, or holds numbers that cannot be.
    """
    try:
        data = parse_json(read_text(path, LARGEST_RESULTS))
        if not isinstance(data, dict) or data.get("schema") != SAVED_SCHEMA:
            raise ValueError(f"expected the schema {SAVED_SCHEMA}")
        found = [from_json(Measurement, one) for one in data["measurements"]]
    except (KeyError, OSError, TypeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} holds no saved measurements: {reason}") from error
    try:
        for one in found:
            check_numbers(one)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return found
