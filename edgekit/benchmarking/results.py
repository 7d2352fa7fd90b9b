"""What a benchmark found out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core import Agreement, Measurement
from edgekit.errors import EdgekitError
from edgekit.measure.statistics import LatencySummary, Ratio

if TYPE_CHECKING:
    from edgekit.inference import Evaluation

OK, REJECTED, FAILED, LEFT_OUT = "ok", "rejected", "failed", "left out"
"""States of a row: a good file; one that failed its gate; one that could not be made, run or
measured; one that nobody tried to make."""


@dataclass(frozen=True, slots=True)
class Row:
    """One file, or what became of it.

    Attributes:
        path: of the file; of one that is rejected, that of the kept one.
        state: see `OK`.
        reason: why it is not `OK`; ``None`` where it is.
        model: source of the network, as its contract has it.
        evaluation: ``None`` where there are no labelled images.
        agreement: with the network in PyTorch, as its contract has it.
        measurement: ``None`` where it was not measured.
        latency: of that.
        speedup: time of the stock file over the time of this one, measured in turns; ``None``
            where there is no stock file.
    """

    path: Path
    target: str
    precision: str
    state: str = OK
    reason: str | None = None
    model: str = ""
    size_bytes: int | None = None
    sha256: str | None = None
    evaluation: Evaluation | None = None
    agreement: Agreement | None = None
    measurement: Measurement | None = None
    latency: LatencySummary | None = None
    speedup: Ratio | None = None

    @property
    def headline(self) -> float | None:
        """The figure of the task, from 0 to 1; ``None`` where it is not known."""
        return None if self.evaluation is None else self.evaluation.headline.value

    def __fspath__(self) -> str:
        """The file, which is an ARTIFACT."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Choice:
    """The file to take.

    Attributes:
        row: ``None`` where no file can be taken.
        why: a sentence without its end.
        alike: files that are as fast, as far as can be told.
    """

    row: Row | None
    why: str
    alike: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a benchmark found out; as a path, the file to take.

    Attributes:
        source: what was benchmarked, as it was given.
        folder: of the files, the page and what was measured.
        rows: the good files first, the fastest one before the others; then what is not good.
        stock: what people have without edgekit: the network in float32, as the usual exporter
            writes it; ``None`` where there is none.
        network: figures of the network in PyTorch; ``None`` where it was not evaluated.
        max_drop: points of the headline figure that the choice may lose.
        page: ``None`` where nothing was measured.
        warnings: what has to be known of it, one sentence each.
        failure: what ended it early; what was done before is kept.
        interrupted: whether it was ended by the user.
        measured: whether files were measured now, rather than by a run that this one goes on with.
    """

    source: str
    device: str
    folder: Path
    rows: tuple[Row, ...]
    stock: Row | None
    network: Evaluation | None
    max_drop: float
    choice: Choice
    page: Path | None
    warnings: tuple[str, ...] = ()
    failure: EdgekitError | None = None
    interrupted: bool = False
    measured: bool = True

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """Of all files, that of the stock file included, the fastest one first."""
        every = [row.measurement for row in (*self.rows, *([self.stock] if self.stock else []))]
        return tuple(one for one in every if one is not None)

    def __fspath__(self) -> str:
        """The file to take.

        Raises:
            ValueError: there is none.
        """
        if self.choice.row is None:
            raise ValueError(f"no file of {self.source} can be taken: {self.choice.why}")
        return str(self.choice.row.path)
