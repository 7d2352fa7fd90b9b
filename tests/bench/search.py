"""Figures of docs/search.md: what a search finds, how long it takes, and what scaling finds.

``python tests/bench/search.py RUN TARGET PRECISION BUDGET`` with a trained network of
'edgekit train' searches beside uniform scaling and prints one line of the table. ``--out DIR``
keeps the folder, and goes on with it where it was ended.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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
        f"{found['candidates']['scored'] / whole * 3600:.0f} | {naive(found, out):.0f} |"
    )


def naive(found: dict[str, Any], out: Path) -> float:
    """Candidates an hour if each were trained, exported and measured as a whole, one by one.

    From the times of the same run: of its trainings, its exports, and its measurements.
    """
    connection = sqlite3.connect(out / "journal.sqlite")
    (training,) = connection.execute(
        "SELECT avg(seconds) FROM candidates WHERE round = 1 AND series = 'netadapt'"
    ).fetchone()
    measured = connection.execute(
        "SELECT count(*) FROM events WHERE kind = 'measurement'"
    ).fetchone()[0]
    exporting = found["seconds"]["exporting"] / measured
    return 3600 / (training + exporting + 6.0)


if __name__ == "__main__":
    main()
