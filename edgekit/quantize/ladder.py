"""The accuracy ladder: the cheapest way to integers that keeps the accuracy.

Each rung costs more than the one before it, in time to make it or in speed. The first one whose
figure on held-out samples is within the bound is taken: the task's headline figure where there are
labels, such as top-1, and how well the file follows the network where there are none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from edgekit.arrays import array_files
from edgekit.contract import OpenArtifact
from edgekit.core import Artifact, ImageSource, Quantizing, Rung, Scheme, Target
from edgekit.core.forms import CORRECTION, SMALL_WEIGHTS, WEIGHTS
from edgekit.core.text import counted_words
from edgekit.data import open_source
from edgekit.data.finite import check_finite
from edgekit.devices.device import HOST, Device
from edgekit.devices.runner import open_file
from edgekit.errors import DataError, EdgekitError, OutputError, UnavailableError
from edgekit.foreign import explained
from edgekit.inference import ArtifactClassifier, ModelClassifier, evaluate
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.measure.statistics import summary
from edgekit.measure.subjects import Subject
from edgekit.models.model import Model
from edgekit.quantize.calibration import Calibration
from edgekit.tasks import task_of
from edgekit.verification.artifact import rows_of_file
from edgekit.verification.reference import Reference
from edgekit.verification.samples import image_rows, most_samples, reference_scores, tensor_samples

FLOAT_LAYERS = (2, 4, 8)
"""How many of the worst layers are kept in float, one rung after the other."""

LATENCY_SECONDS = 2.0

LEAST_JUDGES = 16
"""Inputs without labels that files are judged on, at least."""


@dataclass(frozen=True, slots=True)
class Built:
    """A file that was made for a rung, not published yet.

    Attributes:
        path: of the file.
        scheme: that was asked for; the artifact has what was written.
        content_sha256: of the files before the contract was put in: equal for equal networks.
        seconds: that the target's part of it took.
        worst: paths of layers by the noise that each adds.
        warning: what the user should know of it.
    """

    path: Path
    scheme: Scheme
    artifact: Artifact
    content_sha256: str
    seconds: float
    worst: Callable[[], Sequence[str]]
    warning: str | None = None


Build = Callable[[str, Scheme, Model | None], Built]
"""Makes the file of a rung: its name, its scheme, and the network, where that is another one."""


class Judge(Protocol):
    """What files are judged by, on samples that shaped none of them."""

    @property
    def title(self) -> str:
        """Of the figure, as people write it."""

    @property
    def headline(self) -> float:
        """The figure of the float network, a fraction; higher is better."""

    @property
    def where(self) -> str:
        """The samples, for messages."""

    @property
    def device(self) -> Device:
        """That files run on."""

    def score(self, built: Built, target: Target) -> float:
        """The same figure of a file."""


def drop_points(judge: Judge, score: float) -> float:
    """Points of the figure that a file has lost."""
    return 100 * (judge.headline - score)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Labelled images that neither training nor calibration saw.

    Attributes:
        headline: of the float network, the figure that its task is judged by.
        figure: name of that figure.
        title: the same as people write it.
        device: that files run on.
    """

    source: ImageSource
    split: str
    headline: float
    figure: str = "top1"
    title: str = "top-1"
    device: Device = HOST

    @property
    def where(self) -> str:
        """Source and split."""
        return f"'{self.source.name}', {self.split}"

    def score(self, built: Built, target: Target) -> float:
        """The same figure of a file."""
        told = f"{built.path.name} cannot be run by {target.runtime}: "
        with explained(told.__add__):
            runner = open_file(target, built.path, None, device=self.device)
            opened = OpenArtifact(built.path, built.artifact, target, runner)
            return evaluate(
                ArtifactClassifier(opened), self.source, split=self.split
            ).headline.value


@dataclass(frozen=True, slots=True)
class Followed:
    """Samples without labels that did not calibrate: the network's outputs are what is right.

    Attributes:
        reference: the network, with the samples and what it gives for them.
        device: that files run on.
    """

    title: ClassVar[str] = "agreement"

    reference: Reference
    device: Device = HOST

    @property
    def headline(self) -> float:
        """The network follows itself."""
        return 1.0

    @property
    def where(self) -> str:
        """How many inputs of which."""
        return f"{counted_words(len(self.reference.images), 'input')} of '{self.reference.data}'"

    def score(self, built: Built, target: Target) -> float:
        """How well a file follows; see `edgekit.tasks.Task.followed`."""
        told = f"{built.path.name} cannot be run by {target.runtime}: "
        with explained(told.__add__):
            rows = rows_of_file(self.reference, target, built.path, self.device)
        return self.reference.task.followed(self.reference.scores, rows)


