"""Using a network, as an artifact or in PyTorch: predict, evaluate, score."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit import contract
from edgekit.core import CLASSIFY, ImageSource, Preprocessing, class_count
from edgekit.data import decoded_for, open_source, preprocess, split_for
from edgekit.data.decode import Picture, pixels_of
from edgekit.data.finite import check_finite, namer
from edgekit.data.scores import check_kind, class_names, kind_of, probabilities
from edgekit.data.stored import real_values, stored_values
from edgekit.errors import DataError, ModelError, UsageError
from edgekit.stated import NOTHING, Stated, as_stated, assumed, check_contract, unsaid

if TYPE_CHECKING:
    from edgekit.core import Pixels
    from edgekit.models.source import Model
    from edgekit.models.taking import Network, Size

Scores = NDArray[np.float32]
Done = Callable[[int, int], None]
"""Told how many of how many images are done."""


class Classifier(Protocol):
    """Anything that turns prepared images into class scores.

    Attributes:
        words: how it was named.
        target: its format; ``pytorch`` for networks.
        classes: number of classes; two for one output.
        labels: class names; ``None`` when unknown.
        seen: image sources that its weights or ranges come from; ``None`` for unknown ones.
        trained: whether it has weights that were given.
        assumed: whether nobody said how images are prepared for it; `preprocessing` is then the
            usual one for photographs.
        unsaid: which parts of that nobody said; see `edgekit.stated.unsaid`.
        batch: images that one call of `scores` takes best.
        notes: in which other way than it was built a network has to be run.
    """

    words: str
    target: str
    preprocessing: Preprocessing
    classes: int
    labels: tuple[str, ...] | None
    seen: tuple[str | None, ...]
    trained: bool
    assumed: bool
    unsaid: tuple[str, ...]
    batch: int

    @property
    def meaning(self) -> str:
        """What the outputs are, of `edgekit.core.SCORES`."""

    notes: tuple[str, ...]

    def scores(self, images: NDArray[np.float32]) -> Scores:
        """Class scores (n, classes) of prepared images, in the preprocessing's layout."""


class ArtifactClassifier:
    """An exported file in its runtime."""

    batch = 1
    assumed = False
    unsaid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, opened: contract.OpenArtifact) -> None:
        facts = opened.contract
        assert facts.preprocessing is not None
        assert facts.scores is not None
        self.words = str(opened.path)
        self.target = facts.target
        self.preprocessing = facts.preprocessing
        columns = facts.outputs[0].shape[-1]
        self.classes, self.labels = class_count(columns), class_names(facts.labels, columns)
        self.meaning = facts.scores
        calibration = facts.scheme.calibration_data
        self.seen: tuple[str | None, ...] = (
            facts.data,
            calibration and calibration.rpartition(", ")[0],
        )
        self.trained = facts.trained
        self._runner = opened.runner
        self._image, self._scores = facts.inputs[0], facts.outputs[0]

    def scores(self, images: NDArray[np.float32]) -> Scores:
        """One run per image: exported files have batch 1."""
        rows = [
            self._runner.run([stored_values(np.ascontiguousarray(image[None]), self._image)])[0]
            for image in images
        ]
        return real_values(np.concatenate(rows), self._scores)


class ModelClassifier:
    """A network in PyTorch.

    Raises:
        ModelError: its scores depend on more than the image that they are of.
    """

    target = "pytorch"
    batch = 32

    def __init__(self, model: Model) -> None:
        from edgekit.models.copying import own_copy
        from edgekit.models.purity import as_function

        model = as_function(model)
        self.notes = model.notes or ()
        self.words = model.words
        self.assumed = model.preprocessing is None
        self.unsaid = unsaid(model, NOTHING)
        self.preprocessing = model.preprocessing or assumed(model, None)
        self.classes = class_count(model.classes)
        self.labels = class_names(model.labels, model.classes)
        self._meaning = model.scores
        self.seen: tuple[str | None, ...] = (model.data,)
        self.trained = model.trained
        self._module = own_copy(model.module)

    @property
    def meaning(self) -> str:
        """As given, or as its outputs for noise look."""
        from edgekit.verification.samples import BATCH, noise, strained_scores

        if self._meaning is None:
            images = noise(replace(self.preprocessing, layout="NCHW"), BATCH)
            strained = partial(strained_scores, self._module, images)
            self._meaning = kind_of(self.scores(images), strained)
        return self._meaning

    def scores(self, images: NDArray[np.float32]) -> Scores:
        """Runs the batch as one."""
        from edgekit.verification.samples import reference_scores

        return reference_scores(self._module, images)


