"""Training from a name and some data to a checkpoint, in a folder from which it can go on."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit import registry, tables
from edgekit.core import CLASSIFY, ImageSource, reason
from edgekit.core.preprocessing import pair
from edgekit.core.text import counted_words
from edgekit.data import open_source
from edgekit.data.preprocess import for_source
from edgekit.data.truths import CLASS_LABELS, told
from edgekit.errors import CheckpointError, DataError, UsageError
from edgekit.models import family_of, find_spec, with_resolution
from edgekit.models.composed import head_of
from edgekit.models.model import Model
from edgekit.models.rows import at_once
from edgekit.models.source import is_path
from edgekit.models.taking import Network
from edgekit.models.weights import Checkpoint, load_into, load_state
from edgekit.tasks import task_of
from edgekit.tasks.confusions import ClassFigures, Confusions
from edgekit.tasks.details import NO_DETAILS, Details, confusion
from edgekit.tasks.losses import Kinds, check_said, kinds_of
from edgekit.training import options as training_options
from edgekit.training import processes
from edgekit.training.distillation import Teacher, open_teacher
from edgekit.training.images import Batches, Loader, SplitImages, open_splits
from edgekit.training.initial import (
    OWN_STRIDE,
    initial,
    open_own,
    own_preprocessing,
    with_epsilon,
    with_regularization,
)
from edgekit.training.lesson import EVALUATION_BATCH, Lesson, OfClasses, OfTask
from edgekit.training.options import LABELS, PLACES, TrainingOptions
from edgekit.training.priors import PRIORS, fit_priors, take_priors
from edgekit.training.progress import EpochRecord, Progress, Silent
from edgekit.training.run_folder import Plan, RunFolder, TestRecord, epoch_of, plain_epoch
from edgekit.training.telling import tell_images
from edgekit.training.threads import Threads, threads_put_back
from edgekit.training.trainer import Trainer

DEFAULTS = TrainingOptions()

# Seconds between two drawings of the curves, each of which takes a third of a second.
_REDRAW_S = 30.0


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A finished training.

    Attributes:
        model: canonical name of the network.
        run: folder of the run, as it was given.
        checkpoint: the trained network in it.
        seconds: of the whole training, over all sessions.
        split: which images the figures are of: ``test``, or ``validation`` where the data have no
            test images.
        n: number of these images.
        task: what the outputs of the network are for.
        headline: name of the figure that speaks for it.
        figures: of the task, by name; ``None`` for one that the images do not tell.
        classes: how often the images of each class are told right, and what the others are taken
            for; empty of other tasks.
        details: figures of each class, and what is taken for what, of other tasks.
        skipped: images that were left out because they cannot be decoded.
    """

    model: str
    run: Path
    checkpoint: Path
    epochs: int
    seconds: float
    split: str
    n: int
    task: str
    headline: str
    figures: Mapping[str, float | None]
    classes: tuple[ClassFigures, ...] = ()
    details: Details = NO_DETAILS
    skipped: tuple[str, ...] = ()

    @property
    def top1(self) -> float | None:
        """Share of images whose class has the highest score; ``None`` of other tasks."""
        return self.figures.get("top1")

    @property
    def top5(self) -> float | None:
        """Share of images whose class is among the five highest; ``None`` below 6 classes."""
        return self.figures.get("top5")

    @property
    def name(self) -> str:
        """Canonical name of the network, as in the records of other commands."""
        return self.model

    def __fspath__(self) -> str:
        """The folder of the run, which is a MODEL."""
        return str(self.run)


