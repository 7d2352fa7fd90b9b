"""Using a network, as an artifact or in PyTorch: predict, evaluate, score."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgekit import contract
from edgekit.agent.kernel import usable_cores
from edgekit.arrays import row_of
from edgekit.core import CLASSIFY, TENSORS, Artifact, ImageSource, Preprocessing, Side, class_count
from edgekit.data import decoded_for, open_source, preprocess, split_for
from edgekit.data.decode import Picture, pixels_of
from edgekit.data.finite import check_finite, namer
from edgekit.data.scores import check_goes, check_kind, class_names, kind_of
from edgekit.data.stored import real_values, stored_values
from edgekit.data.truths import COUNTED, check_told
from edgekit.devices.device import HOST, Device
from edgekit.devices.simulators import refuse_networks
from edgekit.errors import ContractError, DataError, EdgekitError, UsageError
from edgekit.staging import write_file
from edgekit.stated import (
    NOTHING,
    Stated,
    as_stated,
    assumed,
    assumption,
    check_contract,
    unsaid,
)
from edgekit.tasks import Frame, Prediction, Rows, Task, task_of, task_of_file
from edgekit.tasks.details import Details, details_of
from edgekit.tasks.detect import COUNTED as COUNTED_FROM
from edgekit.tasks.embed import Embed, Embedding, Gallery

if TYPE_CHECKING:
    from edgekit.core import Array, Pixels
    from edgekit.models.model import Model
    from edgekit.models.taking import Network, Size

Done = Callable[[int, int], None]
"""Told how many of how many images are done."""


SETTINGS: Mapping[str, tuple[str, float, float]] = {
    "score_threshold": ("detect", 0, 1),
    "nms_iou": ("detect", 0, 1),
    "max_detections": ("detect", 1, 10_000),
    "distance": ("embed", 0, 1),
}
"""Parameters of tasks that whoever uses a network may set: the task, and from where to where."""


class Classifier(Protocol):
    """Anything that turns prepared images into outputs that mean something.

    Attributes:
        source: how it was named.
        target: its format; ``pytorch`` for networks.
        classes: number of classes; two for one output, 0 where nobody counted those of other tasks
            than scores of classes.
        labels: class names; ``None`` when unknown.
        seen: image sources that its weights or ranges come from; ``None`` for unknown ones.
        trained: whether it has weights that were given.
        assumed: whether nobody said how images are prepared for it; `preprocessing` is then the
            usual one for photographs.
        unsaid: which parts of that nobody said; see `edgekit.stated.unsaid`.
        batch: images that one call of `rows` takes best.
        notes: in which other way than it was built a network has to be run.
        artifact: what the contract of a file says; ``None`` for networks.
        misfit: what to say of a file that was written for another kind of processor.
    """

    source: str
    target: str
    preprocessing: Preprocessing
    classes: int
    labels: tuple[str, ...] | None
    seen: tuple[str | None, ...]
    trained: bool
    assumed: bool
    unsaid: tuple[str, ...]
    batch: int
    notes: tuple[str, ...]
    artifact: Artifact | None
    misfit: str | None

    @property
    def meaning(self) -> str | None:
        """What scores of classes are, of `edgekit.core.SCORES`; ``None`` of other tasks."""

    @property
    def task(self) -> Task:
        """What the outputs mean."""

    def rows(self, images: NDArray[np.float32]) -> Rows:
        """Outputs (n, numbers) of prepared images, in the preprocessing's layout."""

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[Rows]:
        """Outputs of batch after batch; the next one may be asked for before a batch's are there.

        Args:
            batches: of at most `batch` images each.
        """


