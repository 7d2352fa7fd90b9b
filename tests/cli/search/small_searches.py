"""Searches of a few seconds: a small trained network, and budgets that need no measuring."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.search.jobs import Candidate
from edgekit.search.processes import Doable, Outcome, Report, Worker

QUICK = (
    "--target", "tflite", "--reduction", 0.2, "--tune-steps", 1, "--finish-epochs", 0,
    "--no-distill", "--workers", 1, "--selection-images", 100,
)  # fmt: skip


def command(run: Path, out: str, *more: str) -> list[str]:
    words = [str(word) for word in QUICK]
    return [
        sys.executable, "-m", "edgekit", "search", str(run), "--budget", "macs=0.85x",
        *words, "-o", out, *more,
    ]  # fmt: skip


def complete(folder: Path, run: Path, out: str, *more: str) -> None:
    done = subprocess.run(
        command(run, out, *more), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def steps(folder: Path) -> list[dict[str, str]]:
    with (folder / "pareto.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Inline:
    """Does jobs in this process, for tests of what else a search does: a start takes seconds."""

    def __init__(self, work: Callable[[], Callable[[Any], Any]], *_: object) -> None:
        self.worker = Worker(work)

    def run(self, jobs: Sequence[Doable], report: Report) -> None:
        for i, job in enumerate(jobs):
            # Alone or not: tests share the cores.
            narrow = replace(job, wide=False) if isinstance(job, Candidate) else job
            answer = self.worker.do(narrow)
            if isinstance(answer, EdgekitError):
                raise answer
            assert isinstance(answer, Outcome)
            report(i, answer)

    def close(self) -> None:
        pass
