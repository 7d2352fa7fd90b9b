"""``edgekit profile``: latency, memory, energy, time per operator."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, figures, keeping, measuring
from edgekit.cli.interrupts import held_interrupts
from edgekit.errors import OutputError, UsageError

if TYPE_CHECKING:
    from edgekit.core import DeviceProfile, Measurement
    from edgekit.measure.profiling import Profile
    from edgekit.measure.session import Effort
    from edgekit.measure.subjects import Subject


@click.command("profile")
@click.argument("sources", metavar="ARTIFACT|MODEL...", nargs=-1, required=True)
@click.option("--per-op", is_flag=True, help="Time each operator as well.")
@click.option(
    "--energy",
    default="auto",
    metavar="METER",
    help="auto, off, estimate or a meter; see 'edgekit list meters'. [default: auto]",
)
@click.option("--sustain", metavar="TIME", help="Run one without a pause, as in 30m or 90s.")
@measuring.measuring_options(
    seconds="each ", goal=2.0, known="all medians are", written="the measurements"
)
@console.common_options
def command(
    sources: tuple[str, ...], per_op: bool, energy: str, sustain: str | None, **options: Any
) -> None:
    """Measure how fast exported files and networks run.

    Several are measured in turns, in one session; --threads 1,2 and --torch
    eager,compiled measure each in every way. Every number comes with its
    interval, and with what disturbed the machine.
    """
    from edgekit.measure.profiling import profile

    setup = measuring.Setup(**options)
    device = measuring.local_device(setup.device)
    setup.check_used(sources)
    subjects = _subjects(sources, setup, device)
    effort = _effort(setup, sustain, len(subjects))
    if per_op:
        _check_operators(subjects)
    asked = Asked(setup, energy != "off", None if sustain is None else plot_path(setup.out))
    keeping.check_places(asked.places, setup.overwrite)
    meter = measuring.chosen_meter(energy, device, setup.processor)
    with held_interrupts() as interrupts:
        with measuring.measuring_progress() as progress:
            result = profile(
                subjects,
                effort,
                device=device.name,
                operators=per_op,
                energy=meter,
                command=console.command_line(),
                progress=progress,
                hold=interrupts.hold,
            )
            interrupts.hold()
        errors = _show_and_keep(result, asked)
    if result.interrupted:
        raise KeyboardInterrupt
    # What could not be measured has been said beside the results.
    keeping.finish(errors or [failure.error for failure in result.failures[:1]])


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be shown and written.

    Attributes:
        energy: whether it was asked for.
        plot: where the picture of sustained speed goes, if any.
    """

    setup: measuring.Setup
    energy: bool
    plot: Path | None

    @property
    def places(self) -> list[Path]:
        """All files to be written."""
        return [path for path in (self.setup.out, self.plot) if path is not None]


def plot_path(out: Path | None) -> Path:
    """Where the picture of ``--sustain`` goes: beside the samples."""
    return Path("sustained.png") if out is None else out.with_name(f"{out.stem}.sustained.png")


def duration_s(text: str) -> float:
    """Seconds of ``--sustain``.

    Raises:
        UsageError: it is no time from ten seconds to a day.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 10 <= seconds <= measuring.LONGEST_S:
        raise UsageError(f"--sustain {text}: expected a time from 10s to 24h, as in 30m")
    return seconds


def _effort(setup: measuring.Setup, sustain: str | None, count: int) -> Effort:
    from edgekit.measure.session import Effort

    if sustain is None:
        return Effort(setup.seconds * count, setup.precision_goal / 100, setup.time_limit)
    if count > 1:
        raise UsageError(f"--sustain takes one to measure, found {count}")
    for option in ("seconds", "precision_goal"):
        if measuring.given(option):
            raise UsageError(
                f"--{option.replace('_', '-')} does not go with --sustain, which measures for as "
                f"long as it says: leave one out"
            )
    return Effort(duration_s(sustain), 0.0, setup.time_limit, sustained=True)


def _subjects(
    sources: Sequence[str], setup: measuring.Setup, device: DeviceProfile
) -> list[Subject]:
    threads = measuring.thread_counts(setup.threads, device)
    modes = measuring.modes_of(setup.modes)
    made = [
        setup.subject(words, count, mode, sources)
        for words in sources
        for mode in modes
        for count in threads
    ]
    return list(dict.fromkeys(made))  # the modes of PyTorch are one for files


def _check_operators(subjects: Sequence[Subject]) -> None:
    """Says of which subjects operators are not timed.

    Raises:
        UsageError: of none.
    """
    networks = list(dict.fromkeys(s.words for s in subjects if s.target == "pytorch"))
    if all(s.target == "pytorch" for s in subjects):
        raise UsageError(
            f"--per-op takes exported files, and '{networks[0]}' runs in PyTorch: export it first, "
            f"or leave --per-op out"
        )
    for words in networks:
        console.warn(f"'{words}' runs in PyTorch: --per-op leaves it out")


def _show_and_keep(result: Profile, asked: Asked) -> list[OutputError]:
    """Prints and keeps what was measured; gives what could not be written."""
    try:
        show(result, asked)
    finally:  # whatever becomes of the output
        found, setup = result.measurements, asked.setup
        errors = keeping.keep(
            found, stored=not setup.no_store, out=setup.out, overwrite=setup.overwrite
        )
    if asked.plot is not None:
        from edgekit.measure.sustained import plot
        from edgekit.staging import write_file

        try:
            write_file(asked.plot, lambda path: plot(found[0], path), overwrite=setup.overwrite)
        except OutputError as error:
            errors.append(error)
        else:
            console.say(str(asked.plot))
    return errors


def show(result: Profile, asked: Asked) -> None:
    """Prints what was measured."""
    found = result.measurements
    figures.latency_table(found)
    figures.cost_table(found)
    for m in found:
        if m.operators is not None:
            figures.operator_table(m)
    if asked.energy:
        figures.energy_lines(found)
    figures.conditions(found)
    lasting = None if asked.plot is None else _sustained(found[0])
    for failure in result.failures:
        console.warn(str(failure.error))
    untimed = {
        (one.subject.words, str(one.error).removeprefix(f"{one.subject.words}: "))
        for one in result.untimed
    }
    for words, reason in sorted(untimed):  # once, however many threads it was measured with
        console.warn(f"operators of {words} cannot be timed one by one: {reason}")
    if console.wants_json():
        console.emit_json(
            "edgekit.profile/1",
            {
                "measurements": [figures.entry(m) for m in found],
                "failed": [
                    {"artifact": f.subject.words, "error": console.error_entry(f.error)}
                    for f in result.failures
                ],
                "interrupted": result.interrupted,
                "untimed": [
                    {"artifact": f.subject.words, "error": console.error_entry(f.error)}
                    for f in result.untimed
                ],
                "sustained": lasting,
            },
        )


def _sustained(m: Measurement) -> dict[str, float]:
    """Prints how the speed held out; gives it as it stands in the document."""
    from edgekit.core import to_json
    from edgekit.measure.sustained import sustained

    found = sustained(m.blocks)
    figures.say_wrapped(
        f"first {found.first_s:.0f} s: p50 {found.first_ms:.3f} ms; last {found.last_s:.0f} s: "
        f"{found.last_ms:.3f} ms ({found.change:+.1%})"
    )
    return {**to_json(found), "change": found.change}
