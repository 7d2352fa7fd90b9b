"""Folders of images and of masks, whose pixels are indices of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.core import IGNORE, reason
from edgekit.core.reading import parse_json
from edgekit.data.annotated import (
    SKIP,
    AnnotatedFolder,
    MaskOf,
    Note,
    check_names,
    folders,
    images_in,
    short,
    split_folders,
    text_of,
)
from edgekit.data.cutting import SPLIT_FOLDERS, WHOLE
from edgekit.data.decode import load_indices
from edgekit.data.labels import read_labels
from edgekit.errors import DataError

_IMAGES, _MASKS = "images", "masks"
_LOSSLESS = (".png", ".bmp", ".gif")
_LISTS = ("classes.txt", "classes.json")


class MaskFolder(MaskOf, AnnotatedFolder):
    """``images/NAME.jpg`` and ``masks/NAME.png``, in split folders or not, as a `MaskSource`.

    The names of classes stand in ``classes.txt``, one a line, or in ``classes.json``: a list, or an
    object of ``classes`` and ``ignore``, the value of pixels that do not count; it is 255 where
    nothing else is said.

    Args:
        root: the folder.
        skip_corrupt: see `edgekit.data.annotated.AnnotatedFolder`; masks count as annotations.
    """

    def __init__(self, root: Path, *, skip_corrupt: bool = False) -> None:
        classes, self._ignore = _classes(root)
        self.mask_classes = classes
        parts = {split: images_in(images) for split, images in _places(root).items()}
        if not any(parts.values()):
            raise DataError(f"data folder '{root}' has no images: expected some in '{_IMAGES}'")
        self._masks: dict[str, Path | None] = {}
        for image in (image for part in parts.values() for image in part):
            self._masks[image.relative_to(root).as_posix()] = _mask_file(image, root)
        without = [image for image, mask in self._masks.items() if mask is None]
        if without and not skip_corrupt:
            raise DataError(
                f"{len(without)} of the {len(self._masks)} images of data folder '{root}' have no "
                f"mask, such as '{without[0]}': expected '{_expected(without[0])}'; add it, {SKIP}"
            )
        found = {
            split: {image.relative_to(root).as_posix(): Note for image in part}
            for split, part in parts.items()
        }
        super().__init__(root, classes, found, skip_corrupt=skip_corrupt)

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether there are both folders, in it or in one that is called like a split."""
        if not path.is_dir():
            return False
        inner = folders(path)
        places = [path, *(folder for name, folder in inner.items() if name in SPLIT_FOLDERS)]
        return any((p / _IMAGES).is_dir() and (p / _MASKS).is_dir() for p in places)

    def _mask(self, path: str) -> NDArray[np.uint8]:
        file = self._masks[path]
        if file is None:
            raise DataError(f"image '{self._root / path}' has no mask")
        found = load_indices(file)
        count = len(self.mask_classes)
        if self._ignore != IGNORE:
            ignored = found == self._ignore
            _check_values(found, count, file, self._ignore)
            found[ignored] = IGNORE
            return found
        _check_values(found, count, file, IGNORE)
        return found

    def _check_use(self, path: str) -> None:
        self._as_stored(path, self._mask(path).shape)


def _check_values(mask: NDArray[np.uint8], count: int, file: Path, ignore: int) -> None:
    there = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    beyond = [int(value) for value in there if value >= count and value != ignore]
    if beyond:
        raise DataError(
            f"mask '{file}' has the value {beyond[-1]}: expected 0 to {count - 1}, since there are "
            f"{count} classes, or {ignore} where nobody knows; name more classes, or change the "
            f"mask, {SKIP}"
        )


def _places(root: Path) -> dict[str, Path]:
    """Folders of images by split."""
    by_split = {
        split: folder / _IMAGES
        for split, folder in split_folders(root).items()
        if (folder / _IMAGES).is_dir()
    }
    if by_split:
        return by_split
    inner = split_folders(root / _IMAGES)
    return inner or {WHOLE: root / _IMAGES}


def _expected(image: str) -> str:
    path = Path(image)
    parts = list(path.with_suffix(".png").parts)
    last = max(i for i, part in enumerate(parts[:-1]) if part == _IMAGES)
    parts[last] = _MASKS
    return Path(*parts).as_posix()


def _mask_file(image: Path, root: Path) -> Path | None:
    mask = root / _expected(image.relative_to(root).as_posix())
    return next(
        (path for suffix in _LOSSLESS if (path := mask.with_suffix(suffix)).is_file()), None
    )


def _classes(root: Path) -> tuple[tuple[str, ...], int]:
    """Names, and the value of pixels that do not count."""
    paths = [path for name in _LISTS if (path := root / name).is_file()]
    if len(paths) != 1:
        has = "both of them" if paths else "neither"
        raise DataError(
            f"data folder '{root}' has images and masks, and {has} of {' and '.join(_LISTS)}: "
            f"expected one, with the names of the classes in the order of their values"
        )
    path, ignore = paths[0], IGNORE
    where = f"'{path}'"
    if path.suffix == ".txt":
        return _not_too_many(read_labels(path), where), ignore
    try:
        names = parse_json(text_of(path, "list of classes"))
    except ValueError as error:
        raise DataError(f"{where} is no JSON: {reason(error)}; mend the file") from error
    if isinstance(names, dict):
        ignore, names = names.get("ignore", IGNORE), names.get("classes")
    if not isinstance(names, list):
        raise DataError(f'{where} is no list: expected ["sky", "road"]')
    if type(ignore) is not int or not 0 <= ignore <= IGNORE:
        raise DataError(f"'ignore' of {where} is {short(ignore)}: expected a number from 0 to 255")
    return _not_too_many(check_names(names, where), where), ignore


def _not_too_many(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    if len(names) > IGNORE:
        raise DataError(f"{where} has {len(names)} names: expected at most {IGNORE}")
    return names