def open_classifier(
    source: Network,
    *,
    weights: Path | str | None = None,
    resolution: int | None = None,
    size: Size | None = None,
    threads: int | None = None,
    embedded: bool = False,
    scores: str | None = None,
    stated: Stated = NOTHING,
    data: ImageSource | None = None,
) -> Classifier:
    """Opens an artifact or a network.

    Args:
        source: ARTIFACT, or a network in any form; see `edgekit.models.taking.Network`.
        weights: for a network's name; see `edgekit.models.source.open_model`.
        size: of a network's image, where it is no square; see `edgekit.models.taking.Size`.
        threads: of the runtime; its own choice by default.
        embedded: trust the contract inside an artifact; see `edgekit.contract.load`.
        scores: what the outputs of a network are, of `edgekit.core.SCORES`; found from a few
            images of noise if ``None``. The contract says it of an artifact.
        stated: how images are prepared and what classes are called, before what a network itself
            says; nothing else than a contract.
        data: images whose size says how they are prepared, where nobody does.

    Raises:
        InputError: what was named cannot be used.
        UsageError: options that do not go with what was named.
    """
    words = str(os.fspath(source)) if isinstance(source, str | os.PathLike) else ""
    if words and contract.is_artifact(words):
        if any(one is not None for one in (weights, resolution, size)):
            raise UsageError(
                f"'{words}' is an artifact: --weights and --resolution go with networks only"
            )
        opened = contract.open_artifact(Path(words), threads=threads, embedded=embedded)
        _check_task(words, opened.contract.task)
        if scores not in (None, opened.contract.scores):
            raise UsageError(
                f"--scores {scores}: the contract of {words} says that its outputs are "
                f"{opened.contract.scores}; export it again with --scores {scores} to change that"
            )
        facts = check_contract(opened.contract, stated, words)
        return ArtifactClassifier(replace(opened, contract=facts))
    if embedded:
        raise UsageError(
            f"'{words or type(source).__name__}' is no artifact: --embedded goes with artifacts "
            f"only"
        )
    import torch

    from edgekit.models.source import Model
    from edgekit.models.taking import model_of

    if threads is not None:
        torch.set_num_threads(threads)
    task = None if isinstance(source, Model) else CLASSIFY
    model = model_of(source, weights=weights, resolution=resolution, size=size, task=task)
    _check_task(model.words, model.task)
    missing = unsaid(model, stated)
    model = as_stated(model, stated, data)
    if scores is not None:
        check_kind(scores, model.classes, model.words)
        model = replace(model, scores=scores)
    classifier = ModelClassifier(model)
    classifier.unsaid = missing
    if classifier.assumed and data is not None:
        classifier.preprocessing = preprocess.for_source(data, classifier.preprocessing.crop)
    return classifier


def _check_task(words: str, task: str) -> None:
    """Refuses outputs that are no scores of classes.

    Raises:
        ModelError: as said.
    """
    if task != CLASSIFY:
        raise ModelError(
            f"'{words}' is of the task {task}: what its outputs mean is known to nobody but its "
            f"user, so that there is nothing to predict or evaluate; 'edgekit verify' says how "
            f"closely a file follows its network, 'edgekit profile' how fast it is"
        )


