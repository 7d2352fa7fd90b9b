"""A wall meter that another program logs to a CSV file, read while the file grows.

Rows are a timestamp (unix seconds, or ISO 8601; without a zone it is local time) and watts,
separated by commas, semicolons or tabs. A header is needed only for files with more columns.
"""

from __future__ import annotations

import csv
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from edgekit.core import Meter, Reading
from edgekit.core.reading import open_file
from edgekit.errors import MeterError, UnavailableError

_TIME_NAMES = ("timestamp", "time", "datetime", "date", "unix", "time_s", "timestamp_s")
_POWER_NAMES = ("watts", "watt", "w", "power", "power_w", "power (w)", "power [w]")
_EXPECTED = "expected rows 'timestamp,watts', or a header with these names"

# Rows at the end of the file that tell how often it grows, and the period before it has any.
_HISTORY = 20
_PERIOD_S = 1.0


@dataclass(frozen=True)
class _Layout:
    """Which columns hold what."""

    delimiter: str = ","
    time: int = 0
    power: int = 1


@dataclass(frozen=True)
class CsvFile:
    """The kind of meter.

    Attributes:
        file: relative to the working folder, or absolute under the root.
        clock: what readings are timed by.
        wall_clock: what the file's timestamps are counted by, unix seconds.
    """

    file: Path | None = None
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    def of(self, argument: str) -> CsvFile:
        """The kind that reads a file, for ``csv:FILE``."""
        return replace(self, file=Path(argument))

    def open(self, root: Path) -> Meter:
        if self.file is None:
            raise UnavailableError(
                "no file of a wall meter was given: choose it as csv:FILE, with rows of "
                "timestamp and watts"
            )
        path = root.joinpath(*self.file.parts[1:]) if self.file.is_absolute() else self.file
        try:
            handle = open_file(path)
        except OSError as error:
            raise UnavailableError(
                f"cannot read the wall meter's file {path}: {error.strerror}"
            ) from error
        try:
            return CsvMeter(path, handle, self.wall_clock() - self.clock())
        except BaseException:
            handle.close()
            raise


class CsvMeter:
    """The rows of a file from its last one on.

    Args:
        offset_s: unix time less the readings' time.
    """

    name = "csv"
    scope = "wall"
    quantity = "power"
    range_mj: float | None = None

    def __init__(self, path: Path, handle: BinaryIO, offset_s: float) -> None:
        self.detail = path.name
        self._path = path
        self._handle = handle
        self._offset_s = offset_s
        self._begun = b""  # a row that its writer has not finished
        self._layout: _Layout | None = None
        rows = self._rows()
        if rows and self._layout is None:
            rows = rows[self._find_layout(rows[0]) :]
        # What was drawn before is of no concern; the last row is where the first interval begins.
        history = [self._reading(row) for row in rows[-_HISTORY:]]
        self._waiting = history[-1:]
        times = [reading.time_s for reading in history]
        gaps = [b - a for a, b in zip(times, times[1:]) if b > a]
        self.period_s = statistics.median(gaps) if gaps else _PERIOD_S

    def read(self) -> Sequence[Reading]:
        rows = self._rows()
        if rows and self._layout is None:
            rows = rows[self._find_layout(rows[0]) :]
        found = (*self._waiting, *(self._reading(row) for row in rows))
        self._waiting = []
        return found

    def close(self) -> None:
        self._handle.close()

    def _rows(self) -> list[str]:
        """Rows that were finished since the last call."""
        try:
            if os.fstat(self._handle.fileno()).st_size < self._handle.tell():
                raise MeterError(
                    f"{self._path} became shorter: its writer must append rows, and keep the file"
                )
            text = self._begun + self._handle.read()
        except OSError as error:
            raise MeterError(f"cannot read {self._path}: {error.strerror}") from error
        *finished, self._begun = text.split(b"\n")
        return [row for line in finished if (row := line.decode("utf-8-sig", "replace").strip())]

    def _find_layout(self, row: str) -> int:
        """Reads the columns off the file's first row; 1 where that is a header, else 0."""
        delimiter = next((sign for sign in (";", "\t") if sign in row), ",")
        cells = [cell.strip().lower() for cell in next(csv.reader([row], delimiter=delimiter))]
        times = [i for i, cell in enumerate(cells) if cell in _TIME_NAMES]
        powers = [i for i, cell in enumerate(cells) if cell in _POWER_NAMES]
        if times and powers:
            self._layout = _Layout(delimiter, times[0], powers[0])
            return 1
        if len(cells) != 2:
            raise MeterError(f"{self._path} begins with '{row[:80]}': {_EXPECTED}")
        self._layout = _Layout(delimiter)
        self._reading(row)
        return 0

    def _reading(self, row: str) -> Reading:
        layout = self._layout
        assert layout is not None, "the first row has set it"
        try:
            cells = next(csv.reader([row], delimiter=layout.delimiter))
            unix_s = _unix_s(cells[layout.time].strip())
            return Reading(unix_s - self._offset_s, float(cells[layout.power]) * 1e3)
        except (ValueError, IndexError, OverflowError, csv.Error) as error:
            raise MeterError(f"{self._path} has a row '{row[:80]}': {_EXPECTED}") from error


def _unix_s(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()


METER = CsvFile()
