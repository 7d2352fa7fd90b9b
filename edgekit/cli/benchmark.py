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
    Number,
    network_options,
    overwrite_option,
    scores_option,
    size_option,
    weights_option,
)
from edgekit.cli.stating import stated_options
from edgekit.errors import GateError

if TYPE_CHECKING:
    from edgekit.benchmarking.results import Benchmark, Row
    from edgekit.measure.session import Progress


@click.command("benchmark")
@click.argument("source", metavar="MODEL|RUN|FOLDER")
@click.option(
    "--data",
    metavar="SRC",
    help="Labelled images: digits, synthetic or a folder. By default those of the training.",
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
                description=figures.shortened(what, max(20, console.width() - 52)),
                completed=round(done),
                total=round(total) or None,
            )

        yield report


def show(result: Benchmark) -> None:
    """The table, the choice, and what to do next."""
    console.say()
    _table(result)
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


def _table(result: Benchmark) -> None:
    """The rows, the fastest first, with the stock file among them."""
    rows = [(row, False) for row in result.rows]
    if result.stock is not None and result.stock.latency is not None:
        slower = [
            i
            for i, row in enumerate(result.rows)
            if row.latency is None or row.latency.p50_ms > result.stock.latency.p50_ms
        ]
        rows.insert(slower[0] if slower else len(rows), (result.stock, True))
    shown = [(row, stock) for row, stock in rows if stock or row.state != "left out"]
    several = len({row.model for row, _ in shown if row.model}) > 1
    timed = any(row.latency is not None for row, _ in shown)
    right = "right"
    rated_rows = [row for row, _ in shown if row.evaluation is not None]
    rated = bool(rated_rows)
    title = f"{_figure(rated_rows[0])} %" if rated else "agree dB"
    columns: list[str | tuple[str, str]] = ["file"] if several else ["target", "precision"]
    columns += [("MiB", right), (title, right)]
    columns += [("±", right)] if rated else []
    if timed:
        columns += [("p50 ms", right), ("±", right), ("RAM MiB", right)]
    compared = result.stock is not None and result.stock.latency is not None
    columns += [("x stock", right)] if compared else []
    cells = []
    for row, stock in shown:
        name = row.path.name
        first = (figures.shortened(name, 26),) if several else (row.target, row.precision)
        if stock:
            first = (figures.shortened(name, 26),) if several else (row.target, "stock fp32")
        if row is result.choice.row:
            first = (f"> {first[0]}", *first[1:])
        line = [*first, "-" if row.size_bytes is None else f"{row.size_bytes / 2**20:.2f}"]
        line += _quality(row, rated)
        if timed:
            line += _times(row)
        if compared:
            ratio = 1.0 if stock else None if row.speedup is None else row.speedup.ratio
            line.append("" if ratio is None else f"{ratio:.2f}")
        cells.append(line)
    console.table(columns, cells, gap=2)


def _figure(row: Row) -> str:
    """What the figure of a row is called."""
    from edgekit import registry

    assert row.evaluation is not None
    return str(registry.task(row.evaluation.task).title)


def _quality(row: Row, rated: bool) -> list[str]:
    """Accuracy with half of its interval, or agreement."""
    if not rated:
        return ["" if row.agreement is None else f"{row.agreement.sqnr_db:.1f}"]
    if row.evaluation is None:
        return ["", ""]
    headline = row.evaluation.headline
    half = "" if headline.ci95 is None else f"{50 * (headline.ci95[1] - headline.ci95[0]):.1f}"
    return [f"{100 * headline.value:.2f}", half]


def _times(row: Row) -> list[str]:
    if row.latency is None or row.measurement is None:
        return [row.state if row.state != "ok" else "-", "", ""]
    memory = row.measurement.peak_rss_mib
    mark = "" if row.measurement.stable else "*"
    return [
        f"{row.latency.p50_ms:.3f}{mark}",
        f"{row.latency.precision:.1%}",
        "-" if memory is None else f"{memory:.1f}",
    ]


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
            f"{console.percent(network.headline.value)} on {network.n:,} images "
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
    facts = []
    if taken.latency is not None:
        facts.append(f"{taken.latency.p50_ms:.3f} ms")
    if taken.speedup is not None:
        facts.append(f"{taken.speedup.ratio:.2f} times as fast as the stock fp32 file")
    if taken.headline is not None:
        facts.append(f"{_figure(taken)} {console.percent(taken.headline)}")
    if taken.size_bytes is not None:
        facts.append(console.mebibytes(taken.size_bytes))
    console.say(f"Take {taken.path}")
    figures.say_wrapped(f"{', '.join(facts)}: {result.choice.why}.", "  ")


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
