"""The file to take: the fastest one that is good enough; of equally fast ones the smallest."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.benchmarking.results import OK, Choice, Row
from edgekit.measure import statistics

_ROUNDING = 1e-9


def choose(rows: Sequence[Row], reference: float | None, against: str, max_drop: float) -> Choice:
    """The file to take.

    Args:
        reference: the figure that files are held against; ``None`` where none is known.
        against: what that is, for people: ``PyTorch's top-1``.
        max_drop: points that may be lost.
    """
    good = [row for row in rows if row.state == OK]
    if not good:
        told = [f"{row.path.name} is {row.state}: {row.reason}" for row in rows if row.reason]
        return Choice(None, f"there is no good file; {told[0]}" if told else "there is no file")
    fit = [row for row in good if reference is None or not _drops(row, reference, max_drop)]
    if not fit:
        least = max(good, key=lambda row: row.headline or 0.0)
        assert reference is not None
        lost = 100 * (reference - (least.headline or 0.0))
        return Choice(
            None,
            f"no file is within {max_drop:g} points of {against}: the best one, "
            f"{least.path.name}, loses {lost:.2f}",
        )
    timed = [row for row in fit if row.latency is not None]
    if not timed:
        return Choice(None, "nothing was measured")
    fastest = min(timed, key=_p50)
    alike = [row for row in timed if row is fastest or _alike(row, fastest)]
    taken = min(alike, key=lambda row: (row.size_bytes or 0, _p50(row)))
    among = "that agree with PyTorch"
    if reference is not None:
        among = f"within {max_drop:g} points of {against}"
    others = tuple(row for row in alike if row is not taken)
    if taken is fastest and not others:
        why = f"the fastest of those {among}"
    else:
        names = ", ".join(row.path.name for row in others)
        why = f"of those {among}, none is faster; the smallest of {len(alike)} that cannot be told "
        why += f"apart by their latency (the others: {names})"
    return Choice(taken, why, others)


def _drops(row: Row, reference: float, max_drop: float) -> bool:
    """Whether a file loses too much, or nobody knows."""
    return row.headline is None or 100 * (reference - row.headline) > max_drop + _ROUNDING


def _p50(row: Row) -> float:
    assert row.latency is not None
    return row.latency.p50_ms


def _alike(row: Row, fastest: Row) -> bool:
    """Whether two files that were measured in turns are as fast, as far as can be told."""
    assert row.measurement is not None
    assert fastest.measurement is not None
    found = statistics.ratio(row.measurement.blocks, fastest.measurement.blocks)
    return found.verdict == "indistinguishable"
