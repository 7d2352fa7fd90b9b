"""Which file is taken, of files whose figures are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.benchmarking.choosing import choose
from edgekit.benchmarking.results import OK, REJECTED, Row
from edgekit.core import Block, Measurement
from edgekit.inference import Evaluation, Headline
from edgekit.measure.energy import unavailable
from edgekit.measure.statistics import summary


def row(name: str, ms: float, top1: float | None, size: int = 1, state: str = OK) -> Row:
    """A file that was measured in turns with others: noise of 1 % of its own."""
    rng = np.random.default_rng(sum(map(ord, name)))
    blocks = tuple(
        Block(float(i), i // 4, tuple(ms * rng.normal(1, 0.01, 20)), ()) for i in range(40)
    )
    measurement = Measurement(
        name, "x", "host", "runtime 1", 1, 1, "2026-01-01T00:00:00+00:00", blocks,
        unavailable("not asked for"),
    )  # fmt: skip
    evaluation = None
    if top1 is not None:
        evaluation = Evaluation(
            "classify", Headline("top1", top1), {"top1": top1}, 1000, "data", "test"
        )
    return Row(
        Path(name), "x", "fp32", state, None if state == OK else "it failed", size_bytes=size,
        evaluation=evaluation, measurement=measurement, latency=summary(blocks),
    )  # fmt: skip


def taken(rows: list[Row], reference: float | None = 0.9, max_drop: float = 0.5) -> str | None:
    found = choose(rows, reference, "PyTorch's top-1", max_drop).row
    return None if found is None else found.path.name


def test_the_fastest_one_that_is_good_enough() -> None:
    rows = [row("float", 2.0, 0.9), row("int8", 1.0, 0.896), row("tiny", 0.5, 0.894)]
    assert taken(rows) == "int8"
    assert taken(rows, max_drop=0.6) == "tiny"
    assert taken(rows, max_drop=0.0) == "float"
    assert "the fastest of those within 0.5 points of PyTorch's top-1" in (
        choose(rows, 0.9, "PyTorch's top-1", 0.5).why
    )


def test_the_bound_itself_is_within() -> None:
    assert taken([row("int8", 1.0, 0.895)]) == "int8"


def test_of_equally_fast_ones_the_smallest() -> None:
    rows = [row("large", 1.0, 0.9, 4), row("small", 1.001, 0.9, 2), row("slow", 2.0, 0.9, 1)]
    found = choose(rows, 0.9, "PyTorch's top-1", 0.5)
    assert found.row is not None
    assert found.row.path.name == "small"
    assert [one.path.name for one in found.alike] == ["large"]
    assert "cannot be told apart" in found.why


def test_what_failed_is_never_taken() -> None:
    rows = [row("bad", 0.1, 0.9, state=REJECTED), row("good", 1.0, 0.9)]
    assert taken(rows) == "good"
    none = choose(rows[:1], 0.9, "PyTorch's top-1", 0.5)
    assert none.row is None
    assert "bad is rejected: it failed" in none.why


def test_none_is_good_enough() -> None:
    found = choose([row("int8", 1.0, 0.8)], 0.9, "PyTorch's top-1", 0.5)
    assert found.row is None
    assert found.why == (
        "no file is within 0.5 points of PyTorch's top-1: the best one, int8, loses 10.00"
    )


@pytest.mark.parametrize("reference", [None, 0.9])
def test_a_file_without_a_figure(reference: float | None) -> None:
    """Where others have one it is not known to be good; where none has, agreement decides."""
    rows = [row("unknown", 1.0, None), row("known", 2.0, 0.9)]
    assert taken(rows, reference) == ("unknown" if reference is None else "known")
