"""What the commands that measure share: options, what is measured and where, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from edgekit.api.measuring_options import LONGEST_S
from edgekit.cli import console
from edgekit.cli.options import (
    Number,
    network_options,
    overwrite_option,
    size_option,
    weights_option,
)

if TYPE_CHECKING:
    from edgekit.measure.session import Progress

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Kept:
    """Where measurements go.

    Attributes:
        out: file for all samples, if any.
        stored: whether the history gets them.
    """

    out: Path | None
    overwrite: bool
    stored: bool


def asked(options: dict[str, Any]) -> tuple[dict[str, Any], Kept]:
    """What the options of `measuring_options` said: arguments of `edgekit.api.measuring`, and where
    the measurements go.
    """
    kept = Kept(options["out"], options["overwrite"], not options["no_store"])
    keywords = {
        name: value
        for name, value in options.items()
        if name not in ("out", "overwrite", "no_store") and given(name)
    }
    return keywords, kept


def measuring_options(
    *, seconds: str, goal: float, known: str, written: str
) -> Callable[[Command], Command]:
    """Options of what is run, where and how, for `asked`.

    Args:
        seconds: what is measured for at most so long.
        goal: percent.
        known: what is to be known to that.
        written: what goes into the file.
    """
    options = (
        click.option(
            "--seconds",
            type=Number(1, LONGEST_S),
            default=10.0,
            metavar="S",
            help=f"Measure {seconds}for at most so long. [default: 10]",
        ),
        click.option(
            "--precision-goal",
            type=Number(0.01, 50),
            default=goal,
            metavar="PCT",
            help=f"Stop when {known} known to ± so much. [default: {goal:g}]",
        ),
        click.option(
            "--device",
            default="host",
            metavar="D[,D]",
            help="Where; see 'edgekit devices'. [default: host]",
        ),
        click.option(
            "--threads",
            metavar="N[,N]",
            help="Threads of the runtime. [default: what the device suggests, else 1]",
        ),
        click.option(
            "--batch",
            type=click.IntRange(1, 4096),
            default=1,
            metavar="N",
            help="Images at once.",
        ),
        click.option(
            "--input-shape",
            multiple=True,
            metavar="[FILE:][NAME=]N,N,...",
            help="Sizes of an input for which a file leaves them open.",
        ),
        click.option(
            "--torch",
            default="eager",
            metavar="MODE[,MODE]",
            help="How PyTorch runs networks: eager, compiled.",
        ),
        click.option(
            "--processor",
            type=click.Choice(["cpu", "cuda"]),
            default="cpu",
            help="Where PyTorch runs networks.",
        ),
        weights_option,
        size_option,
        network_options,
        click.option(
            "--time-limit",
            type=Number(1, LONGEST_S),
            default=300.0,
            metavar="S",
            help="End a runtime that does not answer for so long. [default: 300]",
        ),
        click.option(
            "--cooldown",
            metavar="TIME|TEMP",
            help="Wait before for so long, as in 60s, or until it has at most so much, as in 45C.",
        ),
        click.option("--no-store", is_flag=True, help="Do not keep it for 'edgekit history'."),
        click.option(
            "-o",
            "--out",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"Write {written}, with all samples, as JSON.",
        ),
        overwrite_option,
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def given(name: str) -> bool:
    """Whether the user gave an option, rather than leaving it as it is."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not ParameterSource.DEFAULT


@contextmanager
def measuring_progress() -> Iterator[Progress]:
    """A bar with the time left, for `edgekit.measure.session.Progress`."""
    with console.progress() as display:
        task = display.add_task("starting", total=None)

        def report(what: str, done: float, total: float) -> None:
            display.update(task, description=what, completed=round(done), total=round(total, 0))

        yield report
