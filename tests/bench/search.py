"""Figures of docs/measurements/search.md: what searches and scaling find, and how long they take.

``python tests/bench/search.py RUN TARGET PRECISION BUDGET`` with a trained network of
'edgekit train' searches beside uniform scaling and prints one line of the table. ``--out DIR``
keeps the folder, and goes on with it where it was ended.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from edgekit.search.measuring import MEASURING_SECONDS
from edgekit.search.workshop import CONTEST, FINISHING

HEAD = (
    "| network | target | latency | 95 % interval | test before | after | uniform | its latency | "
    "predicted off by | outside | candidates/h | naive loop |"
)


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("target")
    parser.add_argument("precision")
    parser.add_argument("budget")
    parser.add_argument("--out", type=Path)
    arguments, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder) / "search"
        resume = ["--resume"] if (out / "journal.sqlite").exists() else []
        subprocess.run(
            [sys.executable, "-m", "edgekit", "search", arguments.run, "-t", arguments.target,
             "-p", arguments.precision, "--budget", arguments.budget, "--baselines", "uniform",
             "-o", str(out), *more, *resume],
            check=True, stdout=sys.stderr,
        )  # fmt: skip
        found = json.loads((out / "search.json").read_text(encoding="utf-8"))
        print(HEAD, f"|{'---|' * (HEAD.count('|') - 1)}", line(found, out), sep="\n")


def line(found: dict[str, Any], out: Path) -> str:
    """One search."""
    last, seconds = found["final"], found["seconds"]
    (uniform,) = (one for one in found["series"] if one["method"] == "uniform")
    (scaled,) = uniform["steps"]
    low, high = last["ci95"]
    test = found["test_top1"]
    inside = sum(seconds[what] for what in ("training", "scoring", "measuring"))
    whole = sum(seconds.values())
    return (
        f"| {found['network']} | {found['target']} {found['precision']} | "
        f"{last['latency_ratio']:.3f} | {low:.3f} to {high:.3f} | {test['before']:.2%} | "
        f"{test['after']:.2%} | {uniform['test_top1']:.2%} | {scaled['latency_ratio']:.3f} | "
        f"{found['prediction_error']:.1%} | {1 - inside / whole:.0%} of {whole / 60:.0f} min | "
        f"{rate(found, out):.0f} | {naive(found, out):.0f} |"
    )


def rate(found: dict[str, Any], out: Path) -> float:
    """Candidates an hour, from the first proposal to the last step's measurement.

    Contest and long training are left out: they are in the middle of candidates where a finished
    network misses its budget.
    """
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite")) as connection:
        moments = [
            datetime.fromisoformat(at)
            for (at,) in connection.execute(
                "SELECT at FROM events WHERE series = 'netadapt' AND step <= "
                "(SELECT max(step) FROM events WHERE kind = 'proposals') ORDER BY at"
            )
        ]
        (finishing,) = connection.execute(
            "SELECT coalesce(sum(seconds), 0) FROM candidates WHERE series = 'netadapt' AND "
            "round IN (?, ?) AND step < (SELECT max(step) FROM events WHERE kind = 'proposals')",
            (CONTEST, FINISHING),
        ).fetchone()
    hours = ((moments[-1] - moments[0]).total_seconds() - finishing) / 3600
    return float(found["candidates"]["scored"] / hours)


def naive(found: dict[str, Any], out: Path) -> float:
    """Candidates an hour if each were trained for all batches, exported and measured, one by one.

    From the times of the same run: of its trainings, its exports, and its measurements.
    """
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite")) as connection:
        training = sum(
            seconds
            for (seconds,) in connection.execute(
                "SELECT avg(seconds) FROM candidates "
                "WHERE round IN (1, 2) AND series = 'netadapt' GROUP BY round"
            )
        )
        (measured,) = connection.execute(
            "SELECT count(*) FROM events WHERE kind = 'measurement'"
        ).fetchone()
    exporting = found["seconds"]["exporting"] / measured
    return float(3600 / (training + exporting + MEASURING_SECONDS))


if __name__ == "__main__":
    main()
