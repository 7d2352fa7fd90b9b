"""The table of ``edgekit benchmark``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from edgekit import registry
from edgekit.cli import console
from edgekit.core.text import shortened

if TYPE_CHECKING:
    from edgekit.benchmarking.results import Benchmark, Row

_GAP = 2
_LONGEST_NAME = 26


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table.

    Attributes:
        cell: of a row.
        order: in which columns are left out where the screen is narrow, the least first; ``None``
            for never.
        justify: ``left``, or ``right`` for figures.
    """

    title: str
    cell: Callable[[Row], str]
    order: int | None = None
    justify: str = "right"

    def width(self, rows: list[Row]) -> int:
        """Characters that it takes."""
        return max(cell_len(text) for text in (self.title, *map(self.cell, rows)))


def show(result: Benchmark) -> None:
    """Prints the rows, the fastest first, with the stock file among them."""
    rows = [row for row in result.rows if row.state != "left out"]
    stock = result.stock
    if stock is not None and stock.latency is not None:
        p50 = stock.latency.p50_ms
        slower = (i for i, r in enumerate(rows) if r.latency is None or r.latency.p50_ms > p50)
        rows.insert(next(slower, len(rows)), stock)
    if not rows:
        return
    columns = [*_names(result, rows), *_figures(result, rows)]
    while _width(columns, rows) > console.width():
        least = min(
            (c for c in columns if c.order is not None), key=lambda c: c.order or 0, default=None
        )
        if least is None:
            break
        columns.remove(least)
    console.table(
        [(column.title, column.justify) for column in columns],
        [[column.cell(row) for column in columns] for row in rows],
        gap=_GAP,
    )


def _width(columns: list[_Column], rows: list[Row]) -> int:
    return sum(column.width(rows) for column in columns) + _GAP * (len(columns) - 1) + 2


def _names(result: Benchmark, rows: list[Row]) -> list[_Column]:
    """Format and precision of one network's files; names of several networks'."""

    def marked(row: Row, text: str) -> str:
        return f"> {text}" if row is result.choice.row else text

    if len({row.model for row in rows if row.model}) > 1:
        return [
            _Column(
                "file",
                lambda row: marked(row, shortened(row.path.name, _LONGEST_NAME)),
                justify="left",
            )
        ]
    return [
        _Column("target", lambda row: marked(row, row.target), justify="left"),
        _Column(
            "precision",
            lambda row: f"stock {row.precision}" if row is result.stock else row.precision,
            justify="left",
        ),
    ]


def _figures(result: Benchmark, rows: list[Row]) -> list[_Column]:
    rated = [row for row in rows if row.evaluation is not None]
    columns = [_Column("MiB", _size, 3)]
    if rated:
        columns += [_Column(f"{figure(rated[0])} %", _value), _Column("±", _half, 2)]
    else:
        columns.append(_Column("agree dB", _agreement, 5))
    if any(row.latency is not None for row in rows):
        columns += [
            _Column("p50 ms", _p50),
            _Column("±", _precision, 1),
            _Column("RAM MiB", _memory, 0),
        ]
    if result.stock is not None and result.stock.latency is not None:
        columns.append(_Column("x stock", lambda row: _times(row, result.stock), 4))
    return columns


def figure(row: Row) -> str:
    """What the figure of an evaluated row is called."""
    assert row.evaluation is not None
    return str(registry.task(row.evaluation.task).title)


def _size(row: Row) -> str:
    return "-" if row.size_bytes is None else f"{row.size_bytes / 2**20:.2f}"


def _value(row: Row) -> str:
    return "" if row.headline is None else f"{100 * row.headline:.2f}"


def _half(row: Row) -> str:
    """Half of the accuracy's interval."""
    ends = None if row.evaluation is None else row.evaluation.headline.ci95
    return "" if ends is None else f"{50 * (ends[1] - ends[0]):.1f}"


def _agreement(row: Row) -> str:
    return "" if row.agreement is None else f"{row.agreement.sqnr_db:.1f}"


def _p50(row: Row) -> str:
    if row.latency is None or row.measurement is None:
        return row.state if row.state != "ok" else "-"
    return f"{row.latency.p50_ms:.3f}{'' if row.measurement.stable else '*'}"


def _precision(row: Row) -> str:
    return "" if row.latency is None else f"{row.latency.precision:.1%}"


def _memory(row: Row) -> str:
    memory = None if row.measurement is None else row.measurement.peak_rss_mib
    return "" if memory is None else f"{memory:.1f}"


def _times(row: Row, stock: Row | None) -> str:
    if row is stock:
        return "1.00"
    return "" if row.speedup is None else f"{row.speedup.ratio:.2f}"
