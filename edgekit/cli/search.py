"""``edgekit search``: a trained network, adapted to a budget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit import tables
from edgekit.cli import console
from edgekit.cli.options import (
    Number,
    example_option,
    scores_option,
    size_option,
    weights_option,
)
from edgekit.cli.stating import stated_options
from edgekit.core.text import counted_words

if TYPE_CHECKING:
    from edgekit.cli.live import Status
    from edgekit.search.records import SearchResult, Step


@click.command("search")
@click.argument("model")
@click.option(
    "--budget",
    required=True,
    metavar="LIMITS",
    help="Such as latency=0.6x,size=2MB; arena=256KB on a microcontroller.",
)
@click.option("--target", "-t", default=tables.DEFAULT_TARGET, show_default=True, metavar="T")
@click.option("--precision", "-p", default="fp32", show_default=True, metavar="P")
@weights_option
@size_option
@click.option(
    "--data", metavar="SRC",
    help="Images with what the task needs to know, or a folder of .npz files. [default: those of "
    "its training]",
)  # fmt: skip
@scores_option
@example_option
@click.option(
    "--outputs", metavar="NAME[,NAME]", help="Outputs to keep, in that order; all by default."
)
@click.option(
    "--task",
    metavar="NAME",
    help="What outputs are for: classify (scores of an image) or tensors (anything else); by "
    "default as the network gives.",
)
@stated_options
@click.option(
    "--method",
    type=click.Choice(["netadapt", "uniform", "random", "compound"]),
    default="netadapt",
    show_default=True,
    help="Group by group, or the whole network scaled.",
)
@click.option("--baselines", metavar="METHODS", help="Others for comparison: uniform,random.")
@click.option(
    "--rule",
    type=click.Choice(["ratio", "accuracy", "reward"]),
    default="ratio",
    show_default=True,
    help="Which candidate goes on: least accuracy lost per cost, the most accurate one, or by "
    "MnasNet's reward.",
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
    help="Batches that a candidate is trained for at first.",
)  # fmt: skip
@click.option(
    "--tune-rate", type=Number(0, 1, above=True), default=0.001, show_default=True, metavar="X",
    help="Learning rate of that.",
)  # fmt: skip
@click.option(
    "--contest/--no-contest",
    default=True,
    help="Let networks scaled as a whole compete for the long training.",
)
@click.option(
    "--finish-epochs", type=click.IntRange(0), default=10, show_default=True, metavar="N",
    help="Epochs that the last network is trained for.",
)  # fmt: skip
@click.option(
    "--finish-rate", type=Number(0, 1, above=True), default=0.0025, show_default=True, metavar="X",
    help="Learning rate of that.",
)  # fmt: skip
@click.option("--scratch", is_flag=True, help="Train the last network from fresh weights.")
@click.option("--distill/--no-distill", default=True, help="Learn from the start network, too.")
@click.option(
    "--selection-images", type=click.IntRange(1), default=2000, show_default=True, metavar="N",
    help="Images that candidates are scored on, at most; contests take all.",
)  # fmt: skip
@click.option("--device", default="host", show_default=True, metavar="D",
              help="Device that is measured on, or a microcontroller.")  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(1), metavar="N",
    help="Of the runtime whose latency counts. [default: what the device suggests, else 1]",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 256), metavar="N",
    help="Processes that train candidates. [default: cores, 4 at most]",
)  # fmt: skip
@click.option(
    "--executor",
    type=click.Choice(list(tables.EXECUTORS)),
    default="processes",
    show_default=True,
)
@click.option(
    "--time-limit", type=Number(0, 1e6, above=True), default=900, show_default=True,
    metavar="SECONDS", help="After which a candidate is given up.",
)  # fmt: skip
@click.option(
    "--wait", type=Number(0, 1e6), default=300, show_default=True, metavar="SECONDS",
    help="For a device that is gone.",
)  # fmt: skip
@click.option("--meter", default="auto", show_default=True, metavar="NAME",
              help="For a budget of energy; see 'edgekit list meters'.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder."
)
@click.option("--resume", is_flag=True, help="Go on with the search in DIR.")
@console.common_options
def command(
    model: str,
    budget: str,
    data: str | None,
    outputs: str | None,
    baselines: str | None,
    out: Path,
    **options: Any,
) -> None:
    """Adapt a trained MODEL to a budget (NetAdapt).

    Takes channels away step by step, by costs measured in the runtime, and
    trains in between. DIR holds a complete network for every step, the page
    search.html, and model.pt, which is a MODEL for every other command.
    """
    try:
        with console.status(f"loading {model}") as notify:
            from edgekit.api.searching import search

            result = search(
                model,
                budget,
                data=data,
                outputs=outputs or (),
                baselines=baselines or (),
                out=out,
                command=console.command_line(),
                notify=notify,
                say=console.note,
                found=Growing(notify, resumed=options["resume"]),
                **options,
            )
    except KeyboardInterrupt:
        _go_on(out, options["resume"])
        raise
    show(result, out)
    console.go_on("edgekit", "export", result.model, "--target", options["target"])
    if console.wants_json():
        from edgekit.core import to_json
        from edgekit.search.document import SCHEMA
        from edgekit.search.writing import document

        console.emit_json(SCHEMA, to_json(document(out, result)))


def _go_on(out: Path, resumed: bool) -> None:
    """Says how an interrupted search goes on, where it has kept anything."""
    from edgekit.search.journal import FILE_NAME

    if (out / FILE_NAME).exists():
        more = "" if resumed else " --resume"
        console.note(f"what was found is kept in {out}; go on with: {console.command_line()}{more}")


class Growing:
    """The networks of a search under way: a table on a terminal, else a line for each new one.

    Args:
        display: that is on the terminal.
        resumed: the first ones are known from before.
    """

    def __init__(self, display: Status, *, resumed: bool) -> None:
        self._display, self._resumed = display, resumed
        self._told = 0

    def __call__(self, result: SearchResult) -> None:
        """There is one more."""
        columns, rows = table_of(result)
        if self._display.shown:
            self._display.table(columns, rows)
            return
        steps = _steps(result)
        if self._resumed:
            self._resumed, self._told = False, len(steps)
            console.note(
                f"{counted_words(len(steps), 'network is', 'networks are')} known from before"
            )
        for step in steps[self._told :]:
            console.note(f"step {step.step}: {', '.join(_told(step, result))}")
        self._told = max(self._told, len(steps))


def _told(step: Step, result: SearchResult) -> Iterator[str]:
    """What a line says of a network."""
    yield _what(step, result)
    yield f"{result.title} {console.percent(step.figure)}"
    if step.ratio is not None:
        yield f"{step.ratio:.3f} of the start's latency"
    yield f"{step.costs['macs'] / 1e6:.2f} M MACs"


def _steps(result: SearchResult) -> list[Step]:
    """Of the method, and of those for comparison."""
    return [*result.steps, *(one for found in result.baselines.values() for one in found)]


def table_of(result: SearchResult) -> tuple[list[str | tuple[str, str]], list[tuple[str, ...]]]:
    """Columns, and a row for each network; figures that none has are left out."""
    from edgekit.search.budget import MEMORIES

    memories = [one for one in MEMORIES if one in result.final.costs]
    rows = []
    for step in _steps(result):
        latency = step.costs.get("latency")
        rows.append(
            (
                str(step.step),
                _what(step, result),
                f"{step.figure:.2%}",
                "" if step.test_figure is None else f"{step.test_figure:.2%}",
                "" if latency is None else f"{latency:.3f}",
                "" if step.ratio is None else f"{step.ratio:.3f}",
                *(f"{step.costs[one] / 1024:.1f}" for one in memories),
                f"{step.costs['macs'] / 1e6:.2f}",
                f"{step.params / 1e6:.2f}",
            )
        )
    right = "right"
    columns = [
        ("step", right), ("change", "left"), (result.title, right), ("test", right), ("ms", right),
        ("ratio", right), *((f"{one} KiB", right) for one in memories),
        ("M MACs", right), ("M par.", right),
    ]  # fmt: skip
    there = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    return [columns[i] for i in there], [tuple(row[i] for i in there) for row in rows]


def show(result: SearchResult, out: Path) -> None:
    """One line per network, and the verdict."""
    console.table(*table_of(result), gap=2)
    for group in result.frozen:
        console.note(f"{group.name} was left alone: {group.frozen}")
    first, last = result.steps[0], result.final
    if last.ratio is not None and last.ci95:
        low, high = last.ci95
        console.say(
            f"{last.ratio:.3f} of the start's latency, 95 % interval {low:.3f} to {high:.3f}."
        )
    if first.test_figure is not None and last.test_figure is not None:
        console.say(
            f"Test {result.title} {first.test_figure:.2%} before, {last.test_figure:.2%} after."
        )
    if result.within > 1:
        console.say(
            f"Of {result.within} networks that keep the budget step {last.step} has the highest "
            f"{result.title} and is the result."
        )
    if result.prediction_error is not None:
        console.say(f"Predictions were {result.prediction_error:.1%} off on average.")
    spent = ", ".join(
        f"{what} {seconds:.0f} s"
        for what, seconds in sorted(result.seconds.items(), key=lambda item: -item[1])
    )
    console.say(f"Time: {spent}.")
    console.say(f"{result.model} is the network; {out / 'search.html'} shows how it was found.")


def _what(step: Step, result: SearchResult) -> str:
    """What a row of the table is."""
    if step.changed is not None:
        return step.changed if step.width is None else f"{step.changed} to {step.width}"
    return step.kind if step in result.steps else step.series
