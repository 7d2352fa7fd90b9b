from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_devices import UNIX_S, Clock

from edgekit.core import Meter, Reading
from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.meters.csv_file import CsvFile

CLOCK = Clock()
OPENED: list[Meter] = []


@pytest.fixture(autouse=True)
def closed_meters() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "wall.csv"


def open_meter(file: Path) -> Meter:
    """The time of the readings is unix time less `UNIX_S`."""
    OPENED.append(CsvFile(file, CLOCK, lambda: UNIX_S + CLOCK()).open(Path("/")))
    return OPENED[-1]


def append(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


def shown(meter: Meter) -> list[tuple[float, float]]:
    return [(reading.time_s, reading.value) for reading in meter.read()]


def test_rows_are_read_while_the_file_grows(log: Path) -> None:
    log.write_text(f"{UNIX_S + 1},2.5\n{UNIX_S + 2},3\n")
    meter = open_meter(log)
    assert shown(meter) == [(2.0, 3000.0)]
    assert shown(meter) == []
    append(log, f"{UNIX_S + 3},4\n{UNIX_S + 4},5.5\n")
    assert shown(meter) == [(3.0, 4000.0), (4.0, 5500.0)]


def test_a_row_counts_when_its_writer_has_finished_it(log: Path) -> None:
    log.write_text("timestamp,watts\n")
    meter = open_meter(log)
    append(log, f"{UNIX_S + 3},1")
    assert shown(meter) == []
    append(log, "2.5\n")
    assert shown(meter) == [(3.0, 12500.0)]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_header_finds_the_columns(log: Path, sign: str) -> None:
    rows = (("Volts", "Watts", "Timestamp"), ("230", "7.5", f"{UNIX_S + 1}"))
    log.write_text("\ufeff" + "".join(sign.join(row) + "\r\n" for row in rows), encoding="utf-8")
    assert shown(open_meter(log)) == [(1.0, 7500.0)]


@pytest.mark.parametrize("suffix", ["Z", "+00:00"])
def test_iso_8601_timestamps_are_understood(log: Path, suffix: str) -> None:
    stamp = datetime.fromtimestamp(UNIX_S + 0.5, UTC).replace(tzinfo=None).isoformat()
    log.write_text(f"{stamp}{suffix},1\n")
    assert shown(open_meter(log)) == [(0.5, 1000.0)]


def test_iso_8601_without_a_zone_is_local_time(log: Path) -> None:
    log.write_text(f"{datetime.fromtimestamp(UNIX_S + 7).isoformat(sep=' ')},1\n")
    assert shown(open_meter(log)) == [(7.0, 1000.0)]


def test_the_period_is_that_of_the_rows_before(log: Path) -> None:
    log.write_text("".join(f"{UNIX_S + 0.5 * i},1\n" for i in range(9)))
    assert open_meter(log).period_s == pytest.approx(0.5)


def test_a_file_that_has_only_been_begun_can_be_opened(log: Path) -> None:
    log.touch()
    meter = open_meter(log)
    append(log, f"time,power\n{UNIX_S + 1},2\n")
    assert (meter.period_s, shown(meter)) == (1.0, [(1.0, 2000.0)])


def test_a_nan_is_handed_on_for_the_curve_to_judge(log: Path) -> None:
    log.write_text(f"{UNIX_S + 1},nan\n")
    (reading,) = open_meter(log).read()
    assert isinstance(reading, Reading)
    assert math.isnan(reading.value)


@pytest.mark.parametrize(
    "row", ["when,how much", "1;2;3", "one column", "yesterday,5", "5,many", "a,b,c"]
)
def test_a_file_of_something_else_is_refused(log: Path, row: str) -> None:
    log.write_text(f"{row}\n")
    with pytest.raises(UnavailableError, match="expected rows 'timestamp,watts'"):
        open_meter(log)


@pytest.mark.parametrize("row", ["1700000002", "x,5", "1700000002,", "1e999,5x", ",,"])
def test_a_damaged_row_is_an_error_that_shows_it(log: Path, row: str) -> None:
    log.write_text(f"{UNIX_S},1\n")
    meter = open_meter(log)
    append(log, f"{row}\n")
    with pytest.raises(MeterError) as caught:
        meter.read()
    assert f"'{row}'" in str(caught.value)


def test_a_file_that_is_begun_anew_is_an_error(log: Path) -> None:
    log.write_text(f"{UNIX_S},1\n{UNIX_S + 1},1\n")
    meter = open_meter(log)
    log.write_text(f"{UNIX_S},1\n")
    with pytest.raises(MeterError, match="became shorter"):
        meter.read()


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UnavailableError, match="cannot read the wall meter's file"):
            open_meter(path)


def test_an_absolute_file_lies_under_the_root(tmp_path: Path) -> None:
    (tmp_path / "wall.csv").write_text(f"{UNIX_S},1\n")
    OPENED.append(CsvFile(Path("/wall.csv")).open(tmp_path))
    assert OPENED[-1].detail == "wall.csv"
