"""The table of all networks in docs/zoo.md: counts, published accuracy, export to every target.

``python tests/bench/zoo.py`` exports every network to every target at its smallest sensible
resolution, which takes about an hour; with names of networks, only those; with ``--no-export``,
nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile

import torch

from edgekit import registry, tables
from edgekit.cli.list import zoo
from edgekit.models import build, family_of, find_spec
from edgekit.models.count import layers
from edgekit.models.pretrained import PUBLISHED

# At which the last feature map has more than one pixel, so that kernels move; a network's stride
# where that is larger.
RESOLUTION = 64
TARGETS = tuple(tables.TARGETS)
ZOO = zoo()


def counts(name: str) -> str:
    """Cells with parameters, MACs and the resolution that they are counted at."""
    spec = find_spec(name)
    with torch.device("meta"):
        found = layers(build(spec).eval(), spec.resolution)
    params, macs = (sum(layer.params for layer in found), sum(layer.macs for layer in found))
    return f"{params:,} | {macs:,} | {spec.resolution}"


def accuracy(name: str) -> str:
    """Cells with the published top-1 and where it is from."""
    row = ZOO.get(name, {})
    return f"{row['top1']} | {row['source']}" if row.get("top1") else "- | -"


def exported(name: str, target: str) -> str:
    """How an export ends: agreement with PyTorch in decibels, or what is wrong."""
    spec = find_spec(name)
    side = max(RESOLUTION, family_of(spec).stride(spec))
    with tempfile.TemporaryDirectory() as folder:
        command = ["export", name, "--target", target, "--resolution", str(side), "-o", folder]
        done = subprocess.run(
            [sys.executable, "-m", "edgekit", *command, "--json"], capture_output=True, text=True
        )
    if done.returncode:
        print(f"{name} {target}: {done.stderr.strip()}", file=sys.stderr)
        return f"fails ({done.returncode})"
    (artifact,) = json.loads(done.stdout)["artifacts"]
    return f"{artifact['agreement']['sqnr_db']:.0f} dB"


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--no-export", action="store_true")
    arguments = parser.parse_args()
    names = arguments.names or sorted({*registry.model_names(), *PUBLISHED})
    print(f"Taken on {datetime.date.today()} with torch {torch.__version__.partition('+')[0]}.\n")
    print(f"| network | parameters | MACs | px | top-1 % | source | {' | '.join(TARGETS)} |")
    print("|---|--:|--:|--:|--:|---|" + "--:|" * len(TARGETS), flush=True)
    for name in names:
        states = ["-" if arguments.no_export else exported(name, target) for target in TARGETS]
        cells = [f"`{name}`", counts(name), accuracy(name), *states]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
