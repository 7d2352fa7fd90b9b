"""``edgekit compare``: which of two is faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, figures, keeping, measuring
from edgekit.cli.interrupts import held_interrupts
from edgekit.cli.options import Number
from edgekit.core.text import counted_words
from edgekit.errors import EdgekitError, GateError

if TYPE_CHECKING:
    from edgekit.core import Measurement
    from edgekit.measure.comparing import Comparison

VERDICTS = {
    "a_faster": "A is faster",
    "b_faster": "B is faster",
    "indistinguishable": "cannot tell them apart",
}


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--fail-if-slower",
    type=Number(0, 10000),
    metavar="PCT",
    help="Exit with 4 if A is slower than B by more than this.",
)
@measuring.measuring_options(
    seconds="", goal=1.0, known="the ratio is", written="both measurements"
)
@console.common_options
def command(a: str, b: str, fail_if_slower: float | None, **options: Any) -> None:
    """Measure A and B in turns, and say which one is faster.

    A and B are exported files or networks. --threads and --torch take one
    value for both, or two: one for A and one for B; so does --device, and
    then the two are not measured in turns. The verdict comes from a
    95 % interval; differences below 0.5 % count as none.

    With --fail-if-slower PCT, A is the new one and B the one to hold it
    against: the exit code is 4 if the whole interval lies above.
    """
    from edgekit.api.measuring import compare

    keywords, kept = measuring.asked(options)
    keeping.check_places([] if kept.out is None else [kept.out], kept.overwrite)
    cut: EdgekitError | None = None
    result: Comparison | None = None
    with held_interrupts() as interrupts:
        with measuring.measuring_progress() as progress:
            try:
                result = compare(
                    a,
                    b,
                    command=console.command_line(),
                    progress=progress,
                    hold=interrupts.hold,
                    **keywords,
                )
            except EdgekitError as error:
                if not error.results:
                    raise
                cut = error  # what was measured before is shown and kept all the same
            interrupts.hold()
        result, measured = _found(result, cut)
        try:
            if result is not None:
                show(result, cut)
            else:
                _show_without_ratio(measured, cut)
        finally:  # whatever becomes of the output
            errors = keeping.keep(
                measured, stored=kept.stored, out=kept.out, overwrite=kept.overwrite
            )
    if cut is not None or result is None:
        keeping.finish([cut, *errors])
        return
    if result.interrupted:
        raise KeyboardInterrupt
    failed = None if fail_if_slower is None else gate(result, fail_if_slower)
    keeping.finish([failed, *errors])


def _found(
    result: Comparison | None, cut: EdgekitError | None
) -> tuple[Comparison | None, list[Measurement]]:
    """What there is of a comparison, and of its measurements."""
    from edgekit.measure.comparing import Comparison

    if result is None and cut is not None:
        result = next((one for one in cut.results if isinstance(one, Comparison)), None)
    if result is not None:
        return result, [result.a, result.b]
    return None, [] if cut is None else [*cut.results]


def _show_without_ratio(measured: Sequence[Measurement], cut: EdgekitError | None) -> None:
    """Prints what was measured before there was anything to compare."""
    figures.latency_table(measured)
    figures.conditions(measured)
    if console.wants_json():
        console.emit_json(
            "edgekit.compare/1",
            {
                "ratio": None,
                "verdict": None,
                "interrupted": False,
                "measurements": [figures.entry(m) for m in measured],
                "failed": [] if cut is None else [console.error_entry(cut)],
            },
        )


def show(result: Comparison, cut: EdgekitError | None = None) -> None:
    """Prints the verdict.

    Args:
        cut: what ended it early.
    """
    for letter, m in (("A", result.a), ("B", result.b)):
        on = "" if result.paired else f", on {m.device}"
        console.say(f"{letter}: {m.artifact}{figures.chosen_input(m)} ({m.runtime}){on}")
    figures.latency_table((result.a, result.b), ("A", "B"))
    r = result.ratio
    low, high = r.ci95
    figures.say_wrapped(
        f"{VERDICTS[r.verdict]}: time A / time B = {r.ratio:.4f}, "
        f"95 % interval {low:.4f} to {high:.4f}"
    )
    if result.paired:
        rounds, loads = counted_words(r.rounds, "round"), counted_words(r.loads, "time")
        console.say(f"({rounds} in turns, each loaded {loads})")
    else:
        figures.say_wrapped(
            "(unpaired: on two devices, not in turns; the interval knows nothing of what each "
            "device has of its own)"
        )
    if result.differing:
        figures.say_wrapped("different conditions: " + "; ".join(result.differing))
    figures.conditions((result.a, result.b))
    if console.wants_json():
        console.emit_json(
            "edgekit.compare/1",
            {
                "a": result.a.artifact,
                "b": result.b.artifact,
                "ratio": r.ratio,
                "ci95": list(r.ci95),
                "verdict": r.verdict,
                "rounds": r.rounds,
                "paired": result.paired,
                "loads": r.loads,
                "differing": list(result.differing),
                "stable": result.a.stable and result.b.stable,
                "interrupted": result.interrupted,
                **({} if cut is None else {"failed": [console.error_entry(cut)]}),
                "measurements": [figures.entry(m) for m in (result.a, result.b)],
            },
        )


def gate(result: Comparison, percent: float) -> GateError | None:
    """The error where A is surely slower than allowed: the whole interval lies above the bound."""
    bound = 1 + percent / 100
    low, high = result.ratio.ci95
    if low > bound and result.ratio.verdict == "b_faster":
        return GateError(
            f"{result.a.artifact} is slower than {result.b.artifact} by more than {percent:g} %: "
            f"ratio {result.ratio.ratio:.4f}, interval {low:.4f} to {high:.4f}"
        )
    if high > bound:
        console.warn(
            f"it could still be slower by more than {percent:g} %: the interval ends at "
            f"{high:.4f}; give it more --seconds"
        )
    return None
