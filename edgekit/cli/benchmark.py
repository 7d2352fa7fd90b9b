"""``edgekit benchmark``: which file to take, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.api.measuring_options import LONGEST_S
from edgekit.cli import console, figures, keeping
from edgekit.cli.interrupts import held_interrupts
from edgekit.cli.options import (
    SOURCES,
    Number,
    network_options,
    overwrite_option,
    scores_option,
    size_option,
    weights_option,
)
from edgekit.cli.stating import stated_options
from edgekit.core.text import counted_words, shortened
from edgekit.errors import GateError

if TYPE_CHECKING:
    from edgekit.benchmarking.results import Benchmark, Row
    from edgekit.measure.session import Progress


@click.command("benchmark")
@click.argument("source", metavar="MODEL|RUN|FOLDER")
@click.option(
    "--data",
    metavar="SRC",
    help=f"Labelled images: {SOURCES}. By default those of the training.",
)
@click.option(
    "--device",
    default="host",
    metavar="D",
    help="That the files are for, run on and measured on; see 'edgekit devices'. [default: host]",
)
@click.option(
    "--target", "--targets", "-t", "targets", default="all", metavar="T[,T]|all",
    help="File formats. [default: all that the device runs]",
)  # fmt: skip
@click.option(
    "--precision", "--precisions", "-p", "precisions", default="all", metavar="P[,P]|all",
    help="[default: all that each format has]",
)  # fmt: skip
@click.option(
    "--max-drop",
    type=Number(0, 100),
    default=0.5,
    metavar="POINTS",
    help="Points of accuracy that the file to take may lose. [default: 0.5]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the files, the page and the measurements. [default: NAME-benchmark]",
)
@overwrite_option
@click.option(
    "--seconds",
    type=Number(1, LONGEST_S),
    default=10.0,
    metavar="S",
    help="Measure each file for at most so long. [default: 10]",
)
@click.option(
    "--precision-goal",
    type=Number(0.01, 50),
    default=2.0,
    metavar="PCT",
    help="Stop when all medians are known to ± so much. [default: 2]",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Threads of the runtimes. [default: what the device suggests, else 1]",
)
@click.option(
    "--calibration",
    metavar="SRC",
    help="Images that the ranges of int8 come from; those of the training or --data by default.",
)
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@click.option("--no-store", is_flag=True, help="Do not keep it for 'edgekit history'.")
@weights_option
@size_option
@scores_option
@network_options
@stated_options
@console.common_options
def command(source: str, no_store: bool, out: Path | None, **options: Any) -> None:
    """Say which file to ship: how accurate, how fast, how large each one is.

    Exports MODEL (or the network of a RUN folder) to every format and precision,
    evaluates each file on the same images, and measures all of them in turns. Of
    a FOLDER of exported files, these are taken as they are.

    The file to take is the fastest one that loses at most --max-drop points; of
    files whose latencies cannot be told apart it is the smallest. Ended early, the
    same command goes on where it was.
    """
    options["outputs"] = options["outputs"] or ()
    with held_interrupts() as interrupts:
        with progress() as report:
            from edgekit.api.benchmarks import benchmark

            result = benchmark(
                source,
                out=out,
                command=console.command_line(),
                progress=report,
                hold=interrupts.hold,
                note=console.note,
                say=console.warn,
                **{name: value for name, value in options.items() if value is not None},
            )
            interrupts.hold()
        try:
            show(result)
            _emit(result)
        finally:  # whatever becomes of the output
            errors = keeping.keep(
                result.measurements,
                stored=not no_store and result.measured and bool(result.measurements),
                out=None,
                overwrite=False,
            )
    if result.interrupted:
        raise KeyboardInterrupt
    keeping.finish([result.failure, *errors, failure(result)])


def failure(result: Benchmark) -> GateError | None:
    """The error where there is no file to take though all was done."""
    if result.choice.row is not None or result.failure is not None or result.interrupted:
        return None
    return GateError(f"there is no file of {result.source} to take: {result.choice.why}")


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar with counts and the time left, which begins anew with each part."""
    with console.progress() as display:
        task = display.add_task("starting", total=None)
        part = ""

        def report(what: str, done: float, total: float) -> None:
            nonlocal part
            first = what.split(" ")[0]
            if first != part:
                part = first
                display.reset(task, start=True)
            display.update(
                task,
                description=shortened(what, max(20, console.width() - 52)),
                completed=round(done),
                total=round(total) or None,
            )

        yield report


def show(result: Benchmark) -> None:
    """The table, the choice, and what to do next."""
    from edgekit.cli import benchmark_table

    console.say()
    if not console.wants_json():
        benchmark_table.show(result)
    _say_others(result)
    console.say()
    _say_choice(result)
    if result.page is not None:
        console.say(f"Page with all plots and samples: {result.page}")
    _say_next(result)


def _emit(result: Benchmark) -> None:
    """The document, where it is asked for."""
    if console.wants_json():
        from edgekit.benchmarking.document import SCHEMA, document

        entry = document(result)
        error = result.failure or failure(result)
        if error is not None:
            entry["error"] = console.error_entry(error)
        console.emit_json(SCHEMA, entry)


def _say_others(result: Benchmark) -> None:
    """On what it was measured, and why files are not good or were not made."""
    if result.measurements:
        figures.conditions(result.measurements)
    network = result.network
    if network is not None:
        from edgekit import registry

        title = registry.task(network.task).title
        figures.say_wrapped(
            f"PyTorch: {title} "
            f"{console.percent(network.headline.value)} on {counted_words(network.n, 'image')} "
            f"({network.data}, {network.split})."
        )
    reasons: dict[tuple[str, str], list[Row]] = {}
    for row in result.rows:
        if row.reason is not None:
            reasons.setdefault((row.state, row.reason), []).append(row)
    for (state, reason), rows in reasons.items():
        names = ", ".join(f"{row.target} {row.precision}".strip() or row.path.name for row in rows)
        figures.say_wrapped(f"{state}: {names}: {reason}")


def _say_choice(result: Benchmark) -> None:
    taken = result.choice.row
    if taken is None:
        figures.say_wrapped(f"No file to take: {result.choice.why}.")
        return
    from edgekit.cli import benchmark_table

    facts = []
    if taken.latency is not None:
        ratio = taken.speedup
        times = "" if ratio is None else f", {ratio.ratio:.2f} times as fast as the stock fp32 file"
        facts.append(f"{taken.latency.p50_ms:.3f} ms{times}")
    if taken.headline is not None:
        facts.append(f"{benchmark_table.figure(taken)} {console.percent(taken.headline)}")
    if taken.size_bytes is not None:
        facts.append(console.mebibytes(taken.size_bytes))
    console.say(f"Take {taken.path}")
    figures.say_wrapped("; ".join(facts), "  ")
    figures.say_wrapped(f"{result.choice.why[0].upper()}{result.choice.why[1:]}.", "  ")


def _say_next(result: Benchmark) -> None:
    """Commands that come next."""
    taken = result.choice.row
    if taken is None or console.wants_json():
        return
    from edgekit.benchmarking.following import commands

    lines = commands(result)
    if lines:
        console.say("Next:")
        for line in lines:
            console.say(f"  {line}")