def train(
    model: Network,
    data: str = "digits",
    *,
    options: TrainingOptions = DEFAULTS,
    out: Path | str,
    resume: bool = False,
    overwrite: bool = False,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
) -> TrainingResult:
    """Trains a network.

    After every epoch ``out`` holds ``state.pt`` and ``metrics.jsonl``, at the end also
    ``model.pt`` and ``curves.png``, and no ``state.pt``. A run that was stopped at any point and
    resumed ends with the same weights, to the last bit on the CPU, as one that was not.

    Several processes, started by ``torchrun`` or ``accelerate launch``, train together; only the
    first writes files and reports progress.

    Args:
        model: zoo name, ``BACKBONE+HEAD``, ``timm:NAME``, ``torchvision:NAME`` or
            ``package.module:callable``; or a module, which in the end has the trained weights, or
            a function that makes one.
        data: an image source; see `edgekit.data.open_source`.
        out: folder of the run; made if need be.
        resume: go on with the run in ``out``. A finished one just gives its result, unless it has
            fewer epochs than ``options`` ask for: then it is trained for those that are missing,
            from its weights, with a schedule of their own.
        overwrite: replace the run in ``out``.
        skip_corrupt: leave out images that cannot be decoded, instead of failing.
        progress: is told how far the training is.

    Raises:
        UsageError: an option out of range, a run that was started with others, or one that
            another process is at work on.
        DataError: images that cannot be used.
        CheckpointError: ``options.init``, ``options.teacher`` or ``state.pt`` cannot be used.
        ModelError: the loss is no longer finite, the teacher has other classes, or the network
            of a callable cannot be used.
        OutputError: ``out`` holds another run, or cannot be written.
        UnavailableError: a device that is not there.
    """
    begin = time.perf_counter()
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    _check(model, options)
    folder = RunFolder(Path(out))
    folder.check(resume=resume, overwrite=overwrite)
    progress = progress if progress is not None and processes.is_main() else Silent()
    alone = folder.held(resume=resume, overwrite=overwrite)
    with alone if processes.is_main() else nullcontext():
        source = open_source(data, skip_corrupt=skip_corrupt)
        for remark in getattr(source, "remarks", ()):
            progress.note(f"'{source.name}': {remark}")
        result = _trained(model, source, options, folder, progress, begin, resume=resume)
    if isinstance(model, nn.Module) and processes.is_main():
        load_into(model, load_state(result.checkpoint), str(result.checkpoint))
    return dataclasses.replace(result, skipped=tuple(getattr(source, "skipped", ())))


def _trained(
    model: Network,
    source: ImageSource,
    options: TrainingOptions,
    folder: RunFolder,
    progress: Progress,
    begin: float,
    *,
    resume: bool,
) -> TrainingResult:
    plan, own = _plan(model, source, options)
    with _own_torch():
        threads = Threads(options.threads, progress.note)
        network, taken = initial(plan, None if own is None else own.module, progress.note)
        teacher = _teacher(plan, own, progress.note)
        if resume:
            folder.compare(plan)
        run = _Run(plan, own, folder, progress, begin, threads)
        if resume and folder.finished():
            if folder.test_record().epochs == plan.options.known_epochs:
                return _result(plan, folder, folder.test_record())
            load_into(network, load_state(folder.checkpoint), str(folder.checkpoint))
            run.extend(folder.history(plan.headline), folder.test_record())
        lesson = _lesson(plan, own, network, source, teacher)
        truth = CLASS_LABELS if own is None else task_of(own).truth
        images = open_splits(source, list(plan.images), plan.preprocessing, progress.loading, truth)
        tell_images(plan, images, progress)
        if processes.is_main():
            # Only now: images that cannot be read leave earlier results alone.
            if not resume:
                folder.begin(plan)
            elif run.first:
                folder.extend(plan)
        state = folder.load_state() if resume else None
        if state is not None:
            take_priors(network, _weights(state))
        learned = PRIORS in taken or (own is not None and own.trained)
        if state is not None or (
            not run.first
            and fit_priors(network, images["train"], options.seed, progress.note, learned=learned)
        ):
            lesson = _lesson(plan, own, network, source, teacher)  # which knows the anchors
        return run.complete(network, lesson, teacher, images, state)


