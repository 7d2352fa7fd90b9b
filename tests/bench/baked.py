"""Files that take bytes of pixels beside those that do not. Each figure is a part of its own:

``python tests/bench/baked.py agreement --run RUN``: of a training on digits, agreement with PyTorch
of files with and without ``--bake-preprocessing``, in all precisions, and their sizes. ``speed``:
MobileNetV3-Small at 224 px, both in turns: the ratio of their times, and the ratio of the shortest
single runs, which other work disturbs less. ``--target`` and ``--precision`` name some of them.

All parts: about half an hour on an idle machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekit import registry
from edgekit.contract import load
from edgekit.conversion import export
from edgekit.core import Agreement, Artifact
from edgekit.measure.comparing import compare
from edgekit.measure.session import Effort
from edgekit.measure.subjects import Subject
from edgekit.quantize.integers import Integers
from edgekit.tables import PRECISIONS, TARGETS

NETWORK = "mobilenetv3-small"
SECONDS = 12.0
GOAL = 0.005  # nobody stops before the seconds are over

Pair = tuple[Path, Path]


def pairs(
    source: str, calibration: str, arguments: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, str, Pair]]:
    """Target, precision, and the files with and without bytes of pixels; one after the other."""
    for target in arguments.target or sorted(TARGETS):
        for precision in arguments.precision or arguments.precisions:
            if precision not in registry.target(target).schemes:
                continue
            found = []
            for baked in (True, False):
                out = folder / target / precision / ("with" if baked else "without")
                report = export(
                    source, target, precision, out=out, bake_preprocessing=baked, strict=False,
                    integers=Integers(data=calibration),
                )  # fmt: skip
                found += [out / result.path.name for result in report]
            if len(found) == 2:
                yield target, precision, (found[0], found[1])
            else:
                print(f"| {target} | {precision} | not both could be written |", flush=True)


def agreement(folder: Path, arguments: argparse.Namespace) -> None:
    """Agreement of both with PyTorch, and their sizes."""
    for target, precision, pair in pairs(arguments.run, "digits", arguments, folder):
        contracts = [load(path) for path in pair]
        told = (_agreement(contract) for contract in contracts)
        sizes = (
            sum(file.stat().st_size for file in registry.target(target).files(path)) / 2**20
            for path in pair
        )
        cells = (target, precision, *told, *(f"{size:.2f} MiB" for size in sizes))
        print(f"| {' | '.join(cells)} |", flush=True)


def _agreement(contract: Artifact) -> str:
    found = contract.agreement
    assert isinstance(found, Agreement)
    assert found.top1_match is not None
    return f"{found.sqnr_db:.1f} dB, {found.top1_match:.1%}"


def speed(folder: Path, arguments: argparse.Namespace) -> None:
    """Time with over time without, in turns on one thread."""
    for target, precision, pair in pairs(NETWORK, "synthetic", arguments, folder):
        one, other = (Subject(str(path)) for path in pair)
        found = compare(one, other, Effort(arguments.seconds, GOAL))
        shortest = [
            min(sample for block in measured.blocks for sample in block.samples_ms)
            for measured in (found.a, found.b)
        ]
        least, most = found.ratio.ci95
        print(
            f"| {target} | {precision} | {found.ratio.ratio:.2f} ({least:.2f} to {most:.2f}) | "
            f"{shortest[0] / shortest[1]:.2f} | {found.ratio.rounds} |",
            flush=True,
        )


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "agreement": agreement,
    "speed": speed,
}
PRECISIONS_OF = {"agreement": list(PRECISIONS), "speed": ["fp32", "int8"]}
HEADS = {
    "agreement": "| target | precision | with | without | size with | size without |",
    "speed": "| target | precision | time with / without | of the shortest | rounds |",
}


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--run", default="runs/digits", help="a training on digits")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS))
    parser.add_argument("--precision", action="append", choices=list(PRECISIONS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of turns, each row")
    arguments = parser.parse_args()
    for part in arguments.parts:
        head = HEADS[part]
        print(f"\n{part}\n\n{head}\n|{'---|' * (head.count('|') - 1)}", flush=True)
        arguments.precisions = PRECISIONS_OF[part]
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder), arguments)


if __name__ == "__main__":
    sys.exit(main())
