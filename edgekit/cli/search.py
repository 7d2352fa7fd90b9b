"""``edgekit search``: a trained network, adapted to a budget."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console
from edgekit.cli.options import Number

if TYPE_CHECKING:
    from edgekit.search.netadapt import SearchResult, Step


@click.command("search")
@click.argument("model")
@click.option("--budget", required=True, metavar="LIMITS", help="Such as latency=0.6x,size=2MB.")
@click.option("--target", "-t", default="onnx", show_default=True, metavar="T")
@click.option("--precision", "-p", default="fp32", show_default=True, metavar="P")
@click.option("--data", metavar="SRC", help="Labelled images. [default: those of its training]")
@click.option(
    "--rule",
    type=click.Choice(["ratio", "accuracy"]),
    default="ratio",
    show_default=True,
    help="Which candidate goes on: least accuracy lost per cost, or the most accurate one.",
)
@click.option(
    "--criterion",
    type=click.Choice(["l2", "taylor", "norm"]),
    default="l2",
    show_default=True,
    help="Which channels stay.",
)
@click.option(
    "--reduction", type=Number(0, 0.5, above=True), default=0.1, show_default=True, metavar="X",
    help="Share of the cost that the first step takes away.",
)  # fmt: skip
@click.option(
    "--tune-steps", type=click.IntRange(0), default=10, show_default=True, metavar="N",
    help="Batches that a candidate is trained for.",
)  # fmt: skip
@click.option(
    "--finish-epochs", type=click.IntRange(0), default=10, show_default=True, metavar="N",
    help="Epochs that the last network is trained for.",
)  # fmt: skip
@click.option("--distill/--no-distill", default=True, help="Learn from the start network, too.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder."
)
@click.option("--resume", is_flag=True, help="Go on with the search in DIR.")
@console.common_options
def command(
    model: str,
    budget: str,
    target: str,
    precision: str,
    data: str | None,
    threads: int,
    out: Path,
    resume: bool,
    **options: Any,
) -> None:
    """Adapt a trained MODEL of the zoo to a budget (NetAdapt).

    Takes channels away group by group, by costs measured in the runtime, and
    trains in between. DIR holds a complete network for every step, and
    model.pt, which is a MODEL for every other command.
    """
    from edgekit.search.budget import parse_budget

    limits = parse_budget(budget)
    with console.status(f"loading {model}") as notify:
        from edgekit.models.source import open_model
        from edgekit.search.netadapt import SearchOptions, search

        result = search(
            open_model(model),
            limits,
            target,
            precision,
            data=data,
            out=out,
            options=SearchOptions(**options),
            threads=threads,
            resume=resume,
            notify=notify,
        )
    _write_pareto(out / "pareto.csv", result)
    show(result)
    if console.wants_json():
        console.emit_json("edgekit.search/1", _document(out, result))


def show(result: SearchResult) -> None:
    """One line per network, and the verdict."""
    rows = []
    for step in result.steps:
        what = f"{step.changed} to {step.width}" if step.changed is not None else "finished"
        latency = step.costs.get("latency")
        rows.append(
            (
                str(step.step),
                "start" if step.step == 0 else what,
                f"{step.top1:.2%}",
                "" if latency is None else f"{latency:.3f} ms",
                "" if step.ratio is None else f"{step.ratio:.3f}",
                f"{step.costs['macs'] / 1e6:.2f}",
                f"{step.params / 1e6:.2f}",
            )
        )
    right = "right"
    console.table(
        [
            ("step", right), "change", ("top-1", right), ("latency", right), ("ratio", right),
            ("M MACs", right), ("M params", right),
        ],
        rows,
    )  # fmt: skip
    for group in result.frozen:
        console.note(f"{group.name} was left alone: {group.frozen}")
    last = result.steps[-1]
    if last.ratio is not None and last.step:
        low, high = last.ci95
        console.say(
            f"{last.ratio:.3f} of the start's latency, 95 % interval {low:.3f} to {high:.3f}."
        )
    if result.test_top1 is not None:
        before, after = result.test_top1
        console.say(f"Test top-1 {before:.2%} before, {after:.2%} after.")
    console.say(f"{result.model} is the network; every step's lies beside it.")


def _entry(out: Path, step: Step) -> dict[str, Any]:
    from edgekit.core import to_json

    return {
        "spec": to_json(step.spec),
        "step": step.step,
        "changed": step.changed,
        "width": step.width,
        "top1": step.top1,
        "latency_ms": step.costs.get("latency"),
        "latency_ratio": step.ratio,
        "ci95": list(step.ci95),
        "predicted": step.predicted,
        "macs": step.costs["macs"],
        "size_bytes": step.costs["size"],
        "params": step.params,
        "artifact": str(out / step.artifact),
        "checkpoint": str(out / step.checkpoint),
    }


def pareto(result: SearchResult) -> list[Step]:
    """The steps that no other one beats in accuracy and cost at once."""

    def cost(step: Step) -> float:
        return step.costs.get("latency", step.costs["macs"])

    return [
        step
        for step in result.steps
        if not any(
            other.top1 >= step.top1
            and cost(other) <= cost(step)
            and (other.top1, -cost(other)) != (step.top1, -cost(step))
            for other in result.steps
        )
    ]


def _document(out: Path, result: SearchResult) -> dict[str, Any]:
    test = result.test_top1
    return {
        "baseline": _entry(out, result.steps[0]),
        "final": _entry(out, result.steps[-1]),
        "steps": [_entry(out, step) for step in result.steps],
        "pareto": [_entry(out, step) for step in pareto(result)],
        "test_top1": None if test is None else {"before": test[0], "after": test[1]},
        "model": str(result.model),
        "frozen": {group.name: group.frozen for group in result.frozen},
    }


def _write_pareto(path: Path, result: SearchResult) -> None:
    best = pareto(result)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["step", "changed", "width", "top1", "latency_ms", "latency_ratio", "low", "high",
             "macs", "params", "size_bytes", "pareto", "artifact"]
        )  # fmt: skip
        for step in result.steps:
            low, high = step.ci95 or ("", "")
            writer.writerow(
                [step.step, step.changed, step.width, step.top1, step.costs.get("latency"),
                 step.ratio, low, high, step.costs["macs"], step.params, step.costs["size"],
                 step in best, step.artifact]
            )  # fmt: skip
