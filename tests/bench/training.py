"""Accuracy and time of a training on digits, whole process, over seeds.

Run by `make bench`, or with other arguments: ``python tests/bench/training.py MODEL...``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEEDS = (0, 1, 2)
NETWORKS = ("mobilenetv3-small", "mobilenetv1", "mobilenetv2", "mobilenetv3-large")
OPTIONS = ("--data", "digits", "--epochs", "15", "--resolution", "32")


def train(model: str, seed: int, out: Path) -> tuple[float, float]:
    """Test top-1 and wall seconds of one ``edgekit train`` in a process of its own."""
    command = [sys.executable, "-m", "edgekit", "train", model, *OPTIONS]
    command += ["--seed", str(seed), "-o", str(out), "--json"]
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["top1"], time.perf_counter() - begin


def main() -> None:
    """Prints a table in Markdown."""
    print(f"`edgekit train MODEL {' '.join(OPTIONS)} --seed S`, whole process\n")
    print("| network | seed | test top-1 | seconds |\n|---|---|---|---|")
    for model in sys.argv[1:] or NETWORKS:
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                top1, seconds = train(model, seed, Path(folder, "run"))
            print(f"| {model} | {seed} | {100 * top1:.2f} % | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