def judge_of(
    model: Model,
    data: str | None,
    *,
    calibration: Calibration | None = None,
    skip_corrupt: bool = False,
    device: Device = HOST,
) -> Judge:
    """Opens the samples that files are judged on: labelled ones where the task has labels.

    Args:
        data: SRC; that of the training if ``None``.
        calibration: samples that must not be among them.
        skip_corrupt: leave out samples that cannot be decoded, instead of failing.
        device: that files run on.

    Raises:
        DataError: there are none, or nothing is kept apart in them.
    """
    find = held_out if task_of(model).labelled else followed
    judge = find(model, data, calibration=calibration, skip_corrupt=skip_corrupt)
    return dataclasses.replace(judge, device=device)


def followed(
    model: Model,
    data: str | None,
    *,
    calibration: Calibration | None = None,
    skip_corrupt: bool = False,
) -> Followed:
    """Opens inputs without labels; see `judge_of`.

    Raises:
        DataError: too few of them did not calibrate.
        ModelError: the network gives (nearly) the same outputs for all of them.
    """
    chosen = data or model.data
    if chosen is None:
        raise DataError(
            f"'{model.source}' has no inputs that its files could be judged on: give some, labels "
            f"are not needed, with --data SRC"
        )
    taken_most = 0 if calibration is None else len(calibration.images)
    if array_files(chosen):
        least = LEAST_JUDGES + taken_most
        samples = tensor_samples(model, chosen, skip_corrupt, noise=False, least=least)
    else:
        samples = image_rows(model, chosen, skip_corrupt, split="validation")
    rows = samples.images
    if calibration is not None:
        taken = {row.tobytes() for row in calibration.images.reshape(len(calibration.images), -1)}
        rows = rows[[row.tobytes() not in taken for row in rows]]
    rows = rows[: max(LEAST_JUDGES, most_samples(model))]
    if len(rows) < LEAST_JUDGES:
        raise DataError(
            f"'{chosen}' has {counted_words(len(rows), 'input')} that files could be judged on, "
            f"besides those that "
            f"calibrate: expected {LEAST_JUDGES} at least; give others with --data, or let fewer "
            f"calibrate with --calibration-images"
        )
    outputs = reference_scores(model.on_rows, rows)
    check_finite(outputs, f"'{model.source}'", lambda i: f"input {i} ({chosen})", model.told)
    reference = Reference(model, rows, outputs, chosen, samples.skipped)
    reference.task.check_reference(outputs, f"'{model.source}'")
    return Followed(reference)


def held_out(
    model: Model,
    data: str | None,
    *,
    calibration: Calibration | None = None,
    skip_corrupt: bool = False,
) -> HeldOut:
    """Opens the labelled images on which accuracy is judged; see `judge_of`.

    Raises:
        DataError: there are none, or nothing is kept apart in them.
    """
    chosen = data or model.data
    if chosen is None:
        raise DataError(
            f"'{model.source}' has no images that its accuracy could be judged on: give labelled "
            f"ones with --data SRC"
        )
    source = open_source(chosen, skip_corrupt=skip_corrupt)
    split = "validation"
    if split not in source.splits:
        raise DataError(
            f"'{source.name}' keeps no images apart for judging accuracy: expected a split "
            f"'{split}'"
        )
    if calibration is not None:
        calibration.check_apart(source, split)
    found = evaluate(ModelClassifier(model), source, split=split)
    task = task_of(model)
    return HeldOut(source, split, found.headline.value, task.headline, task.title)


def climb(
    target: Target,
    plain: Scheme,
    build: Build,
    judge: Judge,
    max_drop: float,
    retrain: Callable[[Scheme], Model] | None,
    notify: Callable[[str], None],
) -> tuple[Built | None, tuple[Rung, ...]]:
    """Tries rung after rung.

    Args:
        plain: the scheme of the first rung.
        max_drop: points of the judge's figure that may be lost.
        retrain: trains the network for the integers of a scheme; ``None`` where there is no data.

    Returns:
        The file of the last rung that could be made, and all rungs; whether the last one
        ``passed`` says whether the bound holds.
    """
    climbing = _Climb(target, plain, retrain)
    for name, scheme, model in climbing.steps():
        notify(
            f"keeping the accuracy of {target.name} {plain.precision}, {name}, "
            f"{len(climbing.rungs)} of {climbing.most}"
        )
        try:
            built = build(name, scheme, model(scheme) if model is not None else None)
            score = judge.score(built, target)
        except (OutputError, UnavailableError):
            raise  # no other rung would fare better
        except EdgekitError as error:
            climbing.rungs.append(Rung(name, None, None, None, None, False, str(error)))
            continue
        drop = drop_points(judge, score)
        agreement = built.artifact.agreement
        passed = drop <= max_drop + 1e-9 and agreement is not None and agreement.passed
        size, latency = built.artifact.size_bytes, _latency_ms(built.path, judge.device)
        top1 = score if isinstance(judge, HeldOut) and judge.figure == "top1" else None
        rung = Rung(name, top1, drop, size, latency, passed, headline=score)
        climbing.rungs.append(rung)
        if passed:
            return built, tuple(climbing.rungs)
        climbing.keep(built, score)
    return climbing.best, tuple(climbing.rungs)