@dataclass(frozen=True, slots=True)
class Label:
    """A class, its name where it has one, and how sure the network is, from 0 to 1."""

    index: int
    label: str | None
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The likeliest classes of one image."""

    image: str
    labels: tuple[Label, ...]


def predict(
    classifier: Classifier, images: Iterable[Picture], top: int = 5
) -> Iterator[Prediction]:
    """Classifies images, one after the other.

    Args:
        images: files, images of Pillow's or pixels; see `edgekit.data.decode.Picture`.

    Raises:
        DataError: a file is no image, or cannot be prepared as the network needs it.
        ModelError: an output is not a finite number.
    """
    for i, picture in enumerate(images):
        facts = classifier.preprocessing
        name = str(picture) if isinstance(picture, str | os.PathLike) else f"image {i}"
        image = _prepared(pixels_of(picture, name, facts.exif, facts.alpha), name, facts)
        scores = _scores(classifier, image[None], partial(_only, name))
        shares = probabilities(scores, classifier.meaning)[0]
        best = np.argsort(-shares, kind="stable")[:top]
        names = classifier.labels
        yield Prediction(
            name,
            tuple(Label(int(i), names[i] if names else None, float(shares[i])) for i in best),
        )


def _only(name: str, _: int) -> str:
    return name


def _scores(
    classifier: Classifier, images: NDArray[np.float32], name: Callable[[int], str]
) -> Scores:
    """Class scores that are numbers."""
    scores = classifier.scores(images)
    check_finite(scores, f"'{classifier.words}'", name)
    return scores


def _prepared(image: Pixels, name: str, preprocessing: Preprocessing) -> NDArray[np.float32]:
    try:
        return preprocess.prepare(image, preprocessing)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracy on a split of a source.

    Attributes:
        top1: share of images whose likeliest class is right.
        top5: share of images whose class is among the five likeliest; ``None`` below 5 classes.
        n: images.
    """

    top1: float
    top5: float | None
    n: int
    data: str
    split: str


def evaluate(
    classifier: Classifier,
    data: str | ImageSource,
    *,
    split: str | None = None,
    skip_corrupt: bool = False,
    done: Done | None = None,
) -> Evaluation:
    """Measures accuracy.

    Args:
        data: SRC, or an open source.
        split: by default the test split, where the source has one of its own or the network was
            trained on this source; else all images.
        skip_corrupt: leave out images that cannot be decoded, instead of failing.

    Raises:
        DataError: the source cannot be used, or its classes are not the network's.
        UsageError: the source has no such split.
        ModelError: an output is not a finite number.
    """
    source = open_source(data, skip_corrupt=skip_corrupt) if isinstance(data, str) else data
    split = split_for(source, split or default_split(source, *classifier.seen))
    to_output = output_of_label(classifier, source)
    facts = classifier.preprocessing
    if classifier.assumed:
        suited = preprocess.for_source(source, facts.crop)
        facts = preprocess.of_channels(suited, facts.channels)
    source = decoded_for(source, facts)
    size = source.size(split)
    hits1 = hits5 = 0
    for start in range(0, size, classifier.batch):
        indices = range(start, min(size, start + classifier.batch))
        images = np.stack(
            [
                _prepared(
                    source.image(split, i),
                    namer(source, split)(i),
                    facts,
                )
                for i in indices
            ]
        )
        truth = np.array([to_output[source.label(split, i)] for i in indices])
        scores = _scores(classifier, images, namer(source, split, start))
        if scores.shape[1] == 1:
            scores = probabilities(scores, classifier.meaning).astype(np.float32)
        ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        hits = ranked == truth[:, None]
        hits1 += int(hits[:, 0].sum())
        hits5 += int(hits.any(axis=1).sum())
        if done is not None:
            done(indices.stop, size)
    top5 = hits5 / size if classifier.classes >= 5 else None
    return Evaluation(hits1 / size, top5, size, source.name, split)


def default_split(source: ImageSource, *seen: str | None) -> str:
    """``test`` where images were kept apart for it; ``all`` for a folder of other images.

    Args:
        seen: sources that weights or ranges come from.
    """
    own = Path(source.name).resolve()
    same = any(words is not None and own == Path(words).resolve() for words in seen)
    return "test" if source.keeps_test or same else "all"


def output_of_label(classifier: Classifier, source: ImageSource) -> Sequence[int]:
    """For each label of a source the output that stands for it.

    Raises:
        DataError: a class of the source is none of the network's.
    """
    if classifier.labels is None:
        if len(source.classes) != classifier.classes:
            raise DataError(
                f"'{classifier.words}' has {classifier.classes} outputs without names, "
                f"'{source.name}' has {len(source.classes)} classes: expected the same number"
            )
        return range(classifier.classes)
    missing = [name for name in source.classes if name not in classifier.labels]
    if missing:
        raise DataError(
            f"class '{missing[0]}' of '{source.name}' is none of the {len(classifier.labels)} "
            f"classes of '{classifier.words}' ({', '.join(classifier.labels[:3])}, ...)"
        )
    return [classifier.labels.index(name) for name in source.classes]
