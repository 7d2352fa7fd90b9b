"""What the commands that measure share: options, what is measured and where, progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from edgekit.cli import console
from edgekit.cli.input_shapes import shapes_of
from edgekit.cli.options import (
    Number,
    names,
    network_options,
    overwrite_option,
    resolution_option,
    weights_option,
)
from edgekit.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from edgekit.core import DeviceProfile
    from edgekit.measure.session import Progress
    from edgekit.measure.subjects import Subject

Command = TypeVar("Command", bound=Callable[..., Any])

LONGEST_S = 86400
"""A day."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the options of `measuring_options` said.

    Attributes:
        precision_goal: in percent.
        threads: ``None`` for what the device suggests.
        modes: of PyTorch.
        out: file for all samples.
    """

    seconds: float
    precision_goal: float
    device: str
    threads: str | None
    batch: int
    modes: str
    processor: str
    weights: Path | None
    resolution: int | None
    time_limit: float
    out: Path | None
    overwrite: bool
    no_store: bool
    input_shape: tuple[str, ...]
    example: str | None = None
    outputs: str | None = None
    task: str | None = None

    def check_used(self, sources: Sequence[str]) -> None:
        """Refuses options of networks where there are only files, and those of files elsewhere.

        Raises:
            UsageError: one that would have no effect.
        """
        from edgekit.contract import is_artifact

        files = [words for words in sources if is_artifact(words)]
        if not files and self.input_shape:
            raise UsageError(
                f"--input-shape goes with exported files only, and '{sources[0]}' is a network: "
                f"give --resolution"
            )
        if len(files) < len(sources):
            return
        for option, name in _OF_NETWORKS.items():
            if given(name):
                other = "; --input-shape chooses sizes that a file leaves open"
                raise UsageError(
                    f"{option} goes with networks only, and '{sources[0]}' is an exported file, "
                    f"which has its own: leave it out{other if name == 'resolution' else ''}"
                )

    def subject(self, words: str, threads: int, mode: str, sources: Sequence[str]) -> Subject:
        """A subject; ``mode`` and the like go with networks only.

        Args:
            sources: all that are measured, ``words`` among them.
        """
        from edgekit.contract import is_artifact
        from edgekit.measure.subjects import Subject, batch_of

        weights = None if self.weights is None else str(self.weights)
        if is_artifact(words):
            files = [source for source in sources if is_artifact(source)]
            shapes = shapes_of(self.input_shape, words, files)
            batch = batch_of(shapes) if shapes and not given("batch") else self.batch
            return Subject(
                words, threads, batch, processor=self.processor, shapes=shapes, example=self.example
            )
        return Subject(
            words,
            threads,
            self.batch,
            weights,
            self.resolution,
            mode,
            self.processor,
            example=self.example,
            outputs=tuple(names(self.outputs or "")),
            task=self.task,
        )


# Options that say how a network is to be run in PyTorch, and the parameters that they fill.
_OF_NETWORKS = {
    "--resolution": "resolution",
    "--weights": "weights",
    "--torch": "modes",
    "--processor": "processor",
    "--outputs": "outputs",
    "--task": "task",
}


def measuring_options(
    *, seconds: str, goal: float, known: str, written: str
) -> Callable[[Command], Command]:
    """Options of what is run, where and how, for a `Setup`.

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
        click.option("--device", default="host", metavar="D", help="Device. [default: host]"),
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
        network_options,
        click.option(
            "--time-limit",
            type=Number(1, LONGEST_S),
            default=300.0,
            metavar="S",
            help="End a runtime that does not answer for so long. [default: 300]",
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


def thread_counts(text: str | None, device: DeviceProfile) -> list[int]:
    """Numbers of threads of ``--threads``.

    Args:
        text: ``None`` for what the device suggests, and 1 where it does not.

    Raises:
        UsageError: one is no number, or not one that this machine has cores for.
    """
    from edgekit.devices.kernel import usable_cores

    if text is None:
        return [min(device.threads or 1, usable_cores())]
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


def local_device(name: str) -> DeviceProfile:
    """A device that can be measured on.

    Raises:
        UsageError: there is no such device.
        UnavailableError: it is not this machine.
    """
    from edgekit.devices.profiles import find_profile

    profile = find_profile(name).profile
    if not profile.transport.startswith("local:"):
        raise UnavailableError(
            f"device '{profile.name}' is reached by {profile.transport}: only this machine can be "
            f"measured so far; run edgekit there, or use --device host"
        )
    return profile


def chosen_meter(words: str, device: DeviceProfile, processor: str) -> str:
    """What ``--energy`` means on a device: ``auto`` begins with the meter that it declares."""
    from edgekit.measure.metering import AUTO, open_meter

    if words != AUTO or device.meter is None:
        return words
    try:
        meter = open_meter(device.meter, Path("/"))
        scope = meter.scope
        meter.close()
    except (UnavailableError, UsageError) as error:
        reason = str(error)
    else:
        if scope != ("package" if processor == "cuda" else "gpu"):
            return device.meter
        reason = f"it meters the {scope}, where the network does not run"
    console.warn(
        f"device '{device.name}' declares the meter '{device.meter}', which is not used: {reason}; "
        f"looking for another one"
    )
    return words


@contextmanager
def measuring_progress() -> Iterator[Progress]:
    """A bar with the time left, for `edgekit.measure.session.Progress`."""
    with console.progress() as display:
        task = display.add_task("starting", total=None)

        def report(what: str, done: float, total: float) -> None:
            display.update(task, description=what, completed=round(done), total=round(total, 0))

        yield report
