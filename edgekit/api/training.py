"""``edgekit.train``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from edgekit.api.checking import typed
from edgekit.api.keywords import StrPath, record_of, text_of
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core import Side
    from edgekit.models.taking import Network
    from edgekit.training.loop import TrainingResult
    from edgekit.training.options import TrainingOptions
    from edgekit.training.progress import Progress

DATA = "digits"
"""SRC where neither a call nor a recipe names one."""


class TrainingKeywords(TypedDict, total=False):
    """How a network is trained; see `edgekit.training.options.TrainingOptions`."""

    epochs: int
    batch_size: int | None
    accumulate: int
    optimizer: str
    lr: float | None
    schedule: str
    weight_decay: float | None
    warmup_epochs: float
    label_smoothing: float
    ema: bool
    flip: bool | None
    crop: bool
    randaugment: Sequence[int] | None
    mixup: float
    cutmix: float
    drop_path: float | None
    dropout: float | None
    teacher: StrPath | None
    teacher_weight: float
    teacher_temperature: float
    seed: int
    resolution: Side | None
    device: str
    amp: str
    threads: int | None
    init: StrPath | None
    scores: str | None


@typed
def train(
    model: Network | None = None,
    data: StrPath | None = None,
    *,
    task: str | None = None,
    out: StrPath | None = None,
    recipe: StrPath | None = None,
    pretrained: bool = False,
    options: TrainingOptions | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
    **keywords: Unpack[TrainingKeywords],
) -> TrainingResult:
    """Trains a network on labelled images.

    A module is trained where it is: in the end it has the weights of the checkpoint.

    Args:
        model: a zoo name or callable, a module, or a function that makes one; ``None`` where the
            recipe names it.
        data: SRC of the images; those of the recipe, else ``digits``.
        task: what the outputs are for: its usual head is put on a network of the zoo.
        out: folder of the run; ``runs/MODEL-SRC`` by default.
        recipe: name of a recipe, or a TOML file of options.
        pretrained: start from the published weights of a zoo network, downloaded once.
        options: all options in one record, in place of the recipe's.
        resume: go on with the run in ``out``, with its network, images and options where no
            others are given; a finished run is trained for the ``epochs`` that it lacks.
        overwrite: replace the run in ``out``.
        skip_corrupt: leave out images that cannot be decoded.
        progress: is told how far the training is.
        keywords: single options, which count more: ``epochs``, ``lr``, ``teacher``, ...

    Returns:
        What came of it; it stands for its run folder wherever a network is taken.

    Raises:
        UsageError: arguments that cannot be, or do not go together.
        InputError: a network, weights or images that cannot be used, or a folder that takes none.
        UnavailableError: a device that is not there.
    """
    from edgekit.training import loop

    if recipe is not None and options is not None:
        raise UsageError("recipe and options both say how to train: give one of them")
    network, source, base = chosen_words(
        model, text_of(data, "data"), recipe, resume=resume, out=out
    )
    network = headed(network, task)
    chosen = training_options(keywords, options or base)
    if pretrained:
        if "init" in keywords:
            raise UsageError("--init and --pretrained exclude each other: give one of them")
        chosen = dataclasses.replace(chosen, init=str(published(network, chosen)))
    return loop.train(
        network,
        source,
        options=chosen,
        out=Path(out) if out is not None else default_folder(network, source),
        resume=resume,
        overwrite=overwrite,
        skip_corrupt=skip_corrupt,
        progress=progress,
    )


def headed(model: Any, task: str | None) -> Any:
    """The network that a network and a task mean together.

    Raises:
        UsageError: the network is there already, has no place for a head, or is of another task.
        UnknownNameError: there is no such task.
    """
    from edgekit import registry
    from edgekit.core import CLASSIFY
    from edgekit.models.composed_model import with_head

    if task is None:
        return model
    named = with_head(model, task) if isinstance(model, str) else model
    composed = isinstance(model, str) and registry.is_composed(model)
    if named == model and task != CLASSIFY and not composed:
        raise UsageError(
            f"--task {task} puts a head on a network of the zoo, and '{model}' is none: give "
            f"BACKBONE+HEAD, or leave the option out"
        )
    if composed and registry.task_of_composed(model) != registry.task_name(task):
        raise UsageError(
            f"'{model}' is of the task {registry.task_of_composed(model)}, not {task}: leave "
            f"--task out, or see 'edgekit list heads' for what has that"
        )
    return named


def chosen_words(
    model: Any, data: str | None, recipe: StrPath | None, *, resume: bool, out: StrPath | None
) -> tuple[Any, str, TrainingOptions | None]:
    """Network, images and options of a training: what was given, else what a recipe or run says.

    Args:
        resume: whether a run goes on, in ``out`` or where it is without one.

    Raises:
        UsageError: nobody names the network, or the images of a recipe.
        InputError: a recipe or run that cannot be read.
    """
    from edgekit.training.recipe import load_recipe

    chosen = None if recipe is None else load_recipe(os.fspath(recipe))
    if resume and chosen is None and not (out is model is None):
        from edgekit.training.run_folder import RunFolder

        folder = default_folder(model, data or DATA) if out is None else Path(out)
        started = RunFolder(folder).started_with()
        if started is not None:
            return (started[0] if model is None else model), data or started[1], started[2]
    if model is None and chosen is not None:
        model = chosen.model
    if model is None:
        raise UsageError(
            "which network is to be trained? Name a MODEL, as in 'edgekit train "
            "mobilenetv3-small', a --recipe that does, or with --resume -o RUN a run that goes "
            "on; see 'edgekit list models'"
        )
    if chosen is None:
        return model, data or DATA, None
    source = data or chosen.data
    if source is None:
        raise UsageError(
            f"recipe '{chosen.origin}' names no images: give them with --data, digits, "
            f"digit-scenes, or a folder; see 'edgekit list formats'"
        )
    return model, source, chosen.training_options()


def published(
    model: Any, options: TrainingOptions, report: Callable[[int, int | None], None] | None = None
) -> Path:
    """The file of a zoo network's published weights; wrong options fail before it is downloaded.

    Args:
        report: told how many bytes are there, of how many.

    Raises:
        UsageError: options out of range, or no published weights.
        UnavailableError: several processes would download the same file at once.
        EdgekitError: it cannot be downloaded.
    """
    from edgekit import registry
    from edgekit.models.taking import fetched
    from edgekit.training import processes
    from edgekit.training.options import check

    check(options)
    if not isinstance(model, str):
        raise UsageError("--pretrained goes with a zoo name, and this is a module: leave it out")
    alone = processes.count() == 1
    if registry.stands_alone(model):
        raise UsageError(
            f"--pretrained: '{model}' has no backbone whose weights are published: leave it out"
        )
    model = model.partition("+")[0]  # of a composed network the weights of its backbone
    return fetched(model, options.resolution, may_download=alone, report=report)


def training_options(
    keywords: Mapping[str, object], base: TrainingOptions | None = None
) -> TrainingOptions:
    """Options of a training, as one record.

    Args:
        keywords: of `TrainingKeywords`.

    Raises:
        UsageError: a value of another type.
    """
    from edgekit.training.options import TrainingOptions

    given = dict(keywords)
    for name in ("teacher", "init"):
        if isinstance(given.get(name), os.PathLike):
            given[name] = text_of(given[name], name)
    return record_of(TrainingOptions, given, base or TrainingOptions())


def default_folder(model: Any, data: str) -> Path:
    """Where a run goes that was given no place.

    Raises:
        UsageError: no folder can be named after network and images.
    """
    from edgekit.core.names import file_name

    try:
        return Path("runs", file_name(f"{_name(model)}-{Path(data).resolve().name}"))
    except ValueError as error:
        raise UsageError(f"{error}; name a folder with -o") from error


def _name(model: Any) -> str:
    """The canonical name; a wrong one fails here, before torch is imported."""
    from edgekit import registry

    if not isinstance(model, str | os.PathLike):
        own = getattr(model, "name", None) or getattr(model, "__name__", type(model).__name__)
        return str(own).lower()
    source = os.fspath(model)
    if Path(source).exists():  # the training itself says why a path is no name
        return Path(source).stem
    if ":" in source:
        return source.rpartition(":")[2]
    return registry.canonical_name(source)
