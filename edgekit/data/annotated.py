"""Image files with annotations beside them: what formats of boxes and masks have in common.

A format finds images and says how to read what is known of each. Here all of it is checked,
splits are cut, images are decoded, and boxes and masks are turned as their images are.
"""

from __future__ import annotations

import copy
import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Boxes, reason
from edgekit.core.reading import LARGEST_NOTE, read_bytes
from edgekit.core.text import shortened
from edgekit.data.cutting import SPLIT_FOLDERS, Member, cut
from edgekit.data.decode import Stored, load_image, look_at, turned, turned_corners
from edgekit.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"})
SKIP = "or leave out all such images with --skip-corrupt"
MEND = "correct or remove it"

_FEW = 3  # names that a message has room for


class Box(NamedTuple):
    """A box as an annotation has it, unchecked.

    Attributes:
        corners: x0, y0, x1, y1.
        kind: index of its class.
        crowd: see `edgekit.core.Boxes`.
        where: names it in messages, such as ``line 3 of 'a.txt'``.
    """

    corners: tuple[float, float, float, float]
    kind: int
    crowd: bool
    where: str


def short(value: object) -> str:
    """A value for a message; one that names itself again and again would have no end."""
    return shortened(reprlib.repr(value), 80)


@dataclass(frozen=True, slots=True)
class Note:
    """What an annotation says of one image.

    Attributes:
        size: height and width of the image, where it tells them.
        shares: whether corners are shares of the image's sides, not pixels.
    """

    boxes: Sequence[Box] = ()
    size: tuple[int, int] | None = None
    shares: bool = False


Read = Callable[[], Note]
"""Reads what is known of one image; raises `DataError`."""

Found = Mapping[str, Mapping[str, Read]]
"""By split, images by their paths relative to the source's folder; see `cut`."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A checked `Note`, small."""

    corners: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    where: tuple[str, ...]
    size: tuple[int, int] | None
    shares: bool


@dataclass
class _Looked:
    """What images' headers said, shared by copies of a source."""

    by_path: dict[str, Stored] = field(default_factory=dict)


class AnnotatedFolder:
    """Images of files with fixed splits, as an `ImageSource`.

    Where annotations tell an image's size, they refer to it upright or as it is stored, whichever
    has that size; else they refer to it upright, as people see it who draw boxes.

    Args:
        root: the folder.
        classes: names.
        found: what there is.
        skip_corrupt: leave out images that are missing, cannot be decoded, or of which the
            annotation cannot be used; without it, the last two are found when they are accessed.

    Attributes:
        name: the folder, as it was given.
        skipped: paths of the images that were left out, sorted.
        remarks: what else people should know of how the folder was taken, in sentences.

    Raises:
        DataError: the folder cannot be used.
    """

    def __init__(
        self,
        root: Path,
        classes: Sequence[str],
        found: Found,
        *,
        skip_corrupt: bool = False,
        name: str | None = None,
    ) -> None:
        self.name = name or str(root)
        self.flippable = True
        self.classes = tuple(classes)
        self.keeps_test = "test" in found
        self.skipped: tuple[str, ...] = ()
        self._root, self._exif, self._alpha = root, "upright", "black"
        self._looked = _Looked()
        self._notes: dict[str, _Kept] = {}
        check_apart(self.name, found)
        parts = cut({split: [Member(path) for path in part] for split, part in found.items()})
        reads = {path: read for part in found.values() for path, read in part.items()}
        self._flat: list[str] = []
        self._take(reads, skip_corrupt)
        self.remarks = _remarks(self._flat)
        left_out = set(reads) - set(self._notes)
        self.skipped = tuple(sorted(str(root / path) for path in left_out))
        kept = {
            split: [member.relative for member in part if member.relative not in left_out]
            for split, part in parts.items()
        }
        kept["all"] = sorted(path for part in kept.values() for path in part)
        if not kept["all"]:
            raise DataError(
                f"data folder '{self.name}' has no image that can be used"
                + (f": all {len(left_out)} were left out" if left_out else "")
            )
        self._parts = {split: part for split, part in kept.items() if part}
        self.splits = tuple(self._parts)

    def size(self, split: str) -> int:
        """Number of images in a split."""
        return len(self._parts[split])

    def image(self, split: str, index: int) -> NDArray[np.uint8]:
        """One image: 8-bit RGB, shape (height, width, 3), or RGBA; see `decoded`.

        Raises:
            DataError: the file is corrupt or cannot be read.
        """
        try:
            return load_image(self._path(split, index), self._exif, self._alpha)
        except DataError as error:
            raise DataError(f"{error}, {SKIP}") from error

    def decoded(self, exif: str, alpha: str) -> Self:
        """The same images, decoded otherwise; see `edgekit.data.decode.load_image`."""
        source = copy.copy(self)
        source._exif, source._alpha = exif, alpha
        return source

    def _path(self, split: str, index: int) -> Path:
        return self._root / self._parts[split][index]

    def _take(self, reads: Mapping[str, Read], skip_corrupt: bool) -> None:
        """Reads and checks all notes; those of images that are not to be used are not kept."""
        missing = [path for path in reads if not is_file(self._root / path)]
        if missing and not skip_corrupt:
            raise DataError(
                f"{len(missing)} of the {len(reads)} images of data folder '{self.name}' do not "
                f"exist, such as {_some(missing)}: put them there, {SKIP}"
            )
        for path in sorted(set(reads) - set(missing)):
            try:
                note = reads[path]()
                self._notes[path], flat = _checked(note, f"image '{path}'", len(self.classes))
                self._flat += flat
            except DataError as error:
                if not skip_corrupt:
                    raise DataError(f"{error}, {SKIP}") from error
        if skip_corrupt:
            paths = list(self._notes)
            with ThreadPoolExecutor() as pool:
                usable = list(pool.map(self._usable, paths))
            self._notes = {
                path: self._notes[path] for path, good in zip(paths, usable, strict=True) if good
            }

    def _usable(self, path: str) -> bool:
        try:
            load_image(self._root / path)
            self._check_use(path)
        except DataError:
            return False
        return True

    def _check_use(self, path: str) -> None:
        """Looks at what else than the image is needed to use it.

        Raises:
            DataError: it is not there, or wrong.
        """

    def _look(self, path: str) -> Stored:
        found = self._looked.by_path.get(path)
        if found is None:
            found = self._looked.by_path[path] = look_at(self._root / path)
        return found

    def _as_stored(self, path: str, said: tuple[int, int] | None) -> bool:
        """Whether an annotation refers to an image as it is stored, rather than upright.

        Args:
            said: height and width, by the annotation.

        Raises:
            DataError: the image has another size.
        """
        stored = self._look(path)
        if said is None or said == stored.upright:
            return False
        if said == stored.size:
            return True
        height, width = stored.upright
        raise DataError(
            f"image '{self._root / path}' has {width} x {height} px, and its annotation was made "
            f"for {said[1]} x {said[0]} px: expected the same image; annotate the images that are "
            f"there, or put those there that were annotated, {SKIP}"
        )


