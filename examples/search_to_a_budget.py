"""A trained network made small enough for a budget, and compared with what it was.

    python examples/search_to_a_budget.py runs/digits --budget latency=0.7x

MODEL is a trained network: a run folder of `edgekit train`, or a checkpoint. Stop the search at any
moment, and give the same command with ``--resume`` to go on.
"""

from __future__ import annotations

import argparse

import edgekit


def main() -> None:
    """Searches, exports what was found, and measures it beside the start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--budget", default="latency=0.7x")
    parser.add_argument("--target", default="onnx")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--reduction", type=float, default=0.1)
    parser.add_argument("--tune-steps", type=int, default=10)
    parser.add_argument("--finish-epochs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", default="small")
    given = parser.parse_args()

    found = edgekit.search(
        given.model, given.budget, target=given.target, precision=given.precision,
        reduction=given.reduction, tune_steps=given.tune_steps, finish_epochs=given.finish_epochs,
        resume=given.resume, out=f"{given.out}/search", say=print,
    )  # fmt: skip
    for step in found.steps:
        print(f"step {step.step}: {step.changed or step.kind}, {step.figure:.2%}, {step.costs}")
    print(f"channels before and after: {found.groups}")

    (before,) = edgekit.export(
        given.model, given.target, given.precision, out=f"{given.out}/before", overwrite=True
    )
    (after,) = edgekit.export(
        found.model, given.target, given.precision, out=f"{given.out}/after", overwrite=True
    )
    ratio = edgekit.compare(after, before, seconds=given.seconds).ratio
    low, high = ratio.ci95
    print(f"{after.path} takes {ratio.ratio:.2f} of the time ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
