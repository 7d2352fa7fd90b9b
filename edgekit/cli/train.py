"""``edgekit train``: a network from labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgekit.cli import console
from edgekit.cli.options import (
    SOURCES,
    Number,
    fetching,
    overwrite_option,
    scores_option,
    size_option,
)
from edgekit.core.text import counted_words
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress as Display

    from edgekit.tasks.confusions import ClassFigures
    from edgekit.training.loop import TrainingResult
    from edgekit.training.options import TrainingOptions
    from edgekit.training.progress import EpochRecord


MOST_CLASSES = 10
"""That are shown one by one; all are in ``--json``."""


def _numbers(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """The numbers of ``N,M``."""
    try:
        return None if value is None else tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"'{value}': expected operations per image and their strength, as in 2,9"
        ) from error


@click.command("train")
@click.argument("model", required=False)
@click.option("--recipe", metavar="NAME|FILE", help="Take options from a TOML file.")
@click.option("--data", default="digits", show_default=True, metavar="SRC", help=f"{SOURCES}.")
@click.option(
    "--epochs", type=int, help="Of the training images. [default: 15; of boxes and masks 40]"
)
@click.option("--batch-size", type=int, help="[default: by the number of images]")
@click.option("--accumulate", type=int, default=1, metavar="N", help="Parts to compute a batch in.")
@click.option(
    "--lr", type=Number(0, above=True), help="Peak learning rate. [default: by optimizer and batch]"
)
@click.option("--optimizer", default="adamw", show_default=True, metavar="adamw|rmsprop|sgd")
@click.option("--schedule", default="cosine", show_default=True, metavar="cosine|step")
@click.option("--weight-decay", type=Number(0), help="[default: by optimizer]")
@click.option("--warmup-epochs", type=Number(0), default=2.0, show_default=True)
@click.option("--label-smoothing", type=Number(0, 1, below=True), default=0.1, show_default=True)
@click.option("--ema/--no-ema", default=True, help="Average the weights over time. [default: ema]")
@click.option("--flip/--no-flip", default=None, help="Mirror images. [default: where data allow]")
@click.option("--crop/--no-crop", default=True, help="Shift images at random. [default: crop]")
@click.option(
    "--randaugment",
    callback=_numbers,
    metavar="N,M",
    help="N random changes of strength M to each.",
)
@click.option(
    "--mixup", type=Number(0), default=0.0, metavar="ALPHA", help="Blend images in pairs."
)
@click.option(
    "--cutmix", type=Number(0), default=0.0, metavar="ALPHA", help="Put pieces in others."
)
@click.option(
    "--drop-path",
    type=Number(0, 1, below=True),
    metavar="P",
    help="Stochastic depth. [default: published]",
)
@click.option(
    "--dropout", type=Number(0, 1, below=True), metavar="P", help="[default: as published]"
)
@click.option("--teacher", metavar="MODEL", help="Learn from a trained network's scores.")
@click.option("--teacher-weight", type=Number(0, 1, above=True), default=0.9, show_default=True)
@click.option("--teacher-temperature", type=Number(0, above=True), default=4.0, show_default=True)
@size_option
@scores_option
@click.option(
    "--task",
    metavar="NAME",
    help="Put a head on MODEL: detect, segment or embed.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--init", metavar="FILE", help="Checkpoint or state dict to start from.")
@click.option("--pretrained", is_flag=True, help="Start from torchvision's weights, downloaded.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option("--amp", default="auto", show_default=True, metavar="auto|off|bf16|fp16")
@click.option("--threads", type=int, metavar="N", help="CPU threads.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the run. [default: runs/MODEL-SRC]",
)
@click.option("--resume", is_flag=True, help="Go on with the run in DIR.")
@overwrite_option
@console.common_options
def command(
    model: str | None,
    recipe: str | None,
    data: str,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    skip_corrupt: bool,
    pretrained: bool,
    task: str | None,
    **options: Any,
) -> None:
    """Train MODEL; checkpoint, metrics and curves go into DIR.

    'edgekit list formats' says how images and labels lie. A network that finds
    objects, segments or recognises is BACKBONE+HEAD; see 'edgekit list heads'.
    Stopped at any point, a run goes on with --resume -o DIR,
    without MODEL; a finished one is trained further with more --epochs.
    A recipe may name MODEL and hold any option; what is given here counts more.
    """
    from edgekit.api.training import chosen_words, default_folder, headed

    given = {name: value for name, value in options.items() if _given(name)}
    named, source, base = chosen_words(
        model, data if _given("data") else None, recipe, resume=resume, out=out
    )
    named = headed(named, task)
    if pretrained:
        given["init"] = _published(named, given, base)
    folder = out or default_folder(named, source)
    try:
        result = run(named, source, folder, resume, overwrite, skip_corrupt, given, base)
    except KeyboardInterrupt:
        if (folder / "state.pt").exists():
            go_on = console.typed("edgekit", "train", "--resume", "-o", folder)
            console.note(f"finished epochs are kept in {folder}; go on with: {go_on}")
        raise
    from edgekit.training import processes

    if processes.is_main():
        _show(result)


def _given(name: str) -> bool:
    """Whether the user gave an option, rather than leaving it as it is."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not ParameterSource.DEFAULT


