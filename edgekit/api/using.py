"""``edgekit.open_model``, ``evaluate``, ``predict`` and ``verify``: networks and files at work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast, overload

from edgekit.api.checking import check_keywords, typed
from edgekit.api.keywords import (
    NetworkKeywords,
    Said,
    StrPath,
    network_of,
    split,
    stated_of,
    text_of,
)
from edgekit.api.measuring_options import device_of
from edgekit.core.text import in_short
from edgekit.errors import DataError, UsageError
from edgekit.stated import NOTHING, Stated

if TYPE_CHECKING:
    from edgekit.core import ImageSource, Side
    from edgekit.data.decode import Picture
    from edgekit.inference import Classifier, Evaluation
    from edgekit.models.model import Model
    from edgekit.models.taking import Network, Size
    from edgekit.tasks import Prediction
    from edgekit.verification.artifact import Verification


T = TypeVar("T")


class Opening(TypedDict, total=False):
    """How a file or network is opened.

    Attributes:
        weights: checkpoint or state dict, for a network that is named, or a module.
        resolution: side of a network's image in pixels, or height and width.
        size: of its image, where it is no square: (height, width).
        threads: of the runtime.
        device: that a file runs on; see `edgekit.devices.device.find_device`.
        embedded: trust the contract inside a file.
        scores: what the outputs of a network are.
        task: what they are for; scores of classes by default.
        settings: parameters of its task in place of its own, such as
            ``{"score_threshold": 0.5}``; see `edgekit.inference.SETTINGS`.
        stated: what is said of images and classes in one record; single arguments count more.
    """

    weights: StrPath | None
    resolution: Side | None
    size: Size | None
    threads: int | None
    embedded: bool
    scores: str | None
    task: str | None
    settings: Mapping[str, float]
    stated: Stated
    device: str | None


class OpeningKeywords(Opening, Said, total=False):
    """All of that, and what is said of images and classes."""


@typed
def open_model(
    model: Network,
    *,
    name: str | None = None,
    **keywords: Unpack[NetworkKeywords],
) -> Model:
    """Opens a network once, for several of the other functions.

    Args:
        model: a module, a function that makes one, MODEL as people write it, or a path.
        name: of the files of a module.
        keywords: ``weights``, ``size``, ``example``, ...; see `edgekit.api.keywords`.

    Raises:
        UsageError: arguments that cannot be, or do not go together.
        InputError: the network or its weights cannot be used.
    """
    from edgekit.models.taking import model_of

    return model_of(model, name=name, **network_of(keywords))


@typed
def evaluate(
    source: Network | Classifier,
    data: StrPath | ImageSource | None = None,
    *,
    split: str | None = None,
    skip_corrupt: bool = False,
    done: Callable[[int, int], None] | None = None,
    **keywords: Unpack[OpeningKeywords],
) -> Evaluation:
    """Measures how often a file or network is right on labelled images.

    Args:
        source: an exported file, a network in any form, or what `open_classifier` gave.
        data: SRC of the images; those of its training by default.
        split: the test split by default, where training left it alone, else the
            validation split where only that was kept apart; else all images.
        skip_corrupt: leave out images that cannot be decoded.
        done: told how many of how many images are done.
        keywords: how it is opened (``weights``, ``threads``, ...; see `Opening`), and of images
            and classes (``labels``, ``mean``, ...).

    Raises:
        UsageError: arguments that cannot be, or do not go together.
        InputError: the file, network or images cannot be used, or do not fit each other.
    """
    from edgekit import inference
    from edgekit.arrays import array_files
    from edgekit.data import open_source

    given = _given(keywords)
    opened = _opened(source, given)
    if data is None:
        classifier = opened or _classifier(source, given)
        data = next((one for one in classifier.seen if one is not None), None)
        if data is None:
            raise DataError(
                f"'{classifier.source}' does not say what it was trained on: name images with "
                f"--data, digits, digit-scenes, or a folder; see 'edgekit list formats'"
            )
    images = data
    if isinstance(images, str | os.PathLike):
        name = os.fspath(images)
        try:
            images = open_source(name, skip_corrupt=skip_corrupt)
        except DataError:
            if opened is None and array_files(name):
                _classifier(source, given)  # what takes arrays has no figure, and says so
            raise
    elif not hasattr(images, "splits"):
        raise UsageError(f"data={in_short(data)}: expected a name or a path")
    classifier = opened or _classifier(source, given, images)
    return inference.evaluate(classifier, images, split=split, done=done)


@overload
def predict(
    source: Network | Classifier,
    images: Picture,
    top: int = 5,
    *,
    gallery: StrPath | None = None,
    **keywords: Unpack[OpeningKeywords],
) -> Prediction: ...
@overload
def predict(
    source: Network | Classifier,
    images: list[Any] | tuple[Any, ...],
    top: int = 5,
    *,
    gallery: StrPath | None = None,
    **keywords: Unpack[OpeningKeywords],
) -> list[Prediction]: ...
@typed
def predict(
    source: Network | Classifier,
    images: Any,
    top: int = 5,
    *,
    gallery: StrPath | None = None,
    **keywords: Unpack[OpeningKeywords],
) -> Any:
    """What a file or network says of images.

    Args:
        source: see `evaluate`, as for ``keywords``.
        images: a path, an image of Pillow's, or pixels (height x width x 3, uint8 RGB); or
            several of these.
        top: of what there are several, the likeliest so many.
        gallery: folder of known images, for a network with an embedding; see
            `edgekit.inference.enrolled`.

    Returns:
        A prediction for one image, a list of them for several; such as
        `edgekit.tasks.classify.Labels`.

    Raises:
        UsageError: arguments that cannot be, or do not go together.
        InputError: the file, network or an image cannot be used.
    """
    from edgekit import inference

    if top < 1:
        raise UsageError(f"top={top}: expected 1 or more")
    classifier = opened_by(source, keywords)
    known = None if gallery is None else inference.enrolled(classifier, Path(gallery))
    return of_each(images, lambda some: inference.predict(classifier, some, top, known))


@typed
def verify(
    artifact: StrPath,
    against: Network | None = None,
    *,
    data: StrPath | None = None,
    weights: StrPath | None = None,
    example: Any = None,
    embedded: bool = False,
    skip_corrupt: bool = False,
    per_layer: bool = False,
    stated: Stated = NOTHING,
    device: str | None = None,
    notify: Callable[[str], None] = lambda stage: None,
    **said: Unpack[Said],
) -> Verification:
    """Compares an exported file with the network that it was made from.

    Args:
        artifact: the file, or what `export` gave for it.
        against: the network in any form; the one that the contract names by default, where that
            is here and has the weights of the file.
        data: SRC of real images; those of the training by default, else noise.
        weights: checkpoint or state dict, for a network that is named, or a module.
        example: inputs of the network, where the file does not tell enough of them.
        embedded: trust the contract inside the file.
        skip_corrupt: leave out images that cannot be decoded.
        per_layer: look at each layer, too.
        device: that the file runs on; its layers are looked at here.
        notify: told what is being done.
        stated: what the contract is to say of images and classes; ``said`` counts more.

    Returns:
        The comparison; ``passed`` says whether every bound holds.

    Raises:
        ContractError: file and contract do not belong together.
        UsageError: arguments that cannot be, or the contract says something else.
        InputError: file, network or data cannot be used.
    """
    from edgekit.verification import artifact as verification

    return verification.verify(
        artifact,
        against,
        data=text_of(data, "data"),
        weights=text_of(weights, "weights"),
        embedded=embedded,
        skip_corrupt=skip_corrupt,
        per_layer=per_layer,
        device=device_of(device or "host", simulators=True),
        stated=stated_of(said, stated),
        example=example,
        notify=notify,
    )


def of_each(images: Any, found: Callable[[Iterable[Picture]], Iterator[T]]) -> T | list[T]:
    """What is found of one image, or a list of what is found of several.

    Args:
        images: a path, an image of Pillow's, or pixels; or several of these.
        found: takes several.

    Raises:
        UsageError: they are none of that.
    """
    import numpy as np
    from PIL import Image

    if isinstance(images, str | os.PathLike | Image.Image | np.ndarray):
        return next(found([images]))
    if not isinstance(images, Iterable):
        raise UsageError(
            f"images={in_short(images)}: expected a path, a PIL.Image, an array of height x "
            f"width x 3, uint8 RGB, or several of these in a list"
        )
    return list(found(images))


def opened_by(source: Network | Classifier, keywords: Mapping[str, object]) -> Classifier:
    """What a function works with: opened with its keywords, or open already.

    Args:
        keywords: of `OpeningKeywords`.

    Raises:
        UsageError: arguments that cannot be, or do not go together.
        InputError: what was named cannot be used.
    """
    given = _given(keywords)
    return _opened(source, given) or _classifier(source, given)


def _given(keywords: Mapping[str, object]) -> Opening:
    """Arguments of opening, with all that is said of images and classes in ``stated``.

    Raises:
        UsageError: one that cannot be.
    """
    own, said = split(keywords, Opening)
    check_keywords(own, Opening)
    given = cast(Opening, own)
    given["stated"] = stated_of(said, given.get("stated", NOTHING))
    return given


def _opened(source: object, given: Opening) -> Classifier | None:
    """What is open already.

    Raises:
        UsageError: an argument that would have no effect.
    """
    from edgekit import inference

    if not isinstance(source, inference.ArtifactClassifier | inference.ModelClassifier):
        return None
    for name, value in given.items():
        if value not in (None, False, NOTHING):
            raise UsageError(
                f"{name}={in_short(value)}: '{source.source}' is open already; give that to "
                f"open_classifier()"
            )
    return source


def _classifier(source: Any, given: Opening, data: ImageSource | None = None) -> Classifier:
    from edgekit import inference

    arguments: dict[str, Any] = {**given, "weights": text_of(given.get("weights"), "weights")}
    arguments["device"] = device_of(given.get("device") or "host", simulators=True)
    return inference.open_classifier(source, data=data, **arguments)
