"""``edgekit profile``: latency, memory, energy, time per operator."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, measuring
from edgekit.cli.options import overwrite_option
from edgekit.errors import UsageError
from edgekit.staging import refuse_existing

if TYPE_CHECKING:
    from edgekit.core import Measurement
    from edgekit.measure.profiling import Profile
    from edgekit.measure.subjects import Subject


@click.command("profile")
@click.argument("sources", metavar="ARTIFACT|MODEL...", nargs=-1, required=True)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86400),
    default=10.0,
    metavar="S",
    help="Measure each for at most so long. [default: 10]",
)
@click.option(
    "--precision-goal",
    type=click.FloatRange(0.01, 50),
    default=2.0,
    metavar="PCT",
    help="Stop when all medians are known to ± so much. [default: 2]",
)
@click.option("--per-op", is_flag=True, help="Time each operator as well.")
@click.option(
    "--energy",
    default="auto",
    metavar="METER",
    help="auto, off, estimate or a meter; see 'edgekit list meters'. [default: auto]",
)
@click.option("--sustain", metavar="TIME", help="Run one without a pause, as in 30m or 90s.")
@measuring.measuring_options
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the measurements, with all samples, as JSON.",
)
@overwrite_option
@console.common_options
def command(
    sources: tuple[str, ...],
    seconds: float,
    precision_goal: float,
    per_op: bool,
    energy: str,
    sustain: str | None,
    out: Path | None,
    overwrite: bool,
    no_store: bool,
    **how: Any,
) -> None:
    """Measure how fast exported files and networks run.

    Several are measured in turns, in one session; --threads 1,2 and --torch
    eager,compiled measure each in every way. Every number comes with its
    interval, and with what disturbed the machine.
    """
    from edgekit.measure.profiling import profile
    from edgekit.measure.session import Effort

    device = measuring.local_device(how["device"])
    subjects = _subjects(sources, how)
    if out is not None:
        refuse_existing([out], overwrite)
    if sustain is not None:
        if len(subjects) > 1:
            raise UsageError(f"--sustain takes one to measure, found {len(subjects)}")
        effort = Effort(duration_s(sustain), 0.0, how["time_limit"], reload=False)
    else:
        effort = Effort(seconds * len(subjects), precision_goal / 100, how["time_limit"])
    with measuring.measuring_progress() as progress:
        result = profile(
            subjects,
            effort,
            device=device,
            operators=per_op,
            energy=energy,
            command=measuring.command_line(),
            progress=progress,
        )
    measuring.keep(result.measurements, stored=not no_store, out=out)
    show(result)
    if sustain is not None:
        _show_sustained(result.measurements[0], out)
    if result.interrupted:
        raise KeyboardInterrupt
    if result.failures:
        raise result.failures[0].error


def duration_s(text: str) -> float:
    """Seconds of ``--sustain``.

    Raises:
        UsageError: it is no time from ten seconds to a day.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 10 <= seconds <= 86400:
        raise UsageError(f"--sustain {text}: expected a time from 10s to 24h, as in 30m")
    return seconds


def _subjects(sources: Sequence[str], how: dict[str, Any]) -> list[Subject]:
    from edgekit.measure.subjects import Subject

    threads, modes = measuring.thread_counts(how["threads"]), measuring.modes_of(how["modes"])
    made = []
    for words in sources:
        for mode in modes:
            for count in threads:
                made.append(measuring.subject(Subject, words, count, mode, how))
    return list(dict.fromkeys(made))  # the modes of PyTorch are one for files


def show(result: Profile) -> None:
    """Prints what was measured."""
    found = result.measurements
    measuring.latency_table(found)
    measuring.cost_table(found)
    for m in found:
        if m.operators is not None:
            operator_table(m)
    measuring.conditions(found)
    for failure in result.failures:
        console.warn(str(failure.error))
    if console.wants_json():
        console.emit_json(
            "edgekit.profile/1",
            {
                "measurements": [measuring.entry(m) for m in found],
                "failed": [
                    {"artifact": f.subject.words, "error": console.error_entry(f.error)}
                    for f in result.failures
                ],
                "interrupted": result.interrupted,
            },
        )


_SHOWN_OPERATORS = 15


def operator_table(m: Measurement) -> None:
    """Prints the operators that take longest, and how their sum compares with the whole."""
    from edgekit.measure.statistics import summary

    assert m.operators is not None
    total = sum(op.ms for op in m.operators)
    ranked = sorted(m.operators, key=lambda op: -op.ms)
    rows = [
        (op.name, op.kind, f"{op.ms:.4f}", f"{op.ms / total:.1%}")
        for op in ranked[:_SHOWN_OPERATORS]
    ]
    rest = ranked[_SHOWN_OPERATORS:]
    if rest:
        rest_ms = sum(op.ms for op in rest)
        rows.append((f"{len(rest)} others", "", f"{rest_ms:.4f}", f"{rest_ms / total:.1%}"))
    columns = (("operator", "left"), ("kind", "left"), ("ms", "right"), ("share", "right"))
    console.table(columns, rows, title=f"\n{m.artifact}, {m.runtime}:")
    whole = summary(m.blocks).p50_ms
    console.say(
        f"all {len(m.operators)} operators {total:.3f} ms, the whole {whole:.3f} ms: "
        f"{total / whole:.0%}"
    )


def _show_sustained(m: Measurement, out: Path | None) -> None:
    from edgekit.measure.sustained import plot, sustained

    found = sustained(m.blocks)
    console.say(
        f"first {found.first_s:.0f} s: p50 {found.first_ms:.3f} ms; last {found.last_s:.0f} s: "
        f"{found.last_ms:.3f} ms ({found.last_ms / found.first_ms - 1:+.1%})"
    )
    path = Path("sustained.png") if out is None else out.with_suffix(".png")
    plot(m, path)
    console.say(str(path))
