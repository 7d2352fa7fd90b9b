from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.agent.kernel import usable_cores

ALLOWED = len(os.sched_getaffinity(0))


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def grouped(root: Path, **limits: str) -> Path:
    """A process in the control group ``/a/b``; limits by the last part of a group's path."""
    places = {"b": "a/b/", "a": "a/", "top": ""}
    files = {f"sys/fs/cgroup/{places[name]}cpu.max": text for name, text in limits.items()}
    return tree(root, {"proc/self/cgroup": "4:memory:/x\n0::/a/b\n", **files})


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == ALLOWED
    assert usable_cores(grouped(tmp_path, b="max 100000\n", top="max 100000\n")) == ALLOWED


@pytest.mark.parametrize(
    "limits", [{"b": "150000 100000"}, {"a": "50000 50000"}, {"b": "max 1", "top": "20000 100000"}]
)
def test_the_narrowest_quota_counts_in_whole_processors(
    tmp_path: Path, limits: dict[str, str]
) -> None:
    assert usable_cores(grouped(tmp_path, **limits)) == 1


def test_a_wide_quota_gives_no_more_than_there_are(tmp_path: Path) -> None:
    assert usable_cores(grouped(tmp_path, b="100000000 100000")) == ALLOWED


@pytest.mark.parametrize("text", ["", "100000", "lots 100000", "100000 0", "-1 100000"])
def test_a_quota_that_is_none_is_passed_over(tmp_path: Path, text: str) -> None:
    assert usable_cores(grouped(tmp_path, b=text)) == ALLOWED


@pytest.mark.skipif(ALLOWED < 2, reason="there is one core only")
def test_a_confined_process_has_the_cores_that_it_was_left(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
