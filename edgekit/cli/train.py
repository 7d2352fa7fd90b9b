"""``edgekit train``: a network from labelled images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgekit.cli import console
from edgekit.cli.options import Number, overwrite_option, resolution_option, scores_option
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress as Display

    from edgekit.training.loop import TrainingResult
    from edgekit.training.progress import EpochRecord


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
@click.option(
    "--data", default="digits", show_default=True, metavar="SRC", help="digits or a folder."
)
@click.option("--epochs", type=int, default=15, show_default=True)
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
@resolution_option
@scores_option
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
    **options: Any,
) -> None:
    """Train MODEL; checkpoint, metrics and curves go into DIR.

    Folders are DIR/class/image.jpg, or DIR/train/class/... with test (and
    validation) beside. Stopped at any point, a run goes on with --resume.
    A recipe may name MODEL and hold any option; what is given here counts more.
    """
    if recipe is not None:
        model, data, options = _with_recipe(recipe, model, data, options)
    if model is None:
        raise UsageError("no MODEL was given: name one, or a --recipe that does")
    if pretrained:
        options["init"] = str(_published(model, options))
    folder = out or _folder_for(model, data)
    try:
        result = run(model, data, folder, resume, overwrite, skip_corrupt, options)
    except KeyboardInterrupt:
        if (folder / "state.pt").exists():
            console.note(f"finished epochs are kept in {folder}: repeat the command with --resume")
        raise
    from edgekit.training import processes

    if processes.is_main():
        _show(result)


def _with_recipe(
    words: str, model: str | None, data: str, options: dict[str, Any]
) -> tuple[str | None, str, dict[str, Any]]:
    """Model, data and options of a recipe, under what the command line gives itself."""
    from edgekit.training.recipe import load_recipe

    recipe = load_recipe(words)
    context = click.get_current_context()

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is not ParameterSource.DEFAULT

    changed = {k: v for k, v in options.items() if k not in recipe.options or given(k)}
    if recipe.data is not None and not given("data"):
        data = recipe.data
    elif recipe.data is None and not given("data"):
        raise UsageError(
            f"recipe '{words}' names no images: give them with --data, digits or a folder"
        )
    return model or recipe.model, data, {**recipe.options, **changed}


def _published(model: str, options: dict[str, Any]) -> Path:
    """The published weights, which take the place of ``init``; wrong options fail first.

    Raises:
        UsageError: ``--init`` beside it, options out of range, or no published weights.
        UnavailableError: several processes would download the same file at once.
        EdgekitError: it cannot be downloaded.
    """
    if click.get_current_context().get_parameter_source("init") is ParameterSource.COMMANDLINE:
        raise UsageError("--init and --pretrained exclude each other: give one of them")
    from edgekit.cli.options import fetched
    from edgekit.training import TrainingOptions, processes
    from edgekit.training.options import check

    check(TrainingOptions(**options))
    return fetched(model, options["resolution"], may_download=processes.count() == 1)


def _show(result: TrainingResult) -> None:
    console.warn_skipped(result.skipped)
    top5 = "" if result.top5 is None else f", top-5 {console.percent(result.top5)}"
    console.say(
        f"{result.model}: top-1 {console.percent(result.top1)}{top5} on {result.n:,} "
        f"{result.split} images after {result.epochs} epochs in {result.seconds:.1f} s"
    )
    console.say(f"{result.checkpoint}  (metrics.jsonl and curves.png beside it)")
    if console.wants_json():
        from edgekit.core import to_json

        console.emit_json("edgekit.train/1", to_json(result))


def _folder_for(model: str, data: str) -> Path:
    """Where a run goes that was given no place.

    Raises:
        UsageError: no folder can be named after network and images.
    """
    from edgekit.core.names import file_name

    try:
        return Path("runs", file_name(f"{_name(model)}-{Path(data).resolve().name}"))
    except ValueError as error:
        raise UsageError(f"{error}; name a folder with -o") from error


def _name(model: str) -> str:
    """The canonical name; a wrong one fails here, before torch is imported."""
    from edgekit import registry

    if Path(model).exists():  # the training itself says why a path is no name
        return Path(model).stem
    if ":" in model:
        return model.rpartition(":")[2]
    return registry.canonical_name(model)


def run(
    model: str,
    data: str,
    folder: Path,
    resume: bool,
    overwrite: bool,
    skip_corrupt: bool,
    options: dict[str, Any],
) -> TrainingResult:
    """Trains with a bar per epoch of what is left."""
    from edgekit.training.loop import train
    from edgekit.training.options import TrainingOptions

    with bar() as progress:
        return train(
            model,
            data,
            options=TrainingOptions(**options),
            out=folder,
            resume=resume,
            overwrite=overwrite,
            skip_corrupt=skip_corrupt,
            progress=progress,
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
        console.note(f"note: {text}", self._display)

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
        console.note(
            f"epoch {record.epoch:3}  loss {record.train_loss:.3f}  validation top-1 "
            f"{console.percent(record.validation_top1)}  {record.images_per_s:,.0f} images/s",
            self._display,
        )