class _Climb:
    """What has been tried, and what is to be tried next.

    Attributes:
        best: the file with the best figure so far.
        best_plain: the same among those of the precision that was asked for.
    """

    def __init__(
        self, target: Target, plain: Scheme, retrain: Callable[[Scheme], Model] | None
    ) -> None:
        self._target, self._plain, self._retrain = target, plain, retrain
        self.rungs: list[Rung] = []
        self.best: Built | None = None
        self.best_plain: Built | None = None
        self._score = self._score_plain = -1.0

    @property
    def most(self) -> int:
        """How many rungs there are at most."""
        plain, target, most = self._plain, self._target, 1 + len(FLOAT_LAYERS)
        if isinstance(target, Quantizing) and plain.calibration is not None:
            most += len(target.ranges) - 1 + max(0, len(target.forms.get(CORRECTION, ())) - 1)
            most += plain.forms.get(WEIGHTS) == SMALL_WEIGHTS
        wide = "w8a16" in target.schemes and (plain.precision, plain.interface) == ("int8", "float")
        return most + wide + (self._retrain is not None)

    def keep(self, built: Built, score: float) -> None:
        """Notes a file that was not good enough."""
        if score > self._score:
            self.best, self._score = built, score
        same = built.artifact.scheme.precision == self._plain.precision
        if same and score > self._score_plain:
            self.best_plain, self._score_plain = built, score

    def steps(self) -> Iterator[tuple[str, Scheme, Callable[[Scheme], Model] | None]]:
        """Name, scheme and training of each rung; later ones build on the best so far."""
        plain, target = self._plain, self._target
        ranges = "" if plain.calibration is None else f", {plain.calibration}"
        yield f"{plain.precision}{ranges}", plain, None
        if isinstance(target, Quantizing) and plain.calibration is not None:
            for how in target.ranges:
                if how != plain.calibration:
                    yield f"{how} ranges", dataclasses.replace(plain, calibration=how), None
            for value in target.forms.get(CORRECTION, ())[1:]:
                so_far = self._scheme()
                forms = {**so_far.forms, CORRECTION: value}
                yield f"{value} bias correction", dataclasses.replace(so_far, forms=forms), None
            if plain.forms.get(WEIGHTS) == SMALL_WEIGHTS:
                so_far = self._scheme()
                forms = {**so_far.forms, WEIGHTS: "8bit"}
                yield "weights of 8 bits", dataclasses.replace(so_far, forms=forms), None
        worst = self._worst()
        for count in FLOAT_LAYERS:
            if len(worst) >= count:
                layers = (*plain.float_layers, *worst[:count])
                scheme = dataclasses.replace(self._scheme(), float_layers=layers)
                yield f"{count} layers in float", scheme, None
        wide = target.schemes.get("w8a16")
        if wide is not None and plain.precision == "int8" and plain.interface == "float":
            scheme = dataclasses.replace(
                plain, precision=wide.precision, activations=wide.activations
            )
            yield "w8a16", scheme, None
        if self._retrain is not None:
            yield "quantization-aware training", self._scheme(), self._retrain

    def _scheme(self) -> Scheme:
        return self._plain if self.best_plain is None else self.best_plain.scheme

    def _worst(self) -> list[str]:
        if self.best_plain is None:
            return []
        try:
            worst = self.best_plain.worst()
        except EdgekitError as error:  # other rungs need no layers
            self.rungs.append(Rung("layers in float", None, None, None, None, False, str(error)))
            return []
        return [path for path in worst if path not in self._plain.float_layers]


def _latency_ms(path: Path, device: Device) -> float | None:
    """p50 with one thread; ``None`` where the runtime does not get to the end."""
    effort = Effort(LATENCY_SECONDS)
    try:
        measured = profile([Subject(str(path))], effort, device=device, energy="off")
    except EdgekitError:
        return None
    if measured.interrupted:
        raise KeyboardInterrupt
    return summary(measured.measurements[0].blocks).p50_ms
