"""Images that the ranges of activations are taken from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.arrays import array_files, readable_files, rows_of
from edgekit.core import ImageSource, Preprocessing
from edgekit.core.text import counted_words
from edgekit.data import decoded_for, open_source
from edgekit.data.preprocess import prepare
from edgekit.errors import DataError, UsageError
from edgekit.models.model import Model
from edgekit.stated import assumed

IMAGES = 128
LEAST_IMAGES = 16
"""With fewer, one odd image decides the ranges."""

MOST_FLAT = 0.1
"""Share of images of one colour that may be among the others."""

SEED = 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Images for range estimation.

    Attributes:
        images: (n, 3, H, W), ready for the network.
        about: the source and its split.
        names: of the images, for messages.
        folder: of the source; ``None`` for a built-in one.
        pixels: digests of the images as they were decoded.
        preprocessing: how that was.
    """

    images: NDArray[np.float32]
    about: str
    names: tuple[str, ...]
    folder: Path | None = None
    pixels: frozenset[str] = frozenset()
    preprocessing: Preprocessing | None = None

    def check_apart(self, source: ImageSource, split: str) -> None:
        """Refuses images that are to judge what these have shaped.

        Two sources that lie in one another cut their splits in different places.

        Raises:
            DataError: some are among both.
        """
        other = Path(source.name).resolve()
        if self.folder is None or self.folder == other:
            return  # of one source, splits do not overlap
        if not (self.folder.is_relative_to(other) or other.is_relative_to(self.folder)):
            return
        if self.preprocessing is not None:
            source = decoded_for(source, self.preprocessing)
        images = (source.image(split, i) for i in range(source.size(split)))
        both = sum(_digest(image) in self.pixels for image in images)
        if both:
            raise DataError(
                f"{both} images of '{source.name}' (split '{split}') are among the calibration "
                f"images ({self.about}): expected images that nothing is judged on; give the "
                f"folder of the training, or other images, with --calibration SRC"
            )


def calibration_images(
    data: str,
    preprocessing: Preprocessing,
    count: int = IMAGES,
    *,
    seed: int = SEED,
    skip_corrupt: bool = False,
    labelled: bool = True,
) -> Calibration:
    """Draws images from the part of a source that nothing is tested on.

    Args:
        data: SRC.
        preprocessing: how images become inputs; the layout is NCHW.
        count: how many, at most.
        seed: of the draw. Classes take turns, so that each is there equally often.
        labelled: whether a folder has to have class folders.

    Raises:
        UsageError: ``count`` is below `LEAST_IMAGES`.
        DataError: the source has too few images, or none that show anything.
    """
    if count < LEAST_IMAGES:
        raise UsageError(
            f"{counted_words(count, 'image')} for calibration: expected at least {LEAST_IMAGES}"
        )
    opened = open_source(data, skip_corrupt=skip_corrupt, labelled=labelled)
    source = decoded_for(opened, preprocessing)
    split = "train" if "train" in source.splits else "all"
    size = source.size(split)
    where = f"'{source.name}'" + ("" if split == "all" else f" (split '{split}')")
    if size < LEAST_IMAGES:
        raise DataError(
            f"{where} has {counted_words(size, 'image')}: calibration needs {LEAST_IMAGES} at "
            f"least, and "
            f"{IMAGES} are better"
        )
    indices = list(_balanced(source, split, min(count, size), seed))
    images, names, pixels = [], [], set()
    for index in indices:
        name = f"'{source.name}', image {index} of split '{split}'"
        image = source.image(split, index)
        images.append(_prepared(image, name, preprocessing))
        names.append(name)
        pixels.add(_digest(image))
    folder = Path(source.name).resolve() if Path(source.name).is_dir() else None
    shows = sum(_shows_something(image) for image in images)
    if shows < max(LEAST_IMAGES, (1 - MOST_FLAT) * len(images)):
        raise DataError(
            f"{len(images) - shows} of {len(images)} calibration images of {where} are of one "
            f"colour all over: ranges taken from them would be wrong; give images like those that "
            f"the network will see"
        )
    about = f"{source.name}, {split}"
    return Calibration(
        np.stack(images), about, tuple(names), folder, frozenset(pixels), preprocessing
    )


def calibration_rows(
    data: str, model: Model, count: int = IMAGES, *, skip_corrupt: bool = False
) -> Calibration:
    """Inputs of a network that takes anything else than one image for its class.

    Args:
        data: a folder of ``.npz`` files, or a source of images.
        count: how many, at most.

    Raises:
        UsageError: ``count`` is below `LEAST_IMAGES`.
        DataError: there are too few, or they are not what the network takes.
    """
    if count < LEAST_IMAGES:
        raise UsageError(
            f"{counted_words(count, 'input')} for calibration: expected at least {LEAST_IMAGES}"
        )
    files = array_files(data)
    if not files:
        preprocessing = model.preprocessing or assumed(model, open_source(data, labelled=False))
        calibration = calibration_images(
            data, preprocessing, count, skip_corrupt=skip_corrupt, labelled=False
        )
        return dataclasses.replace(
            calibration, images=calibration.images.reshape(len(calibration.images), -1)
        )
    if skip_corrupt:
        files, _ = readable_files(files)
    # Evenly spaced, as neighbours of a recording are alike.
    places = np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)
    files = [files[int(i)] for i in places]
    rows, names = rows_of(files, model.interface), tuple(map(str, files))
    if len(rows) < LEAST_IMAGES:
        raise DataError(
            f"'{data}' has {counted_words(len(rows), 'input')}: calibration needs {LEAST_IMAGES} "
            f"at least, and "
            f"{IMAGES} are better"
        )
    return Calibration(rows, f"{data}, all", names)


def _digest(image: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def _balanced(source: ImageSource, split: str, count: int, seed: int) -> Iterator[int]:
    """Indices of a seeded draw in which the classes take turns, in a drawn order.

    Where there are more classes than images, neighbours in the list would be alike. Images of
    several classes each are drawn as they come.
    """
    members: dict[int, list[int]] = {}
    label = getattr(source, "label", lambda split, index: 0)
    for index in range(source.size(split)):
        members.setdefault(label(split, index), []).append(index)
    shuffled = [
        list(np.random.default_rng([seed, label]).permutation(found))
        for label, found in sorted(members.items())
    ]
    np.random.default_rng([seed, len(shuffled)]).shuffle(shuffled)
    while count:
        for rest in shuffled:
            if rest and count:
                count -= 1
                yield int(rest.pop())


def _prepared(pixels: NDArray[Any], name: str, preprocessing: Preprocessing) -> NDArray[np.float32]:
    try:
        return prepare(pixels, preprocessing)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _shows_something(image: NDArray[Any]) -> bool:
    """Whether there is more to see than one colour."""
    return bool((np.ptp(image, axis=(1, 2)) > 0).any())