class ArtifactClassifier:
    """An exported file in its runtime."""

    batch = 1
    assumed = False
    unsaid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, opened: contract.OpenArtifact) -> None:
        artifact = opened.contract
        assert artifact.preprocessing is not None
        self.source = str(opened.path)
        self.artifact: Artifact | None = artifact
        self.target = artifact.target
        self.preprocessing = artifact.preprocessing
        self.task = task_of_file(artifact, self.source)
        self.classes, self.labels = _classes_of(
            artifact.task, artifact.outputs[0].shape[-1], artifact.labels
        )
        self.meaning = artifact.scores
        calibration = artifact.scheme.calibration_data
        self.seen: tuple[str | None, ...] = (
            artifact.data,
            calibration and calibration.rpartition(", ")[0],
        )
        self.trained = artifact.trained
        self.misfit = opened.misfit
        self._runner = opened.runner
        self._image, self._outputs = artifact.inputs[0], artifact.outputs

    def rows(self, images: NDArray[np.float32]) -> Rows:
        """One run per image: exported files have batch 1."""
        return np.concatenate(list(self.stream(image[None] for image in images)))

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[Rows]:
        """The next image is prepared here while the file runs."""
        begun: Callable[[], list[Array]] | None = None
        waiting = iter(batches)
        while True:
            try:
                image = next(waiting, None)
            except EdgekitError:
                if begun is not None:
                    yield self._row(begun())
                raise
            given = (
                None if image is None else stored_values(np.ascontiguousarray(image), self._image)
            )
            if begun is not None:
                yield self._row(begun())
            if given is None:
                return
            begun = self._runner.begin([given])

    def _row(self, found: list[Array]) -> Rows:
        return row_of(
            [real_values(one, spec) for one, spec in zip(found, self._outputs, strict=True)]
        )


