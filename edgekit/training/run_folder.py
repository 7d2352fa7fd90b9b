"""The folder of a run: which files it has, when they may be replaced, and how to go on from them.

Every file appears under its name only when it is complete. ``state.pt`` decides: the other files
are written from it, so that a run that was killed between two files is consistent again after
the next epoch.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgekit.core import CLASSIFY, ModelSpec, Preprocessing, from_json, reason, to_json
from edgekit.core.plain import SPARSE
from edgekit.core.reading import LARGEST_NOTE, LARGEST_RESULTS, parse_json, read_bytes, read_text
from edgekit.core.text import counted_words
from edgekit.errors import CheckpointError, OutputError, UsageError
from edgekit.locks import one_writer
from edgekit.models.tensor_files import load_plain, save_plain
from edgekit.models.weights import FILE_NAME, Checkpoint, save_checkpoint
from edgekit.staging import named_failures, output_folder, replace_file
from edgekit.tasks.confusions import ClassFigures
from edgekit.tasks.details import NO_DETAILS, Confusion, Details
from edgekit.training.options import TrainingOptions
from edgekit.training.progress import EpochRecord

FORMAT = "edgekit.training/1"

OF_THE_MACHINE = ("device", "amp", "threads")
"""Options that may be others when a run goes on: it may go on elsewhere, if not bit for bit."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run depends on; a run is resumed only under an equal plan.

    Attributes:
        model: canonical name of the network; its source where it is not of the zoo.
        data: name of the image source.
        options: resolved.
        spec: ``None`` where the network is not of the zoo.
        images: number of images by split.
        task: name of what its outputs are for.
        headline: name of the figure that it goes by.
    """

    model: str
    data: str
    options: TrainingOptions
    spec: ModelSpec | None
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    images: Mapping[str, int]
    task: str = CLASSIFY
    headline: str = "top1"

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        return (self.preprocessing.channels, *self.preprocessing.size)


@dataclass(frozen=True, slots=True)
class TestRecord:
    """The last line of ``metrics.jsonl``, where each of the figures has a key of its own.

    Attributes:
        split: ``test``, or ``validation`` where the data have no test images.
        n: images.
        figures: of the task, by name; ``None`` for one that the images do not tell.
        seconds: of the whole training, over all sessions.
        classes: figures of each class, where classes are what images have; empty in runs from
            before they were kept.
        details: of other tasks.
    """

    split: str
    n: int
    loss: float
    figures: Mapping[str, float | None]
    epochs: int
    seconds: float
    classes: tuple[ClassFigures, ...] = ()
    details: Details = field(default=NO_DETAILS, metadata=SPARSE)


class RunFolder:
    """The files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / FILE_NAME
        self.state = path / "state.pt"
        self.metrics = path / "metrics.jsonl"
        self.curves = path / "curves.png"
        self.confusions = path / "confusions.png"
        self.options = path / "options.json"

    def finished(self) -> bool:
        """Whether the run is complete."""
        return self.checkpoint.exists() and not self.state.exists()

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Refuses a folder that cannot be used, before anything is done.

        Raises:
            OutputError: it holds results and neither `resume` nor `overwrite` is set, or it is
                no folder.
            UsageError: nothing to resume, or both ways at once.
        """
        if resume and overwrite:
            raise UsageError("--resume and --overwrite exclude each other: give one of them")
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file: expected a folder for the run, new or empty")
        if resume and self._recorded() is None:
            raise UsageError(f"{self.path} holds no run to resume: leave out --resume to start one")
        if resume or overwrite:
            return
        for file in (self.checkpoint, self.state, self.metrics, self.curves):
            if file.exists():
                raise OutputError(self._taken(file))
        if self.options.exists() and self._recorded() is None:
            raise OutputError(
                f"{self.options} is not of a training run: choose another folder, or replace it "
                f"with --overwrite"
            )

    def _taken(self, file: Path) -> str:
        """Why nothing new can begin here, and what can be done instead."""
        others = "replace it with --overwrite, or choose another folder with -o"
        if self._recorded() is None:
            return f"{self.path} already holds {file.name}: {others}"
        go_on = shlex.join(["edgekit", "train", "--resume", "-o", str(self.path)])
        if self.finished():
            return (
                f"{self.path} already holds a finished run: train it further with "
                f"'{go_on} --epochs N', {others}"
            )
        return f"{self.path} already holds an unfinished run: go on with '{go_on}', {others}"

    @contextmanager
    def held(self, *, resume: bool, overwrite: bool) -> Iterator[None]:
        """The folder, made where missing, for this process alone.

        Raises:
            UsageError: another process is at work there.
            OutputError: as `check`, or it cannot be made.
        """
        with output_folder(self.path), one_writer(self.path, "training"):
            # Another process may have used it between the first look and the lock.
            self.check(resume=resume, overwrite=overwrite)
            yield

    def compare(self, plan: Plan) -> None:
        """Holds a plan against the one that the run was started with.

        A finished run may have more epochs from now on.

        Raises:
            UsageError: they differ; names the first difference.
        """
        recorded = self._recorded() or {}
        # An option that is younger than the run had no effect on it: that is what defaults mean.
        options = recorded["options"] = {
            **to_json(TrainingOptions()),
            **recorded.get("options", {}),
        }
        if self.finished():
            done = self.test_record().epochs
            if plan.options.known_epochs < done:
                raise UsageError(
                    f"{self.path} has {counted_words(done, 'epoch')} already, and --epochs "
                    f"asks for {plan.options.known_epochs}: give more of them, or start anew with "
                    f"--overwrite"
                )
            options["epochs"] = plan.options.known_epochs
        difference = _first_difference(recorded, _described(plan), "")
        if difference is not None:
            name, then, now = difference
            raise UsageError(
                f"{self.path} was started with {name} {_short(then)}, not {_short(now)}: "
                f"resume with the same, or start anew with --overwrite"
            )

    def begin(self, plan: Plan) -> None:
        """Records the plan in place of any earlier run.

        Raises:
            OutputError: the folder cannot be written.
        """
        with named_failures(self.path):
            for file in (
                self.checkpoint, self.state, self.metrics, self.curves, self.confusions
            ):  # fmt: skip
                file.unlink(missing_ok=True)
        self._write(self.options, (json.dumps(_described(plan), indent=1) + "\n").encode())

    def extend(self, plan: Plan) -> None:
        """Records that the run has more epochs from now on.

        Raises:
            OutputError: the folder cannot be written.
        """
        self._write(self.options, (json.dumps(_described(plan), indent=1) + "\n").encode())

    def started_with(self) -> tuple[str, str, TrainingOptions] | None:
        """Network, images and options of the run, but those of the machine; ``None`` for no run.

        Raises:
            OutputError: the folder cannot be read.
            CheckpointError: what was recorded was changed.
        """
        recorded = self._recorded()
        if recorded is None:
            return None
        defaults = to_json(TrainingOptions())
        try:
            options = {**defaults, **recorded["options"]}
            options.update({name: defaults[name] for name in OF_THE_MACHINE})
            model, data = recorded["model"], recorded["data"]
            if not isinstance(model, str) or not isinstance(data, str):
                raise TypeError("model and data: expected text")
            return model, data, from_json(TrainingOptions, options)
        except (LookupError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.options} was changed ({reason(error)}): start anew with --overwrite"
            ) from error

    def history(self, headline: str) -> list[EpochRecord]:
        """The epochs of a finished run.

        Args:
            headline: name of the figure that they have.

        Raises:
            CheckpointError: ``metrics.jsonl`` is missing or was changed.
        """
        try:
            lines = read_text(self.metrics, LARGEST_RESULTS).splitlines()[:-1]
            return [epoch_of(parse_json(line), headline) for line in lines]
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.metrics} does not have the epochs of a finished run: {error}"
            ) from error

    def load_state(self) -> dict[str, Any] | None:
        """What `save_state` wrote last; ``None`` before the end of the first epoch.

        Raises:
            CheckpointError: the file is damaged.
        """
        if not self.state.exists():
            return None
        state = load_plain(self.state)
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise CheckpointError(
                f"{self.state} is not the state of a training: start anew with --overwrite"
            )
        return state

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Saves what is needed to go on: plain data and tensors."""
        save_plain(self.state, {"format": FORMAT, **state})

    def write_metrics(
        self, history: Sequence[EpochRecord], headline: str, test: TestRecord | None = None
    ) -> None:
        """Writes one line per epoch, and the figures on the test images behind them."""
        lines = [plain_epoch(record, headline) for record in history]
        if test is not None:
            plain = to_json(test)
            figures = plain.pop("figures")
            lines.append({**plain, **figures})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._write(self.metrics, text.encode())

    def draw_curves(self, history: Sequence[EpochRecord], figure: str, title: str) -> None:
        """Draws loss and figure over the epochs.

        Args:
            figure: what people call the figure.
        """
        from edgekit.training.curves import draw

        self._write(self.curves, draw(history, figure, title))

    def draw_confusions(self, confusion: Confusion, title: str) -> None:
        """Draws which classes are taken for which."""
        from edgekit.training.curves import draw_confusions

        self._write(self.confusions, draw_confusions(confusion, title))

    def finish(self, checkpoint: Checkpoint) -> None:
        """Saves the trained network; then the state has served its purpose."""
        save_checkpoint(self.checkpoint, checkpoint)
        with named_failures(self.state):
            self.state.unlink(missing_ok=True)

    def test_record(self) -> TestRecord:
        """The figures of a finished run.

        Raises:
            CheckpointError: ``metrics.jsonl`` is missing or was changed.
        """
        try:
            last = read_text(self.metrics, LARGEST_RESULTS).rstrip().rpartition("\n")[2]
            plain = parse_json(last)
            own = {one.name for one in fields(TestRecord)}
            figures = {name: plain.pop(name) for name in [*plain] if name not in own}
            return from_json(TestRecord, {**plain, "figures": figures})
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.metrics} does not end with the figures of a finished run: {error}"
            ) from error

    def _recorded(self) -> dict[str, Any] | None:
        """What `begin` wrote; ``None`` if there is no such file or it is something else."""
        try:
            recorded = parse_json(read_bytes(self.options, LARGEST_NOTE))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            raise OutputError(f"{self.options} cannot be read: {error.strerror}") from error
        ours = isinstance(recorded, dict) and recorded.get("format") == FORMAT
        return recorded if ours else None

    def _write(self, path: Path, content: bytes) -> None:
        replace_file(path, lambda file: file.write(content))