def _weights(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the network in a state, which may be anything."""
    trainer = state.get("trainer")
    found = trainer.get("model") if isinstance(trainer, Mapping) else None
    return found if isinstance(found, Mapping) else {}


class _Run:
    """A training under way: its history and its clock."""

    def __init__(
        self,
        plan: Plan,
        own: Model | None,
        folder: RunFolder,
        progress: Progress,
        begin: float,
        threads: Threads,
    ) -> None:
        self.plan, self.folder, self.progress, self.threads = plan, folder, progress, threads
        self.parameters = {} if own is None else own.parameters
        self.figure = registry.task(plan.task).title
        self.history: list[EpochRecord] = []
        self.first, self.begin, self.earlier_s = 0, begin, 0.0

    def extend(self, history: Sequence[EpochRecord], test: TestRecord) -> None:
        """Begins behind the last epoch of a run that was finished."""
        self.history, self.first, self.earlier_s = [*history], test.epochs, test.seconds

    def complete(
        self,
        network: nn.Module,
        lesson: Lesson,
        teacher: Teacher | None,
        images: Mapping[str, SplitImages],
        state: dict[str, Any] | None,
    ) -> TrainingResult:
        """Trains to the end and writes the results; the last split is the one to report."""
        last = list(images)[-1]
        if state is not None:
            self.first = self._began(state)
        trainer = Trainer(self.plan, network, images["train"], lesson, teacher, self.first)
        if isinstance(lesson, OfClasses) and (
            lesson.kinds != Kinds() or self.plan.options.scores is not None
        ):
            self.progress.note(f"outputs are taken for {lesson.kinds}")
        if state is not None:
            self._restore(trainer, state)
        self._epochs(trainer, images["validation"])
        return self._finish(trainer, images[last], last)

    def _began(self, state: dict[str, Any]) -> int:
        """The epoch that the training of a state began with."""
        first = state.get("first", 0)
        if not isinstance(first, int) or not 0 <= first < self.plan.options.known_epochs:
            raise self._misfit(f"it begins with epoch {first}")
        return first

    def _misfit(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self.folder.state} does not fit this run ({reason}): start anew with --overwrite"
        )

    def _restore(self, trainer: Trainer, state: dict[str, Any]) -> None:
        try:
            trainer.restore(state["trainer"])
            headline = self.plan.headline
            self.history = [epoch_of(record, headline) for record in state["history"]]
            self.earlier_s = float(state["seconds"])
            self.threads.resume(int(state.get("threads", self.threads.now)))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise self._misfit(reason(error)) from error

    def _epochs(self, trainer: Trainer, validation: SplitImages) -> None:
        loader = _in_order(validation, trainer)
        done = len(self.history)
        self.progress.start((done - self.first) * len(trainer.batches), trainer.steps)
        drawn = time.perf_counter()
        for epoch in range(done, self.plan.options.known_epochs):
            # A run that goes on begins with the threads that it had.
            if epoch != done or done == self.first:
                self.threads.fit()
            record = trainer.epoch(epoch, loader, self.progress.step)
            self.history.append(record)
            if not processes.is_main():
                continue
            self._save(trainer)
            if time.perf_counter() - drawn > _REDRAW_S:
                self.folder.draw_curves(self.history, self.figure, self._title())
                drawn = time.perf_counter()
            self.progress.epoch(record)

    def _save(self, trainer: Trainer) -> None:
        headline = self.plan.headline
        history = [plain_epoch(record, headline) for record in self.history]
        state = {
            "trainer": trainer.state(),
            "first": self.first,
            "history": history,
            "seconds": self._seconds(),
            "threads": self.threads.now,
        }
        self.folder.save_state(state)
        self.folder.write_metrics(self.history, headline)

    def _finish(self, trainer: Trainer, images: SplitImages, split: str) -> TrainingResult:
        plan, epochs = self.plan, self.plan.options.known_epochs
        confusions = Confusions(plan.labels) if plan.task == CLASSIFY else None
        scores = trainer.evaluate(_in_order(images, trainer), confusions)
        test = TestRecord(
            split,
            scores.n,
            scores.loss,
            scores.figures,
            epochs,
            self._seconds(),
            () if confusions is None else confusions.classes(),
            scores.details,
        )
        counted = scores.details.confusion
        if confusions is not None:
            counted = confusion(confusions.names, confusions.names, confusions.counts)
        if processes.is_main() and counted is not None:
            title = f"{self._title()}: {counted_words(scores.n, f'{split} image')}"
            self.folder.draw_confusions(counted, title)
        if processes.is_main():
            self._write(trainer, test)
        return _result(plan, self.folder, test)

    def _write(self, trainer: Trainer, test: TestRecord) -> None:
        plan = self.plan
        self.folder.draw_curves(self.history, self.figure, self._title())
        self.folder.write_metrics(self.history, plan.headline, test)
        results = {**test.figures, "epochs": test.epochs, "seconds": test.seconds}
        self.folder.finish(
            Checkpoint(
                model=plan.model,
                spec=plan.spec,
                state=trainer.average.module.state_dict(),
                labels=plan.labels,
                preprocessing=plan.preprocessing,
                data=plan.data,
                results={k: float(value) for k, value in results.items() if value is not None},
                scores=plan.options.scores,
                task=plan.task,
                parameters=self.parameters,
            )
        )

    def _seconds(self) -> float:
        return self.earlier_s + time.perf_counter() - self.begin

    def _title(self) -> str:
        height, width = self.plan.preprocessing.size
        size = f"{height}" if height == width else f"{height}x{width}"
        return f"{self.plan.model} on {self.plan.data}, {size} px"


def _check(model: Network, options: TrainingOptions) -> None:
    """Refuses what cannot be trained, before data are opened.

    Raises:
        UsageError: a file instead of a name, or an option out of range.
        UnknownNameError: no network has that name.
        UnavailableError: a device that is not there.
    """
    training_options.check(options)
    training_options.machine(options)
    if not isinstance(model, str):
        return
    if is_path(model):
        raise UsageError(
            f"'{model}' is a file or folder: expected a network's name; to start from a "
            f"checkpoint, give the network's name and --init FILE; see 'edgekit list models'"
        )
    if registry.is_composed(model):
        head_of(model)
    elif ":" not in model:
        find_spec(model)


def _plan(
    network: Network, source: ImageSource, options: TrainingOptions
) -> tuple[Plan, Model | None]:
    """What is to be done, and the network where it is not of the zoo."""
    splits, classes = _splits(source), len(source.classes)
    own: Model | None = None
    labels = source.classes
    if not isinstance(network, str) or ":" in network or registry.is_composed(network):
        own = open_own(network, options, source)
        if own.task == CLASSIFY:
            check_said(options.scores, own.classes, own.source, of_zoo=False)
        truth = registry.task(own.task).truth
        places = truth is not None and truth.needs != CLASS_LABELS.needs
        usual = PLACES if places else LABELS
        options = training_options.resolve(options, source, own.resolution, OWN_STRIDE, usual)
        assert options.resolution is not None
        if own.task != CLASSIFY and pair(options.resolution) != own.interface.inputs[0].shape[2:]:
            # What is made for one size, such as anchors, is made for the size that was chosen.
            own = open_own(network, options, source)
        spec, name, labels = None, own.source, own.labels or labels
        preprocessing = own_preprocessing(own, for_source(source, options.resolution, own.task))
    else:
        _check_labelled(source, network)
        check_said(options.scores, classes, network, of_zoo=True)
        spec = find_spec(network)
        smallest = family_of(spec).stride(spec)
        options = training_options.resolve(options, source, spec.resolution, smallest)
        spec = with_resolution(find_spec(network, classes=classes), options.resolution)
        spec = with_epsilon(with_regularization(spec, options), options)
        name = spec.name
        assert options.resolution is not None
        preprocessing = for_source(source, options.resolution)
    plan = Plan(
        model=name,
        data=source.name,
        options=options,
        spec=spec,
        preprocessing=preprocessing,
        labels=labels,
        images={split: source.size(split) for split in splits},
        task=CLASSIFY if own is None else own.task,
        headline="top1" if own is None else task_of(own).headline,
    )
    return plan, own


def _check_labelled(source: ImageSource, network: str) -> None:
    """Refuses to train a classifier on a source without labels.

    Raises:
        DataError: says which networks learn from it.
    """
    known = told(source)
    if CLASS_LABELS.needs in known:
        return
    tasks = [
        name for name in tables.TASKS if getattr(registry.task(name).truth, "needs", "") in known
    ]
    ways = " or ".join(f"--task {name}" for name in tasks)
    raise DataError(
        f"data source '{source.name}' has {' and '.join(known)}, and '{network}' is a classifier, "
        f"which needs labels: " + (f"add {ways} to train it on them" if ways else "give others")
    )


def _lesson(
    plan: Plan, own: Model | None, network: nn.Module, source: ImageSource, teacher: Teacher | None
) -> Lesson:
    """What the network is trained to do.

    Args:
        own: what is known of the network where it is not of the zoo.
        network: that is trained, on the CPU.
    """
    if own is None or own.task == CLASSIFY:
        kinds = Kinds()
        if own is not None:
            kinds = kinds_of(network, plan.image, plan.model, plan.options.scores)
        return OfClasses(kinds, len(plan.labels), plan.options, teacher)
    own = dataclasses.replace(own, module=network)
    task = task_of(own)
    at = at_once(EVALUATION_BATCH, own.interface)
    return OfTask(task, task.objective(own), source, plan.options, teacher, at)


def _splits(source: ImageSource) -> list[str]:
    """Training, validation, and what the final figures are of.

    Raises:
        DataError: a split is missing or too small to train on.
    """
    for split in ("train", "validation"):
        if split not in source.splits:
            raise DataError(
                f"data source '{source.name}' has no '{split}' split, only "
                f"{', '.join(source.splits)}: give it more images, or a folder '{split}'"
            )
    if source.size("train") < 2:
        raise DataError(
            f"data source '{source.name}' has one training image: expected 2 or more; give it more "
            f"images, or a folder for each split"
        )
    return [split for split in ("train", "validation", "test") if split in source.splits]


def _teacher(plan: Plan, own: Model | None, note: Callable[[str], None]) -> Teacher | None:
    o = plan.options
    if o.teacher is None:
        return None
    temperature = o.teacher_temperature
    found = open_teacher(o.teacher, plan.labels, plan.preprocessing, temperature, note, plan.task)
    if own is not None and plan.task != CLASSIFY:
        found.check_outputs(own)
    return found


def _in_order(images: SplitImages, trainer: Trainer) -> Loader:
    share = processes.share() if trainer.lesson.shares else (0, 1)
    batches = Batches(len(images), trainer.lesson.at_once, share=share)
    return Loader(images, batches, trainer.device)


def _result(plan: Plan, folder: RunFolder, test: TestRecord) -> TrainingResult:
    return TrainingResult(
        model=plan.model,
        run=folder.path,
        checkpoint=folder.checkpoint,
        epochs=test.epochs,
        seconds=test.seconds,
        split=test.split,
        n=test.n,
        task=plan.task,
        headline=plan.headline,
        figures=test.figures,
        classes=test.classes,
        details=test.details,
    )


@contextmanager
def _own_torch() -> Iterator[None]:
    """A block that may set threads and random state, which are put back."""
    with threads_put_back(), torch.random.fork_rng(), warnings.catch_warnings():
        # Of several processes: one copy per step of depthwise weights, which are small.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        yield
