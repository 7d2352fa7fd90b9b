"""What the commands that measure share: options, progress, tables, and where results are kept."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekit.cli import console
from edgekit.cli.options import names, resolution_option, weights_option
from edgekit.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    from edgekit.core import Energy, Measurement
    from edgekit.measure.session import Progress

Command = TypeVar("Command", bound=Callable[..., Any])


def measuring_options(command: Command) -> Command:
    """Options of what is run, where and how."""
    for option in reversed(
        (
            click.option("--device", default="host", metavar="D", help="Device. [default: host]"),
            click.option(
                "--threads",
                default="1",
                metavar="N[,N]",
                help="Threads of the runtime. [default: 1]",
            ),
            click.option(
                "--batch",
                type=click.IntRange(1, 4096),
                default=1,
                metavar="N",
                help="Images at once.",
            ),
            click.option(
                "--torch",
                "modes",
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
            resolution_option,
            click.option(
                "--time-limit",
                type=click.FloatRange(1, min_open=False),
                default=300.0,
                metavar="S",
                help="End a runtime that does not answer for so long. [default: 300]",
            ),
            click.option("--no-store", is_flag=True, help="Do not keep it for 'edgekit history'."),
        )
    ):
        command = option(command)
    return command


def thread_counts(text: str) -> list[int]:
    """Numbers of threads of ``--threads``.

    Raises:
        UsageError: one is no number, or not one that this machine has cores for.
    """
    cores = os.cpu_count() or 1
    counts = []
    for word in names(text):
        if not word.isdecimal() or not 1 <= int(word) <= cores:
            raise UsageError(
                f"--threads {word}: expected 1 to {cores}, as many as this machine has cores"
            )
        counts.append(int(word))
    if not counts:
        raise UsageError(f"--threads '{text}': expected a number from 1 to {cores}, as in 1,2")
    return list(dict.fromkeys(counts))


def modes_of(text: str) -> list[str]:
    """Modes of ``--torch``.

    Raises:
        UsageError: there is no such mode.
    """
    from edgekit.measure.subjects import MODES

    found = names(text)
    for word in found or [text]:
        if word not in MODES:
            raise UsageError(f"--torch {word}: expected {' or '.join(MODES)}")
    return found


def local_device(name: str) -> str:
    """The canonical name of a device that can be measured on.

    Raises:
        UsageError: there is no such device.
        UnavailableError: it is not this machine.
    """
    from edgekit.devices.profiles import find_profile
    from edgekit.errors import UnavailableError

    profile = find_profile(name).profile
    if not profile.transport.startswith("local:"):
        raise UnavailableError(
            f"device '{profile.name}' is reached by {profile.transport}: only this machine can be "
            f"measured so far; run edgekit there, or use --device host"
        )
    return profile.name


def command_line() -> str:
    """What was typed, for whoever wants to repeat it."""
    return shlex.join(["edgekit", *sys.argv[1:]])


@contextmanager
def measuring_progress() -> Iterator[Progress]:
    """A bar with the time left, for `edgekit.measure.session.Progress`."""
    with console.progress() as display:
        task = display.add_task("starting", total=None)

        def report(what: str, done: float, total: float) -> None:
            display.update(task, description=what, completed=round(done), total=round(total, 0))

        yield report


def keep(measurements: Sequence[Measurement], *, stored: bool, out: Path | None) -> None:
    """Stores measurements, and writes them into a file where one was named.

    What cannot be stored is written beside, with a warning: nothing that was measured is lost.
    """
    from edgekit.measure.store import Store, save, save_beside

    if stored:
        try:
            Store().add(measurements)
        except EdgekitError as error:
            console.warn(str(error))
            if out is None:
                console.warn(f"kept in {save_beside(measurements, Path.cwd())} instead")
    if out is not None:
        save(measurements, out)


def entry(measurement: Measurement) -> dict[str, Any]:
    """A measurement as it stands in a document: statistics in the place of samples."""
    from edgekit.core import to_json
    from edgekit.measure.statistics import summary

    s = summary(measurement.blocks)
    m = to_json(measurement)
    del m["blocks"]
    return {
        **m,
        "latency_ms": {
            "min": s.min_ms,
            "p50": s.p50_ms,
            "p90": s.p90_ms,
            "p99": s.p99_ms,
            "mean": s.mean_ms,
            "n": s.n,
            "ci95": list(s.ci95_ms),
        },
        "images_per_s": 1e3 * measurement.batch / s.p50_ms,
        "loads": len({block.instance for block in measurement.blocks}),
    }


def labels(measurements: Sequence[Measurement]) -> list[str]:
    """Names that tell measurements of one table apart."""
    paths = {m.artifact for m in measurements}
    names = [Path(path).name for path in paths]
    found = []
    for m in measurements:
        short = Path(m.artifact).name
        name = _shortened(short if names.count(short) == 1 else m.artifact)
        # "PyTorch 2.13.0 eager"
        found.append(f"{name} {m.runtime.split()[2]}" if m.target == "pytorch" else name)
    return found


_NAME_WIDTH = 26


def _shortened(name: str) -> str:
    """A name that leaves a table of 80 columns room for its numbers; the ends tell most."""
    if len(name) <= _NAME_WIDTH:
        return name
    return f"{name[: _NAME_WIDTH // 2 - 1]}…{name[-(_NAME_WIDTH // 2) :]}"


def latency_table(measurements: Sequence[Measurement], names: Sequence[str] = ()) -> None:
    """Prints latencies, one line each."""
    from edgekit.measure.statistics import summary

    right = [(name, "right") for name in ("thr", "p50 ms", "±", "p90", "p99", "images/s")]
    rows = []
    for name, m in zip(names or labels(measurements), measurements, strict=True):
        s = summary(m.blocks)
        figures = (f"{s.p50_ms:.3f}", f"{s.precision:.1%}", f"{s.p90_ms:.3f}", f"{s.p99_ms:.3f}")
        rate = 1e3 * m.batch / s.p50_ms
        mark = "" if m.stable else " *"
        rows.append((name + mark, str(m.threads), *figures, f"{rate:,.0f}"))
    console.table([("measured", "left"), *right], rows)


def cost_table(measurements: Sequence[Measurement]) -> None:
    """Prints load times, memory, size and energy, one line each."""
    right = [(n, "right") for n in ("load ms", "first ms", "memory MiB", "file MiB", "mJ each")]
    rows = []
    for name, m in zip(labels(measurements), measurements, strict=True):
        size = "-" if m.size_bytes is None else f"{m.size_bytes / 2**20:.2f}"
        memory = "-" if m.peak_rss_mib is None else f"{m.peak_rss_mib:.1f}"
        cells = (f"{m.load_ms:.1f}", f"{m.first_ms:.2f}", memory, size, energy_cell(m.energy))
        rows.append((name, *cells))
    console.table([("measured", "left"), *right], rows)


def energy_cell(energy: Energy) -> str:
    """Energy as it stands in a table; an estimate says so."""
    if energy.mj_per_inference is None:
        return "-"
    return f"{energy.mj_per_inference:.3g}{' est.' if energy.kind == 'estimated' else ''}"


def conditions(measurements: Sequence[Measurement]) -> None:
    """Prints on what it was measured, and what disturbed it."""
    first = measurements[0]
    runtimes = dict.fromkeys(m.runtime for m in measurements)
    batch = "" if first.batch == 1 else f", batch {first.batch}"
    console.say(f"{first.device}: {first.environment.get('cpu')}{batch}; {', '.join(runtimes)}")
    reasons: dict[str, None] = {}
    for m in measurements:
        reasons |= dict.fromkeys(m.reasons)
    if reasons:
        console.say("* not stable:")
    for reason in reasons:
        console.say(textwrap.fill(reason, 78, initial_indent="  - ", subsequent_indent="    "))


def subject(
    kind: Callable[..., Any], words: str, threads: int, mode: str, how: dict[str, Any]
) -> Any:
    """A subject from what the common options said; ``mode`` and the like go with networks only."""
    from edgekit.contract import is_artifact

    weights = None if how["weights"] is None else str(how["weights"])
    if is_artifact(words):
        return kind(words, threads, how["batch"], processor=how["processor"])
    return kind(words, threads, how["batch"], weights, how["resolution"], mode, how["processor"])