def _published(model: str, given: Mapping[str, Any], base: TrainingOptions | None) -> Path:
    """The published weights, which take the place of ``init``; see `edgekit.api.training`."""
    from edgekit.api.training import published, training_options

    if "init" in given:
        raise UsageError("--init and --pretrained exclude each other: give one of them")
    options = training_options(given, base)
    with fetching(model) as report:
        return published(model, options, report)


def _show(result: TrainingResult) -> None:
    console.warn_skipped(result.skipped)
    from edgekit.cli.evaluate import said, show_classes

    console.say(
        f"{result.model}: {said(result.figures) or 'no figures'} on "
        f"{counted_words(result.n, f'{result.split} image')} after "
        f"{counted_words(result.epochs, 'epoch')} in {result.seconds:.1f} s"
    )
    _show_classes(result.classes)
    show_classes(result.details, result.task)
    told = result.classes or result.details.confusion
    pictures = ", curves.png and confusions.png" if told else " and curves.png"
    console.say(f"{result.checkpoint}  (metrics.jsonl{pictures} beside it)")
    console.go_on("edgekit", "export", result.run, "--target", "all", "-o", "exported")
    if console.wants_json():
        from edgekit.core import to_json

        plain = to_json(result)
        figures, headline = plain.pop("figures"), plain.pop("headline")
        headline = {"name": headline, "value": figures[headline]}
        console.emit_json("edgekit.train/1", {**plain, **figures, "headline": headline})


def _show_classes(classes: Sequence[ClassFigures]) -> None:
    """The classes that are told right least often, and what they are taken for."""
    from edgekit.tasks.confusions import weakest

    rows = [
        (
            one.label,
            f"{one.n:,}",
            console.percent(one.top1 or 0.0),
            "" if one.taken_for is None else f"{one.taken_for} ({one.mistaken:,})",
        )
        for one in weakest(classes, MOST_CLASSES)
    ]
    if rows:
        known = len(classes) if len(classes) > len(rows) else None
        title = "weakest classes first" + ("" if known is None else f", {len(rows)} of {known}")
        console.table(
            ["class", ("images", "right"), ("top-1", "right"), "most often taken for"],
            rows,
            title=title,
        )


def run(
    model: str,
    data: str,
    folder: Path,
    resume: bool,
    overwrite: bool,
    skip_corrupt: bool,
    given: Mapping[str, Any],
    base: TrainingOptions | None = None,
) -> TrainingResult:
    """Trains with a bar per epoch of what is left."""
    from edgekit.api.training import train

    with bar() as progress:
        return train(
            model,
            data,
            options=base,
            out=folder,
            resume=resume,
            overwrite=overwrite,
            skip_corrupt=skip_corrupt,
            progress=progress,
            **given,
        )


@contextmanager
def bar() -> Iterator[Bar]:
    """A progress bar on stderr, with a line per finished epoch."""
    with console.progress() as display:
        yield Bar(display)


class Bar:
    """`edgekit.training.progress.Progress` as a bar with the time left."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._task = display.add_task("loading", total=None)

    def note(self, text: str) -> None:
        """Something that people should know."""
        console.note(f"note: {text}")

    def images(self, text: str) -> None:
        """What there is to learn from."""
        console.note(text)

    def warn(self, text: str) -> None:
        """Something that makes the results doubtful."""
        console.note(f"warning: {text}")

    def loading(self, done: int, total: int) -> None:
        """Images are being read."""
        self._display.update(self._task, completed=done, total=total)

    def start(self, step: int, steps: int) -> None:
        """Training begins; the clock of the time left starts anew."""
        self._display.remove_task(self._task)
        self._task = self._display.add_task("training", total=steps, completed=step)

    def step(self, step: int, loss: float) -> None:
        """Steps are done."""
        self._display.update(self._task, completed=step, description=f"training, loss {loss:.3f}")

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done."""
        figure = record.validation_figure
        shown = "not known" if figure is None else console.percent(figure)
        console.note(
            f"epoch {record.epoch:3}  loss {record.train_loss:.3f}  validation {record.title} "
            f"{shown}  {record.images_per_s:,.0f} images/s"
        )
