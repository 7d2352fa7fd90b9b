"""A folder of class folders as an image source.

Two layouts are read: ``DIR/class/image.jpg``, and ``DIR/train/class/image.jpg`` with ``val`` (or
``validation``) and ``test`` beside ``train``. What a layout lacks is cut from what it has by a
hash of the relative paths, so the same folder has the same splits on every machine.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.data.cutting import SPLIT_FOLDERS, Member, cut
from edgekit.data.decode import load_image
from edgekit.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"})
# Images of formats that are not decoded here are reported; passed over in silence they would be
# missing from the training without anybody knowing.
_OTHER_IMAGES = frozenset(
    {".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".jfif", ".ppm", ".pgm", ".tga"}
)
_SPLITS = {name: split for name, split in SPLIT_FOLDERS.items() if name != "valid"}
_EXPECTED = "expected class folders with images in them (DIR/class/image.jpg)"


class FolderSource:
    """Class folders as an `ImageSource`.

    Classes are sorted by name. A plain folder is cut per class into 80 % train, 10 % validation
    and 10 % test; a class of at least three images has at least one in each. Split folders are
    taken as they are, and without one for validation 10 % of train become it. ``all`` is
    everything. Splits without images are left out of `splits`. Hidden files and folders, other
    files than images, and folders beside split folders are ignored; images in folders inside a
    class folder are refused, since nobody could tell whether they were meant to count.

    Args:
        root: the folder.
        skip_corrupt: decodes every image now and leaves out those that cannot be read. Without
            it, a corrupt image is found when it is accessed.
        labelled: whether labels are needed; without, a folder without folders may hold the images
            itself, and is cut as one class is, and one class is enough.

    Attributes:
        name: the folder, as it was given.
        skipped: paths of the images that were left out, sorted.

    Raises:
        DataError: the folder cannot be used; the message says why.
    """

    def __init__(self, root: Path, *, skip_corrupt: bool = False, labelled: bool = True) -> None:
        self.name = str(root)
        self.flippable = True
        self.skipped: tuple[str, ...] = ()
        self._root = root
        self._exif, self._alpha = "upright", "black"
        members = _find_images(root, labelled)
        self.classes = _common_classes(root, members)
        parts = cut(members)
        if skip_corrupt:  # after the cut, so that no image changes its split
            parts = self._without_corrupt(parts)
        parts["all"] = sorted(member for part in parts.values() for member in part)
        self.keeps_test = "test" in members
        self._parts = {split: part for split, part in parts.items() if part}
        self.splits = tuple(self._parts)
        self._labels = {name: label for label, name in enumerate(self.classes)}

    @staticmethod
    def reads(path: Path) -> bool:
        """Every folder may be one."""
        return path.is_dir()

    def size(self, split: str) -> int:
        """Number of images in a split."""
        return len(self._parts[split])

    def label(self, split: str, index: int) -> int:
        """Label of one image."""
        return self._labels[self._parts[split][index].kind]

    def image(self, split: str, index: int) -> NDArray[np.uint8]:
        """One image: 8-bit RGB, shape (height, width, 3), or RGBA; see `decoded`.

        Raises:
            DataError: the file is corrupt or cannot be read.
        """
        path = self._root / self._parts[split][index].relative
        try:
            return load_image(path, self._exif, self._alpha)
        except DataError as error:
            raise DataError(f"{error}, or leave out all such files with --skip-corrupt") from error

    def decoded(self, exif: str, alpha: str) -> FolderSource:
        """The same images, decoded otherwise; see `edgekit.data.decode.load_image`."""
        source = copy.copy(self)
        source._exif, source._alpha = exif, alpha
        return source

    def paths(self, split: str) -> tuple[Path, ...]:
        """The files of a split, in the order of its indices."""
        return tuple(self._root / member.relative for member in self._parts[split])

    def _without_corrupt(self, found: Mapping[str, list[Member]]) -> dict[str, list[Member]]:
        members = [member for part in found.values() for member in part]
        with ThreadPoolExecutor() as pool:
            usable = set(pool.map(self._usable, members)) - {None}
        self.skipped = tuple(
            sorted(str(self._root / member.relative) for member in members if member not in usable)
        )
        kept = {
            split: [member for member in part if member in usable] for split, part in found.items()
        }
        readable = {member.kind for part in kept.values() for member in part}
        empty = {member.kind for member in members} - readable
        if empty:
            raise DataError(
                f"class '{min(empty)}' of data folder '{self.name}' holds no readable image: "
                "replace its files, or remove the class"
            )
        return kept

    def _usable(self, member: Member) -> Member | None:
        try:
            load_image(self._root / member.relative)
        except DataError:
            return None
        return member


def _find_images(root: Path, labelled: bool) -> dict[str, list[Member]]:
    """All images by split folder; those of a plain folder stand under ``""``."""
    folders = _folders(root)
    if not labelled and not folders and (images := _images(root)):
        return {"": [Member(path.name, "") for path in images]}
    splits = [folder for folder in folders if _holds_classes(folder)]
    if not splits:
        if folders and all(folder.name in _SPLITS for folder in folders):
            raise DataError(f"split folder '{folders[0]}' has no class folders: {_EXPECTED}")
        return {"": list(_class_images(root, root, labelled))}
    by_split: dict[str, list[Member]] = {}
    for folder in splits:
        split = _SPLITS[folder.name]
        if split in by_split:
            raise DataError(f"data folder '{root}' has both 'val' and 'validation': remove one")
        by_split[split] = list(_class_images(root, folder, labelled))
    if "train" not in by_split:
        raise DataError(
            f"data folder '{root}' has '{splits[0].name}' but no 'train' folder of class folders"
        )
    return {
        split: by_split[split] for split in ("train", "validation", "test") if split in by_split
    }


def _holds_classes(folder: Path) -> bool:
    """Whether this is a split folder, and not a class that is called ``train``, say."""
    if folder.name not in _SPLITS:
        return False
    return bool(_folders(folder)) and not _images(folder)


def _class_images(root: Path, parent: Path, labelled: bool) -> Iterator[Member]:
    folders = _folders(parent)
    if not folders:
        raise DataError(f"data folder '{parent}' has no class folders: {_EXPECTED}")
    if labelled and len(folders) == 1:
        raise DataError(
            f"data folder '{parent}' has one class only, '{folders[0].name}': "
            "expected at least two class folders"
        )
    for folder in folders:
        inner, files = _entries(folder)
        images = _images_of(files)
        if not images:
            raise DataError(
                f"class folder '{folder}' has no images: expected {_suffixes()} files directly "
                "in it, or remove the folder"
            )
        nested = next(filter(None, map(_nested_image, inner)), None)
        if nested is not None:
            raise DataError(
                f"image '{nested}' lies in a folder inside class folder '{folder}' and would be "
                f"left out: move such images up into the class folder, or out of it"
            )
        for path in images:
            yield Member(path.relative_to(root).as_posix(), folder.name)


def _nested_image(folder: Path) -> Path | None:
    """The first image in a folder inside a class folder, however deep; ``None`` without any.

    Links to folders are looked into, but not below, so that one back to a parent ends there.
    """
    folders, others = _entries(folder)
    images = _images_of(others)
    if images or folder.is_symlink():
        return next(iter(images), None)
    return next(filter(None, map(_nested_image, folders)), None)


def _common_classes(root: Path, found: Mapping[str, Iterable[Member]]) -> tuple[str, ...]:
    """Class names, which have to be the same in all split folders."""
    by_split = {split: {member.kind for member in part} for split, part in found.items()}
    reference, *others = by_split
    for other in others:
        for here, there in ((reference, other), (other, reference)):
            missing = sorted(by_split[here] - by_split[there])
            if missing:
                raise DataError(
                    f"data folder '{root}': class '{missing[0]}' is in the {here} folder but not "
                    f"in the {there} folder ({len(missing)} such in all); expected the same "
                    "classes in both"
                )
    return tuple(sorted(by_split[reference]))


def _folders(parent: Path) -> list[Path]:
    return _entries(parent)[0]


def _images(folder: Path) -> list[Path]:
    """Image files directly in a folder.

    Links that lead nowhere and formats that are not decoded here count, so as to be reported.
    """
    return _images_of(_entries(folder)[1])


def _images_of(files: Iterable[Path]) -> list[Path]:
    known = IMAGE_SUFFIXES | _OTHER_IMAGES
    return [path for path in files if path.suffix.lower() in known]


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and other entries of a folder, each sorted by name, without the hidden ones."""
    folders: list[Path] = []
    others: list[Path] = []
    try:
        for path in sorted(folder.iterdir()):
            if not path.name.startswith("."):
                (folders if path.is_dir() else others).append(path)
    except FileNotFoundError as error:
        raise DataError(f"data folder '{folder}' does not exist: {_EXPECTED}") from error
    except NotADirectoryError as error:
        raise DataError(f"'{folder}' is a file, not a data folder: {_EXPECTED}") from error
    except OSError as error:
        raise DataError(
            f"data folder '{folder}' cannot be read ({error.strerror}): check its permissions"
        ) from error
    return folders, others


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))


def with_folders(names: Sequence[str]) -> list[str]:
    """Names of image files, with the images of each folder, and of folders in it, in its place.

    Raises:
        DataError: a folder has none.
    """
    found: list[str] = []
    for name in names:
        if not os.path.isdir(name):  # noqa: PTH112 - which takes names that are too long
            found.append(name)
            continue
        images = sorted(
            str(path)
            for path in Path(name).rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        )
        if not images:
            raise DataError(f"{name} holds no images: expected files ending in {_suffixes()}")
        found += images
    return found
