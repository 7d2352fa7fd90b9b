"""``edgekit search`` when it or a worker of it is ended, and on a cluster."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import CommandLine
from small_searches import QUICK, command, complete, steps


def killed(
    run: Path,
    folder: Path,
    moments: Sequence[tuple[int, float]],
    by: signal.Signals = signal.SIGKILL,
    words: Sequence[str] = (),
) -> None:
    """A search that was ended again and again, and then went on.

    Args:
        moments: candidates after which it is ended, and so many seconds later.
        words: more of its options.
    """
    journal = folder / "s" / "journal.sqlite"
    for count, seconds in moments:
        more = ("--resume",) if journal.exists() else ()
        process = subprocess.Popen(
            command(run, "s", *words, *more), cwd=folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while _candidates(journal) < count:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(seconds)
        os.kill(process.pid, by)
        assert process.wait() == (-by if by is signal.SIGKILL else 128 + by)
    complete(folder, run, "s", *words, "--resume")


def _candidates(journal: Path) -> int:
    with contextlib.suppress(sqlite3.Error):
        address = f"{journal.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM candidates").fetchone()[0])
    return -1


@pytest.mark.parametrize(
    "by",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_search_that_is_killed_goes_on_to_the_same_network(
    by: signal.Signals, searched: Path, trained: Path, tmp_path: Path
) -> None:
    killed(trained, tmp_path, [(12, 0.0)], by)
    assert steps(tmp_path / "s") == steps(searched)


@pytest.mark.slow
def test_it_does_so_at_twenty_moments(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that a search does: steps, the contest, the long training, a baseline."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # else long trainings follow what is free
    words = ("--finish-epochs", "1", "--baselines", "uniform")
    whole = tmp_path / "whole"
    whole.mkdir()
    complete(whole, trained, "s", *words)  # files name their folder, which would change their size
    count = _candidates(whole / "s" / "journal.sqlite")
    rng = random.Random(7)
    for trial in range(5):
        folder = tmp_path / str(trial)
        folder.mkdir()
        moments = [(n, rng.uniform(0, 0.5)) for n in sorted(rng.sample(range(count), 4))]
        killed(trained, folder, moments, words=words)
        assert steps(folder / "s") == steps(whole / "s")


def test_workers_that_hang_are_ended_and_the_search_goes_on_later(
    run: CommandLine, trained: Path
) -> None:
    words = ("search", trained, "--budget", "macs=0.95x", *QUICK, "-o", "s")
    result = run(*words, "--time-limit", "0.01")
    assert result.code == 3
    assert "the network cannot be scored: no answer within 0 s" in result.message
    assert "scoring: no answer within 0 s; once more" in result.err
    assert run(*words, "--resume").code == 0


def test_a_worker_that_is_killed_changes_nothing(
    searched: Path, trained: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(trained, "s", "--workers", "2"), cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ended = 0
    while process.poll() is None and not ended:
        time.sleep(0.1)
        workers = _workers(process.pid)
        if len(workers) == 2 and (tmp_path / "s" / "step-01").exists():
            os.kill(workers[0], signal.SIGKILL)
            ended += 1
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert ended == 1
    assert steps(tmp_path / "s") == steps(searched)


def _workers(parent: int) -> list[int]:
    """Processes that train candidates; none where the parent is at its end."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


@pytest.mark.slow
def test_a_ray_cluster_finds_the_same_and_leaves_nothing(
    searched: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(prefix="t") as folder:  # the paths of Ray's sockets are short
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setenv("HOME", folder)
        complete(tmp_path, trained, "s", "--executor", "ray")
        left = {path.name for path in Path(folder).rglob("*") if path.is_file()}
        assert left == set()
    assert steps(tmp_path / "s") == steps(searched)
