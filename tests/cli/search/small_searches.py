"""Searches of a few seconds: a small trained network, and budgets that need no measuring."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

QUICK = (
    "--target", "tflite", "--reduction", 0.2, "--tune-steps", 2, "--finish-epochs", 0,
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
