"""The accuracy ladder: the cheapest way to integers that keeps the accuracy.

Each rung costs more than the one before it, in time to make it or in speed. The first one whose
top-1 on held-out images is within the bound is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.contract import OpenArtifact
from edgekit.core import Artifact, ImageSource, Quantizing, Rung, Scheme, Target
from edgekit.core.forms import CORRECTION, SMALL_WEIGHTS, WEIGHTS
from edgekit.data import open_source
from edgekit.errors import DataError, EdgekitError, OutputError, UnavailableError
from edgekit.foreign import explained
from edgekit.inference import ArtifactClassifier, ModelClassifier, evaluate
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.measure.statistics import summary
from edgekit.measure.subjects import Subject
from edgekit.models.source import Model
from edgekit.quantize.calibration import Calibration

FLOAT_LAYERS = (2, 4, 8)
"""How many of the worst layers are kept in float, one rung after the other."""

LATENCY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Built:
    """A file that was made for a rung, not published yet.

    Attributes:
        path: of the file.
        content_sha256: of the files before the contract was put in: equal for equal networks.
        seconds: that the target's part of it took.
        worst: paths of layers by the noise that each adds.
        warning: what the user should know of it.
    """

    path: Path
    artifact: Artifact
    content_sha256: str
    seconds: float
    worst: Callable[[], Sequence[str]]
    warning: str | None = None


Build = Callable[[str, Scheme, Model | None], Built]
"""Makes the file of a rung: its name, its scheme, and the network, where that is another one."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Images that neither training nor calibration saw, and what the float network makes of them.

    Attributes:
        top1: of the float network, a fraction.
    """

    source: ImageSource
    split: str
    top1: float

    def score(self, built: Built, target: Target) -> float:
        """Top-1 of a file."""
        told = f"{built.path.name} cannot be run by {target.runtime}: "
        with explained(told.__add__):
            runner = target.open(built.path)
            opened = OpenArtifact(built.path, built.artifact, target, runner)
            return evaluate(
                ArtifactClassifier(opened), self.source, split=self.split
            ).headline.value


def held_out(
    model: Model,
    data: str | None,
    *,
    calibration: Calibration | None = None,
    skip_corrupt: bool = False,
) -> HeldOut:
    """Opens the images on which accuracy is judged.

    Args:
        data: SRC; that of the training if ``None``.
        calibration: images that must not be among them.
        skip_corrupt: leave out images that cannot be decoded, instead of failing.

    Raises:
        DataError: there are none, or nothing is kept apart in them.
    """
    words = data or model.data
    if words is None:
        raise DataError(
            f"'{model.words}' has no images that its accuracy could be judged on: give labelled "
            f"ones with --data SRC"
        )
    source = open_source(words, skip_corrupt=skip_corrupt)
    split = "validation"
    if split not in source.splits:
        raise DataError(
            f"'{source.name}' keeps no images apart for judging accuracy: expected a split "
            f"'{split}'"
        )
    if calibration is not None:
        calibration.check_apart(source, split)
    found = evaluate(ModelClassifier(model), source, split=split)
    return HeldOut(source, split, found.headline.value)


def climb(
    target: Target,
    plain: Scheme,
    build: Build,
    judge: HeldOut,
    max_drop: float,
    retrain: Callable[[Scheme], Model] | None,
    notify: Callable[[str], None],
) -> tuple[Built | None, tuple[Rung, ...]]:
    """Tries rung after rung.

    Args:
        plain: the scheme of the first rung.
        max_drop: points of top-1 that may be lost.
        retrain: trains the network for the integers of a scheme; ``None`` where there is no data.

    Returns:
        The file of the last rung that could be made, and all rungs; whether the last one
        ``passed`` says whether the bound holds.
    """
    climbing = _Climb(target, plain, retrain)
    for name, scheme, model in climbing.steps():
        notify(f"{target.name} {plain.precision}: {name}")
        try:
            built = build(name, scheme, model(scheme) if model is not None else None)
            top1 = judge.score(built, target)
        except (OutputError, UnavailableError):
            raise  # no other rung would fare better
        except EdgekitError as error:
            climbing.rungs.append(Rung(name, None, None, None, None, False, str(error)))
            continue
        drop = 100 * (judge.top1 - top1)
        agreement = built.artifact.agreement
        passed = drop <= max_drop + 1e-9 and agreement is not None and agreement.passed
        size, latency = built.artifact.size_bytes, _latency_ms(built.path)
        climbing.rungs.append(Rung(name, top1, drop, size, latency, passed))
        if passed:
            return built, tuple(climbing.rungs)
        climbing.keep(built, top1)
    return climbing.best, tuple(climbing.rungs)


class _Climb:
    """What has been tried, and what is to be tried next.

    Attributes:
        best: the file with the best accuracy so far.
        best_plain: the same among those of the precision that was asked for.
    """

    def __init__(
        self, target: Target, plain: Scheme, retrain: Callable[[Scheme], Model] | None
    ) -> None:
        self._target, self._plain, self._retrain = target, plain, retrain
        self.rungs: list[Rung] = []
        self.best: Built | None = None
        self.best_plain: Built | None = None
        self._top1 = self._top1_plain = -1.0

    def keep(self, built: Built, top1: float) -> None:
        """Notes a file that was not good enough."""
        if top1 > self._top1:
            self.best, self._top1 = built, top1
        same = built.artifact.scheme.precision == self._plain.precision
        if same and top1 > self._top1_plain:
            self.best_plain, self._top1_plain = built, top1

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
        return self._plain if self.best_plain is None else self.best_plain.artifact.scheme

    def _worst(self) -> list[str]:
        if self.best_plain is None:
            return []
        try:
            worst = self.best_plain.worst()
        except EdgekitError as error:  # other rungs need no layers
            self.rungs.append(Rung("layers in float", None, None, None, None, False, str(error)))
            return []
        return [path for path in worst if path not in self._plain.float_layers]


def _latency_ms(path: Path) -> float | None:
    """p50 with one thread; ``None`` where the runtime does not get to the end."""
    try:
        measured = profile([Subject(str(path))], Effort(LATENCY_SECONDS), energy="off")
    except EdgekitError:
        return None
    if measured.interrupted:
        raise KeyboardInterrupt
    return summary(measured.measurements[0].blocks).p50_ms