class BoxFolder(AnnotatedFolder):
    """Images with boxes; a `BoxSource`."""

    def boxes(self, split: str, index: int) -> Boxes:
        """The objects of one image; what reaches beyond its edges is cut off.

        Raises:
            DataError: a box lies outside of the image, or that cannot be read.
        """
        return self._boxes(self._parts[split][index])

    def _boxes(self, path: str) -> Boxes:
        note, stored = self._notes[path], self._look(path)
        as_stored = self._as_stored(path, note.size)
        size = stored.size if as_stored else stored.upright
        height, width = size
        corners = note.corners
        if note.shares:
            corners = corners * (width, height, width, height)
        inside = np.clip(corners, 0, (width, height, width, height))
        empty = (inside[:, 2:] <= inside[:, :2]).any(axis=1)
        if empty.any():
            first = int(np.flatnonzero(empty)[0])
            raise DataError(
                f"{note.where[first]} is a box outside of image '{self._root / path}': "
                f"{_shown(corners[first])} in {width} x {height} px; expected one that has a part "
                f"in it; {MEND}, {SKIP}"
            )
        if as_stored and self._exif == "upright":
            inside = turned_corners(inside, size, stored.orientation)
        elif not as_stored and self._exif != "upright":
            inside = turned_corners(inside, size, stored.orientation, back=True)
        shown = stored.upright if self._exif == "upright" else stored.size
        return Boxes(inside.astype(np.float32), note.classes.copy(), shown, note.crowd.copy())

    def _check_use(self, path: str) -> None:
        self._boxes(path)


class MaskOf:
    """Masks of an `AnnotatedFolder`, which says what one is before it is turned."""

    mask_classes: tuple[str, ...]

    def mask(self: Any, split: str, index: int) -> NDArray[np.uint8]:
        """Indices of `mask_classes`, shape (height, width); 255 where nobody knows.

        Raises:
            DataError: it cannot be read, or does not fit its image.
        """
        path = self._parts[split][index]
        stored = self._look(path)
        found: NDArray[np.uint8] = self._mask(path)
        as_stored = self._as_stored(path, found.shape)
        if as_stored and self._exif == "upright":
            found = turned(found, stored.orientation)
        elif not as_stored and self._exif != "upright":
            found = turned(found, stored.orientation, back=True)
        return found