def plain_epoch(record: EpochRecord, headline: str) -> dict[str, Any]:
    """An epoch as plain data, its figures under their name."""
    return {
        f"{name.removesuffix('figure')}{headline}" if name.endswith("_figure") else name: value
        for name, value in to_json(record).items()
        if name != "title"
    }


def epoch_of(plain: Mapping[str, Any], headline: str) -> EpochRecord:
    """The epoch of `plain_epoch`.

    Raises:
        FormError: it is none.
    """
    figures = {f"{split}_{headline}": f"{split}_figure" for split in ("train", "validation")}
    return from_json(EpochRecord, {figures.get(name, name): v for name, v in plain.items()})


def _described(plan: Plan) -> dict[str, Any]:
    plain = {"format": FORMAT, **to_json(plan)}
    if plan.task == CLASSIFY:  # as they always were
        del plain["task"], plain["headline"]
    return plain


def _first_difference(then: Any, now: Any, name: str) -> tuple[str, Any, Any] | None:
    """Name and both values of the first entry that is not the same in two plain structures."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in then if key not in now)]:
            if key in OF_THE_MACHINE:
                continue
            found = _first_difference(then.get(key), now.get(key), key)
            if found is not None:
                return found
        return None
    return None if then == now else (name, then, now)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False).strip('"')
    return text if len(text) <= 60 else text[:57] + "..."
