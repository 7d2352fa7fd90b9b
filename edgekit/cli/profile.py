"""``edgekit profile``: latency, memory, energy, time per operator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, figures, keeping, measuring, simulating
from edgekit.cli.interrupts import held_interrupts
from edgekit.errors import OutputError
from edgekit.tables import SIMULATORS

if TYPE_CHECKING:
    from edgekit.core import Measurement
    from edgekit.measure.profiling import Profile


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

    A folder stands for the exported files in it. Several are measured in turns,
    in one session; --threads 1,2 and --torch eager,compiled measure each in every
    way. Every number comes with its interval, and with what disturbed the
    machine. With a microcontroller as --device (tflm, ethos-u55-128, ...) files
    are not timed: it shows the memory that they take there, or an estimate.
    """
    if SIMULATORS.key(options["device"]) is not None:
        others = [name for name in options if name != "device"]
        simulating.refuse_options(options["device"], ["per_op", "energy", "sustain", *others])
        simulating.command(sources, options["device"])
        return
    from edgekit.api.measuring import profile

    keywords, kept = measuring.asked(options)
    asked = Asked(kept, energy != "off", None if sustain is None else plot_path(kept.out))
    keeping.check_places(asked.places, kept.overwrite)
    with held_interrupts() as interrupts:
        with measuring.measuring_progress() as progress:
            result = profile(
                sources,
                per_op=per_op,
                energy=energy,
                sustain=sustain,
                command=console.command_line(),
                progress=progress,
                hold=interrupts.hold,
                say=console.warn,
                **keywords,
            )
            interrupts.hold()
        errors = _show_and_keep(result, asked)
    # One device that is lost is a failure of each of its files.
    failed = {str(failure.error): failure.error for failure in result.failures}
    if result.interrupted:
        for text in failed:
            console.warn(text)
        raise KeyboardInterrupt
    keeping.finish([*errors, *failed.values()])


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be shown and written.

    Attributes:
        energy: whether it was asked for.
        plot: where the picture of sustained speed goes, if any.
    """

    kept: measuring.Kept
    energy: bool
    plot: Path | None

    @property
    def places(self) -> list[Path]:
        """All files to be written."""
        return [path for path in (self.kept.out, self.plot) if path is not None]


def plot_path(out: Path | None) -> Path:
    """Where the picture of ``--sustain`` goes: beside the samples."""
    return Path("sustained.png") if out is None else out.with_name(f"{out.stem}.sustained.png")


def _show_and_keep(result: Profile, asked: Asked) -> list[OutputError]:
    """Prints and keeps what was measured; gives what could not be written."""
    try:
        show(result, asked)
    finally:  # whatever becomes of the output
        found, kept = result.measurements, asked.kept
        errors = keeping.keep(found, stored=kept.stored, out=kept.out, overwrite=kept.overwrite)
    if asked.plot is not None:
        from edgekit.measure.sustained import plot
        from edgekit.staging import write_file

        try:
            write_file(asked.plot, lambda path: plot(found[0], path), overwrite=kept.overwrite)
        except OutputError as error:
            errors.append(error)
        else:
            console.say(str(asked.plot))
    return errors


def show(result: Profile, asked: Asked) -> None:
    """Prints what was measured."""
    measurements = result.measurements
    figures.latency_table(measurements)
    figures.cost_table(measurements)
    for m in measurements:
        if m.operators is not None:
            figures.operator_table(m)
    if asked.energy:
        figures.energy_lines(measurements)
    figures.conditions(measurements)
    lasting = None if asked.plot is None else _sustained(measurements[0])
    untimed = {
        (one.subject.called, str(one.error).removeprefix(f"{one.subject.called}: "))
        for one in result.untimed
    }
    for source, reason in sorted(untimed):  # once, however many threads it was measured with
        console.warn(f"operators of {source} cannot be timed one by one: {reason}")
    if console.wants_json():
        console.emit_json(
            "edgekit.profile/1",
            {
                "measurements": [figures.entry(m) for m in measurements],
                "failed": [
                    {"artifact": f.subject.called, "error": console.error_entry(f.error)}
                    for f in result.failures
                ],
                "interrupted": result.interrupted,
                "untimed": [
                    {"artifact": f.subject.called, "error": console.error_entry(f.error)}
                    for f in result.untimed
                ],
                "sustained": lasting,
            },
        )


def _sustained(m: Measurement) -> dict[str, float]:
    """Prints how the speed held out; gives it as it stands in the document."""
    from edgekit.core import to_json
    from edgekit.measure.sustained import sustained

    drift = sustained(m.blocks)
    figures.say_wrapped(
        f"first {drift.first_s:.0f} s: p50 {drift.first_ms:.3f} ms; last {drift.last_s:.0f} s: "
        f"{drift.last_ms:.3f} ms ({drift.change:+.1%})"
    )
    return {**to_json(drift), "change": drift.change}
