"""What other processes use, from a kernel of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.devices import load
from edgekit.devices.load import Others, left_by

Kernel = Callable[[float], None]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A machine of 4 processors, on which this process used 1 s of a second, like others."""
    now = iter([10.0, 10.5, 11.0, 12.0])
    own = iter([5.0, 6.0])
    monkeypatch.setattr(load.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(load.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(load.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(load.os, "times", lambda: os.times_result((next(own), 0.0, 0.0, 0.0, 0.0)))
    (tmp_path / "proc").mkdir()
    hertz = os.sysconf("SC_CLK_TCK")

    def write(busy_s: float) -> None:
        each = round(busy_s * hertz / 4)
        rows = [f"cpu{i} {each} 0 0 999 5 0 0 0 0 0" for i in range(4)]
        text = "\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *rows, "cpu9 99999 0 0 0 0 0 0 0", "intr 1"])
        (tmp_path / "proc" / "stat").write_text(text)

    return write


def test_what_others_use_is_all_but_ones_own(kernel: Kernel, tmp_path: Path) -> None:
    kernel(100.0)
    others = Others(tmp_path)
    kernel(103.0)  # three seconds of computing in one, of which one is this process's
    assert others.cores() == pytest.approx(2.0)


def test_where_the_kernel_does_not_tell_nothing_is_known(tmp_path: Path) -> None:
    assert Others(tmp_path).cores() is None


@pytest.mark.parametrize(
    ("others", "most", "threads"),
    [(0.0, 4, 4), (0.3, 4, 4), (1.0, 4, 3), (3.9, 4, 1), (8.0, 4, 1), (0.0, 2, 2), (2.0, 2, 2)],
)
def test_each_thread_has_a_processor(
    others: float, most: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert left_by(others, most) == threads
