"""On which cores networks are measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.agent.placing import placements

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system does not let a process choose"
)


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def describe(root: Path, file: str, values: list[object]) -> None:
    for core, value in enumerate(values):
        path = root / f"sys/devices/system/cpu/cpu{core}" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


def test_a_phone_measures_on_its_fast_cores(tmp_path: Path) -> None:
    describe(tmp_path, "cpu_capacity", [250] * 4 + [700] * 2 + [1024] * 2)
    assert placements(1, tmp_path) == [(6,), (7,)]
    assert placements(2, tmp_path) == [(6, 7)]


def test_more_threads_than_fast_cores_take_all(tmp_path: Path) -> None:
    describe(tmp_path, "cpufreq/cpuinfo_max_freq", [1_800_000] * 4 + [3_000_000] * 4)
    assert placements(8, tmp_path) == [tuple(range(8))]
    assert placements(9, tmp_path) == [tuple(range(8))]
    assert len(placements(6, tmp_path)) == 8


def test_threads_get_physical_cores_of_their_own(tmp_path: Path) -> None:
    describe(tmp_path, "topology/thread_siblings_list", [f"{i % 4},{i % 4 + 4}" for i in range(8)])
    assert placements(1, tmp_path) == [(0,), (1,), (2,), (3,)]
    assert placements(2, tmp_path) == [(0, 1), (1, 2), (2, 3), (0, 3)]
    assert placements(4, tmp_path) == [(0, 1, 2, 3)]


def test_a_machine_that_describes_nothing_has_equal_cores(tmp_path: Path) -> None:
    assert placements(1, tmp_path) == [(i,) for i in range(8)]
    assert placements(3, tmp_path)[-1] == (0, 1, 7)


def test_a_system_without_a_choice_has_no_placements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert placements(1) == []