def _checked(note: Note, image: str, classes: int) -> tuple[_Kept, list[str]]:
    """The same as arrays, without boxes that have no area; and where those are.

    Raises:
        DataError: a box cannot be one, whatever the image.
    """
    for box in note.boxes:
        x0, y0, x1, y1 = box.corners
        wrong = ""
        if not all(map(math.isfinite, box.corners)):
            wrong = "has a number that is not finite"
        elif x1 < x0 or y1 < y0:
            wrong = "ends before it begins"
        if wrong:
            raise DataError(
                f"{box.where} is a box of {image} that {wrong}: {_shown(box.corners)}; expected "
                f"left < right and top < bottom; {MEND}"
            )
        assert 0 <= box.kind < classes
    boxes = [box for box in note.boxes if _has_area(box)]
    kept = _Kept(
        np.array([box.corners for box in boxes], np.float64).reshape(-1, 4),
        np.array([box.kind for box in boxes], np.int64),
        np.array([box.crowd for box in boxes], bool),
        tuple(box.where for box in boxes),
        note.size,
        note.shares,
    )
    return kept, [box.where for box in note.boxes if not _has_area(box)]


def _has_area(box: Box) -> bool:
    x0, y0, x1, y1 = box.corners
    return x0 < x1 and y0 < y1


def _remarks(flat: Sequence[str]) -> tuple[str, ...]:
    """Of boxes without area: slips of a hand, which have nothing in them to be found."""
    if not flat:
        return ()
    boxes = "1 box without area was" if len(flat) == 1 else f"{len(flat)} boxes without area were"
    return (f"{boxes} left out: {', '.join(flat[:_FEW])}{', ...' if len(flat) > _FEW else ''}",)


def _shown(corners: Iterable[float]) -> str:
    return ", ".join(
        f"{name} {value:g}"
        for name, value in zip(("left", "top", "right", "bottom"), corners, strict=True)
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{shortened(name, 80)}'" for name in sorted(names)[:_FEW])
    return shown + (", ..." if len(names) > _FEW else "")


def check_apart(name: str, found: Mapping[str, Iterable[str]]) -> None:
    """Refuses an image that is in several splits.

    Raises:
        DataError: says which.
    """
    seen: dict[str, str] = {}
    for split, part in found.items():
        for path in part:
            if path in seen:
                raise DataError(
                    f"image '{path}' of data folder '{name}' is in the splits {seen[path]} and "
                    f"{split}: expected it in one, since a network is not to be measured on what "
                    f"it has learned; take it out of one, or leave {split} out as a whole"
                )
            seen[path] = split


def check_names(names: Iterable[Any], where: str) -> tuple[str, ...]:
    """Names of classes.

    Args:
        where: they stand, for messages.

    Raises:
        DataError: there are none, one is empty or no text, or two are the same.
    """
    found: list[str] = []
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"class {i} in {where} has no name: {short(name)}; expected a text, such as 'cat'; "
                f"name it there"
            )
        if name in found:
            raise DataError(
                f"two classes in {where} are called '{name}': expected a name of its own for each; "
                f"rename one, or make them one class"
            )
        found.append(name)
    if not found:
        raise DataError(f"there are no classes in {where}: expected a name for each; add them")
    return tuple(found)


def exists(path: Path) -> bool:
    """Whether there is something; nothing is there under a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file; see `exists`."""
    return exists(path) and path.is_file()


def folders(path: Path) -> dict[str, Path]:
    """Folders in a folder by name, without hidden ones."""
    return {
        child.name: child
        for child in sorted(path.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }


def images_in(folder: Path) -> list[Path]:
    """Image files in a folder, however deep, without hidden ones; sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def split_folders(root: Path) -> dict[str, Path]:
    """Folders that are called like splits, by split.

    Raises:
        DataError: two stand for the same.
    """
    found: dict[str, Path] = {}
    for name, folder in folders(root).items():
        split = SPLIT_FOLDERS.get(name)
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"data folder '{root}' has both '{found[split].name}' and '{name}': remove one"
            )
        found[split] = folder
    return found


def text_of(path: Path, what: str, most_bytes: int = LARGEST_NOTE) -> str:
    """The text of a file in UTF-8.

    Args:
        what: it is, for messages.

    Raises:
        DataError: it cannot be read.
    """
    return decoded_text(bytes_of(path, what, most_bytes), f"{what} '{path}'")


def decoded_text(content: bytes, name: str) -> str:
    """Text of bytes in UTF-8, which may begin with a mark of that.

    Raises:
        DataError: they are none.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is no text in UTF-8 (byte {error.start}): expected such a text; save it as one"
        ) from error


def bytes_of(path: Path, what: str, most_bytes: int = LARGEST_NOTE) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return read_bytes(path, most_bytes)
    except OSError as error:
        raise DataError(
            f"{what} '{path}' cannot be read: {error.strerror or reason(error)}; expected a file "
            f"that can; mend or remove it"
        ) from error
