"""int8 that loses at most half a point of accuracy, and is faster than float.

    python examples/int8_under_a_bound.py runs/digits

MODEL is a trained network: a run folder of `edgekit train`, or a checkpoint. edgekit tries one way
to integers after the other until one holds the bound on images that neither training nor
calibration saw. The exit code is 4 where none does.
"""

from __future__ import annotations

import argparse
import sys

import edgekit
from edgekit.errors import GateError


def main() -> int:
    """Exports, tells what was tried, and compares with float."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--target", default="tflite")
    parser.add_argument("--points", type=float, default=0.5, help="of top-1 that may be lost")
    parser.add_argument("--qat-epochs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", default="int8")
    given = parser.parse_args()

    (floats,) = edgekit.export(given.model, given.target, out=given.out)
    try:
        (integers,) = edgekit.export(
            given.model, given.target, "int8", out=given.out,
            max_drop=given.points, qat_epochs=given.qat_epochs,
        )  # fmt: skip
    except GateError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for rung in integers.artifact.ladder:
        lost = "no file" if rung.drop_points is None else f"{rung.drop_points:.2f} points lost"
        print(f"{rung.name}: {lost}{', holds' if rung.passed else ''}")

    found = edgekit.compare(floats, integers, seconds=given.seconds).ratio
    low, high = found.ci95
    print(f"float takes {found.ratio:.2f} times as long ({low:.2f} to {high:.2f}): {found.verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