class ModelClassifier:
    """A network in PyTorch.

    Raises:
        ModelError: its outputs depend on more than the image that they are of.
    """

    target = "pytorch"
    artifact: Artifact | None = None
    misfit: str | None = None
    batch = 32

    def __init__(self, model: Model) -> None:
        from edgekit.models.copying import own_copy
        from edgekit.models.purity import as_function

        model = as_function(model)
        self.notes = model.notes or ()
        self.source = model.source
        self.assumed = model.preprocessing is None
        self.unsaid = unsaid(model, NOTHING)
        self.preprocessing = model.preprocessing or assumed(model, None)
        self.classes, self.labels = _classes_of(model.task, model.classes, model.labels)
        self._scores = model.scores
        self.seen: tuple[str | None, ...] = (model.data,)
        self.trained = model.trained
        self._model = model
        self.module = own_copy(model.on_rows)  # takes images, or rows of them, as `given` has it

    @property
    def meaning(self) -> str | None:
        """As given, or as its outputs for noise look."""
        from edgekit.verification.samples import BATCH, noise, strained_scores

        if self._scores is None and self._model.task == CLASSIFY:
            images = noise(replace(self.preprocessing, layout="NCHW"), BATCH)
            strained = partial(strained_scores, self.module, images)
            self._scores = kind_of(self.rows(images), strained)
        return self._scores

    @property
    def task(self) -> Task:
        """What the outputs mean, scores of classes among them."""
        return task_of(replace(self._model, scores=self.meaning))

    def rows(self, images: NDArray[np.float32]) -> Rows:
        """Runs the batch as one."""
        from edgekit.verification.samples import reference_scores

        return reference_scores(self.module, self.given(images))

    def given(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Prepared images as `module` takes them."""
        return images if self._model.signature is None else images.reshape(len(images), -1)

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[Rows]:
        """One batch after the other."""
        return map(self.rows, batches)


def _classes_of(
    task: str, columns: int, labels: tuple[str, ...] | None
) -> tuple[int, tuple[str, ...] | None]:
    """How many classes there are, 0 where only the outputs tell it, and what they are called.

    Args:
        columns: scores of a classifier.
    """
    if task == CLASSIFY:
        return class_count(columns), class_names(labels, columns)
    return len(labels or ()), labels


def open_classifier(
    source: Network,
    *,
    weights: Path | str | None = None,
    resolution: Side | None = None,
    size: Size | None = None,
    threads: int | None = None,
    embedded: bool = False,
    scores: str | None = None,
    stated: Stated = NOTHING,
    data: ImageSource | None = None,
    task: str | None = None,
    settings: Mapping[str, float] = MappingProxyType({}),
    device: Device = HOST,
) -> Classifier:
    """Opens an artifact or a network.

    Args:
        source: ARTIFACT, or a network in any form; see `edgekit.models.taking.Network`.
        weights: for a network's name; see `edgekit.models.source.open_model`.
        size: of a network's image, where it is no square; see `edgekit.models.taking.Size`.
        threads: of the runtime; half of the cores by default, its own choice on another device.
        embedded: trust the contract inside an artifact; see `edgekit.contract.load`.
        scores: what the outputs of a network are, of `edgekit.core.SCORES`; found from a few
            images of noise if ``None``. The contract says it of an artifact.
        stated: how images are prepared and what classes are called, before what a network itself
            says; nothing else than a contract.
        data: images whose size says how they are prepared, where nobody does.
        task: of a network, what its outputs are for; what it says itself, or scores of classes, if
            ``None``.
        settings: parameters of its task in place of its own, of `SETTINGS`.
        device: that an artifact runs on; networks run here.

    Raises:
        InputError: what was named cannot be used.
        UsageError: options that do not go with what was named.
    """
    name_or_path = str(os.fspath(source)) if isinstance(source, str | os.PathLike) else ""
    if name_or_path and contract.is_artifact(name_or_path):
        if any(one is not None for one in (weights, resolution, size)):
            raise UsageError(
                f"'{name_or_path}' is an artifact: --weights and --resolution go with networks only"
            )
        if task is not None:
            raise UsageError(
                f"'{name_or_path}' is an artifact, which says its task: leave --task out"
            )
        if threads is None and device.here:
            # The rest prepares the next image, or is the other half of cores with two threads.
            threads = max(1, usable_cores() // 2)
        opened = contract.open_artifact(
            Path(name_or_path), threads=threads, embedded=embedded, device=device
        )
        check_settings(settings, opened.contract.task, name_or_path)
        _check_suppressed(settings, opened.contract, name_or_path)
        parameters = {**opened.contract.parameters, **settings}
        opened = replace(opened, contract=replace(opened.contract, parameters=parameters))
        task_of_file(opened.contract, name_or_path).check_meaning()
        check_goes(scores, name_or_path, opened.contract.task)
        if scores not in (None, opened.contract.scores):
            raise UsageError(
                f"--scores {scores}: the contract of {name_or_path} says that its outputs are "
                f"{opened.contract.scores}; export it again with --scores {scores} to change that"
            )
        artifact = check_contract(opened.contract, stated, name_or_path)
        if artifact.preprocessing is None:
            raise ContractError(
                f"the contract of {name_or_path} does not say how images are prepared, as nobody "
                f"said it of its network: export it again with --mean and --std"
            )
        return ArtifactClassifier(replace(opened, contract=artifact))
    if embedded:
        raise UsageError(
            f"'{name_or_path or type(source).__name__}' is no artifact: --embedded goes with "
            f"artifacts only"
        )
    refuse_networks(device, name_or_path or type(source).__name__)
    import torch

    from edgekit.models.model import Model
    from edgekit.models.taking import model_of

    if threads is not None:
        torch.set_num_threads(threads)
    opened_as = partial(model_of, source, weights=weights, resolution=resolution, size=size)
    if task is None and not isinstance(source, Model):
        try:
            model = opened_as(task=CLASSIFY)
        except UsageError:
            model = opened_as(task=None)
            if model.task in (CLASSIFY, TENSORS):  # nobody said another one
                raise
    else:
        model = opened_as(task=task)
    check_settings(settings, model.task, model.source)
    if settings:
        model = replace(model, parameters={**model.parameters, **settings})
    task_of(model).check_meaning()
    missing = unsaid(model, stated)
    model = as_stated(model, stated, data)
    check_goes(scores, model.source, model.task)
    if scores is not None:
        check_kind(scores, model.classes, model.source)
        model = replace(model, scores=scores)
    classifier = ModelClassifier(model)
    classifier.unsaid = missing
    if classifier.assumed and data is not None:
        classifier.preprocessing = preprocess.for_source(
            data, classifier.preprocessing.crop, model.task
        )
    return classifier


def _check_suppressed(settings: Mapping[str, float], file: Artifact, source: str) -> None:
    """Refuses settings that come too late for a file that suppresses by itself.

    Raises:
        UsageError: as said.
    """
    about = file.suppression
    if about is None:
        return
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        late = f"suppression is part of {source}: export it again with {option} {value:g}"
        if name == "nms_iou" and value != about.nms_iou:
            raise UsageError(f"{option} {value:g}: {late}")
        if name == "score_threshold" and value < about.score_threshold:
            raise UsageError(
                f"{option} {value:g}: the file leaves out objects below "
                f"{about.score_threshold:g}, as {late}"
            )
        if name == "max_detections" and value > about.max_detections:
            raise UsageError(
                f"{option} {value:g}: the file has places for {about.max_detections} objects, as "
                f"{late}"
            )


def check_settings(settings: Mapping[str, float], task: str, source: str) -> None:
    """Refuses settings that cannot be, or are those of another task.

    Raises:
        UsageError: as said.
    """
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if name not in SETTINGS:
            raise UsageError(f"{name}={value!r}: expected one of {', '.join(SETTINGS)}")
        own, least, most = SETTINGS[name]
        if not least <= value <= most:
            raise UsageError(f"{option} {value:g}: expected {least:g} to {most:g}")
        if task != own:
            raise UsageError(
                f"{option} goes with networks of the task {own}: '{source}' is of the task {task}"
            )


def enrolled(classifier: Classifier, folder: Path, distance: float | None = None) -> Gallery:
    """What a network says of known images, to find the nearest ones of others.

    Args:
        folder: of a folder for each class, or of images that are called as their class:
            ``anna.jpg``, ``anna-2.jpg``.
        distance: see `Gallery`; that of the network if ``None``.

    Raises:
        DataError: it has no images, or one cannot be decoded.
        UsageError: the network has no embedding.
    """
    from edgekit.data.folder import with_folders

    task = cast("Embed", classifier.task)
    if task.name != Embed.name:
        raise UsageError(
            f"--gallery goes with networks of the task embed: '{classifier.source}' is of the task "
            f"{task.name}; train one with a head such as mobilenetv3-small+embed"
        )
    if not folder.is_dir():
        raise DataError(
            f"gallery '{folder}' is no folder: expected one with a folder of images for each "
            f"class, or images that are called as their class"
        )
    files = with_folders([str(folder)])
    found = [cast("Embedding", one).embedding for one in predict(classifier, map(Path, files))]
    labels = tuple(_label_of(Path(name), folder) for name in files)
    own = task.distance if distance is None else distance
    return Gallery(tuple(files), labels, np.array(found, np.float32), own)


def _label_of(image: Path, folder: Path) -> str:
    """The class of an image of a gallery: of its folder, else of its name without a number."""
    inside = image.relative_to(folder)
    if len(inside.parts) > 1:
        return inside.parts[0]
    return re.sub(r"[-_ .]+\d+$", "", image.stem) or image.stem


def warnings_of(classifier: Classifier) -> tuple[str, ...]:
    """What has to be known of its answers, one sentence each."""
    source = classifier.source
    warnings = [f"'{source}': {note}" for note in classifier.notes]
    warnings += [] if classifier.misfit is None else [classifier.misfit]
    if not classifier.trained:
        return f"'{source}' is untrained: its weights are random, and so are its answers", *warnings
    assumed = assumption(source, classifier.preprocessing, classifier.unsaid)
    return tuple(warnings if assumed is None else [*warnings, assumed])


@dataclass(frozen=True, slots=True)
class Seen:
    """An image on its way into a network.

    Attributes:
        name: of its file, or its place among others.
        pixels: as it was decoded.
        prepared: as the network takes it.
    """

    name: str
    pixels: Pixels
    frame: Frame
    prepared: NDArray[np.float32]


def seen(images: Iterable[Picture], preprocessing: Preprocessing) -> Iterator[Seen]:
    """Decodes and prepares images, one after the other.

    Raises:
        DataError: a file is no image, or cannot be prepared so.
    """
    for i, picture in enumerate(images):
        name = str(picture) if isinstance(picture, str | os.PathLike) else f"image {i}"
        pixels = pixels_of(picture, name, preprocessing.exif, preprocessing.alpha)
        frame = Frame((pixels.shape[0], pixels.shape[1]), preprocessing)
        yield Seen(name, pixels, frame, _prepared(pixels, name, preprocessing))


def check_row(classifier: Classifier, rows: Rows, image: str) -> None:
    """Refuses outputs for an image that are no numbers.

    Raises:
        ModelError: names the image.
    """
    _check_rows(classifier, rows, lambda _: image)


def predict(
    classifier: Classifier,
    images: Iterable[Picture],
    top: int = 5,
    gallery: Gallery | None = None,
) -> Iterator[Prediction]:
    """What the network says of images, one after the other.

    Args:
        images: files, images of Pillow's or pixels; see `edgekit.data.decode.Picture`.
        top: of what there are several, the likeliest so many.
        gallery: known images, for the network that they are enrolled with.

    Returns:
        Predictions of the classifier's task, such as `edgekit.tasks.classify.Labels`.

    Raises:
        DataError: a file is no image, or cannot be prepared as the network needs it.
        ModelError: an output is not a finite number.
    """
    task = classifier.task
    waiting: deque[Seen] = deque()  # images that are on their way

    def prepared() -> Iterator[NDArray[np.float32]]:
        for image in seen(images, classifier.preprocessing):
            waiting.append(image)
            yield image.prepared[None]

    for rows in classifier.stream(prepared()):
        image = waiting.popleft()
        check_row(classifier, rows, image.name)
        found = task.decode(rows, image.name, image.frame, top)
        if gallery is not None:
            found = cast("Embed", task).among(cast("Embedding", found), gallery, top)
        yield found


def draw(
    classifier: Classifier,
    picture: Picture,
    prediction: Prediction,
    path: Path,
    *,
    overwrite: bool = False,
) -> None:
    """Writes an image with its prediction drawn on it, as a PNG file.

    Args:
        picture: as `predict` was given it.

    Raises:
        OutputError: the file is there already, or cannot be written.
    """
    from PIL import Image

    preprocessing = classifier.preprocessing
    pixels = pixels_of(picture, prediction.image, preprocessing.exif, preprocessing.alpha)
    drawn = Image.fromarray(classifier.task.draw(pixels, prediction))
    write_file(path, partial(drawn.save, format="PNG"), overwrite=overwrite)


def _check_rows(classifier: Classifier, rows: Rows, name: Callable[[int], str]) -> None:
    """Refuses outputs that are no numbers."""
    check_finite(rows, f"'{classifier.source}'", name)


def _prepared(image: Pixels, name: str, preprocessing: Preprocessing) -> NDArray[np.float32]:
    try:
        return preprocess.prepare(image, preprocessing)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


@dataclass(frozen=True, slots=True)
class Headline:
    """The figure that speaks for a network; higher is better, and 1 is the most there is.

    Attributes:
        ci95: 95 % interval; ``None`` where none is known.
    """

    name: str
    value: float
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of a network on a split of a source.

    Attributes:
        task: whose figures they are.
        figures: by name, the headline among them; ``None`` for one that the images do not tell.
        n: images.
        source: of the file or network, as it was given; as in a measurement.
        target: format of the file; ``pytorch`` for networks.
        precision: of the file; ``fp32`` for networks.
        sha256: of the file; ``None`` for networks.
        scores: what scores of classes are, of `edgekit.core.SCORES`; ``None`` of other tasks.
        skipped: images that were left out as corrupt.
        warnings: what has to be known of the figures, one sentence each.
        details: figures of each class, and what is taken for what.
    """

    task: str
    headline: Headline
    figures: Mapping[str, float | None]
    n: int
    data: str
    split: str
    source: str = ""
    target: str = ""
    precision: str = "fp32"
    sha256: str | None = None
    scores: str | None = None
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    details: Details = field(default_factory=Details)

    @property
    def top1(self) -> float | None:
        """Share of images whose likeliest class is right; ``None`` of other tasks."""
        return self.figures.get("top1")

    @property
    def top5(self) -> float | None:
        """Share of images whose class is among the five likeliest; ``None`` below 5 classes."""
        return self.figures.get("top5")


def evaluate(
    classifier: Classifier,
    data: str | ImageSource,
    *,
    split: str | None = None,
    skip_corrupt: bool = False,
    done: Done | None = None,
) -> Evaluation:
    """Measures how often, or how closely, a network is right, as its task defines it.

    Args:
        data: SRC, or an open source.
        split: by default the test split, where the source has one of its own or the network was
            trained on this source; else the validation split where only that was kept apart;
            else all images.
        skip_corrupt: leave out images that cannot be decoded, instead of failing.

    Raises:
        DataError: the source cannot be used, or its labels are not the network's.
        UsageError: the source has no such split.
        ModelError: an output is not a finite number.
    """
    source = open_source(data, skip_corrupt=skip_corrupt) if isinstance(data, str) else data
    split = split_for(source, split or default_split(source, *classifier.seen))
    task = classifier.task
    task.check_meaning()
    truth = task.truth
    assert truth is not None, "what has a meaning has what is right"
    check_told(source, truth, f"the task {task.name}")
    metric = task.metric(source)
    preprocessing = classifier.preprocessing
    if classifier.assumed:
        suited = preprocess.for_source(source, preprocessing.crop, task.name)
        preprocessing = preprocess.of_channels(suited, preprocessing.channels)
    source = decoded_for(source, preprocessing)
    size = source.size(split)
    batches = [
        range(start, min(size, start + classifier.batch))
        for start in range(0, size, classifier.batch)
    ]

    def prepared(indices: range) -> NDArray[np.float32]:
        name = namer(source, split)
        return np.stack(
            [_prepared(source.image(split, i), name(i), preprocessing) for i in indices]
        )

    for indices, rows in zip(batches, classifier.stream(map(prepared, batches)), strict=True):
        _check_rows(classifier, rows, namer(source, split, indices.start))
        labels = [truth.label(source, split, i, preprocessing) for i in indices]
        metric.update(rows, truth.stacked(labels))
        if done is not None:
            done(indices.stop, size)
    figures = metric.figures()
    value = figures[task.headline]
    if value is None:
        raise DataError(
            f"the images of '{source.name}', {split}, have nothing that {task.title} could be "
            f"measured on: of {size:,} images none has {COUNTED[truth.needs]}"
        )
    headline = Headline(task.headline, value, metric.ci95())
    file = classifier.artifact
    return Evaluation(
        task.name,
        headline,
        figures,
        size,
        source.name,
        split,
        source=classifier.source,
        target=classifier.target,
        precision="fp32" if file is None else file.scheme.precision,
        sha256=None if file is None else file.sha256,
        scores=classifier.meaning,
        skipped=tuple(getattr(source, "skipped", ())),
        warnings=(*warnings_of(classifier), *_left_out(file), *getattr(source, "remarks", ())),
        details=details_of(metric),
    )


def _left_out(file: Artifact | None) -> tuple[str, ...]:
    """What figures of a detector's file do not count."""
    about = None if file is None else file.suppression
    if about is None or about.score_threshold <= COUNTED_FROM:
        return ()
    return (
        f"the file leaves out objects with a score below {about.score_threshold:g}, which would "
        f"count in mAP: export it with --score-threshold {COUNTED_FROM:g} for the figures of a "
        f"file without suppression",
    )


def default_split(source: ImageSource, *seen: str | None) -> str:
    """``test`` where images were kept apart for it; ``all`` for a folder of other images.

    Where some were kept apart, but for ``validation`` only, it is these.

    Args:
        seen: sources that weights or ranges come from.
    """
    own = Path(source.name).resolve()
    same = any(path is not None and own == Path(path).resolve() for path in seen)
    if not source.keeps_test and not same:
        return "all"
    # Of a folder that was cut by its owner there may be no test images.
    return next((split for split in ("test", "validation") if split in source.splits), "test")
