"""``edgekit compare``: which of two is faster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, measuring
from edgekit.errors import GateError, UsageError

if TYPE_CHECKING:
    from edgekit.measure.comparing import Comparison
    from edgekit.measure.subjects import Subject

VERDICTS = {
    "a_faster": "A is faster",
    "b_faster": "B is faster",
    "indistinguishable": "cannot tell them apart",
}


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86400),
    default=10.0,
    metavar="S",
    help="Measure for at most so long. [default: 10]",
)
@click.option(
    "--precision-goal",
    type=click.FloatRange(0.01, 50),
    default=1.0,
    metavar="PCT",
    help="Stop when the ratio is known to ± so much. [default: 1]",
)
@click.option(
    "--fail-if-slower",
    type=click.FloatRange(0, 10000),
    metavar="PCT",
    help="Exit with 4 if A is slower than B by more than this.",
)
@measuring.measuring_options
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write both measurements, with all samples, as JSON.",
)
@console.common_options
def command(
    a: str,
    b: str,
    seconds: float,
    precision_goal: float,
    fail_if_slower: float | None,
    out: Path | None,
    no_store: bool,
    **how: Any,
) -> None:
    """Measure A and B in turns, and say which one is faster.

    A and B are exported files or networks. --threads and --torch take one
    value for both, or two: one for A and one for B. The verdict comes from a
    95 % interval; differences below 0.5 % count as none.

    With --fail-if-slower PCT, A is the new one and B the one to hold it
    against: the exit code is 4 if the whole interval lies above.
    """
    from edgekit.measure.comparing import compare
    from edgekit.measure.session import Effort

    device = measuring.local_device(how["device"])
    one, other = _subjects(a, b, how)
    effort = Effort(seconds, precision_goal / 100, how["time_limit"])
    with measuring.measuring_progress() as progress:
        result = compare(one, other, effort, device=device, progress=progress)
    measuring.keep((result.a, result.b), stored=not no_store, out=out)
    show(result)
    if result.interrupted:
        raise KeyboardInterrupt
    if fail_if_slower is not None:
        _gate(result, fail_if_slower)


def _subjects(a: str, b: str, how: dict[str, Any]) -> tuple[Subject, Subject]:
    from edgekit.measure.subjects import Subject

    threads, modes = measuring.thread_counts(how["threads"]), measuring.modes_of(how["modes"])
    for option, values in (("--threads", threads), ("--torch", modes)):
        if len(values) > 2:
            raise UsageError(f"{option}: expected one value for both, or two, found {len(values)}")
    made = []
    for words, count, mode in ((a, threads[0], modes[0]), (b, threads[-1], modes[-1])):
        made.append(measuring.subject(Subject, words, count, mode, how))
    return made[0], made[1]


def show(result: Comparison) -> None:
    """Prints the verdict."""
    for letter, m in (("A", result.a), ("B", result.b)):
        console.say(f"{letter}: {m.artifact} ({m.runtime})")
    measuring.latency_table((result.a, result.b), ("A", "B"))
    r = result.ratio
    low, high = r.ci95
    console.say(
        f"{VERDICTS[r.verdict]}: time A / time B = {r.ratio:.4f}, "
        f"95 % interval {low:.4f} to {high:.4f}"
    )
    console.say(f"({r.rounds} rounds in turns, each loaded {r.loads} times)")
    if result.differing:
        console.say("different conditions: " + "; ".join(result.differing))
    measuring.conditions((result.a, result.b))
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
                "loads": r.loads,
                "differing": list(result.differing),
                "stable": result.a.stable and result.b.stable,
                "interrupted": result.interrupted,
                "measurements": [measuring.entry(m) for m in (result.a, result.b)],
            },
        )


def _gate(result: Comparison, percent: float) -> None:
    """Fails where A is surely slower than allowed.

    Raises:
        GateError: the whole interval lies above the bound.
    """
    bound = 1 + percent / 100
    low, high = result.ratio.ci95
    if low > bound:
        raise GateError(
            f"{result.a.artifact} is slower than {result.b.artifact} by more than {percent:g} %: "
            f"ratio {result.ratio.ratio:.4f}, interval {low:.4f} to {high:.4f}"
        )
    if high > bound:
        console.warn(
            f"it could still be slower by more than {percent:g} %: the interval ends at "
            f"{high:.4f}; give it more --seconds"
        )
