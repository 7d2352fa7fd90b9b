"""COCO's JSON: boxes, and masks where every object has an outline or a run-length code.

Format: https://cocodataset.org/#format-data (T.-Y. Lin et al., "Microsoft COCO: Common Objects in
Context", arXiv:1405.0312).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from edgekit.core import IGNORE, ImageSource, reason
from edgekit.core.reading import parse_json
from edgekit.core.text import in_short
from edgekit.data.annotated import (
    MEND,
    Box,
    BoxFolder,
    Found,
    MaskOf,
    Note,
    Read,
    bytes_of,
    check_names,
    decoded_text,
    folders,
    is_file,
    short,
)
from edgekit.data.cutting import SPLIT_FOLDERS, WHOLE
from edgekit.errors import DataError

_LARGEST_FILE = 1 << 30
_LARGEST_OBJECTS = 8 << 30
"""The 450 MB of COCO's own training set are bounded by 6 GB, and take 2."""

_LARGEST_NUMBER = 1 << 53
_FARTHEST = 1e7
"""Beyond that no outline reaches, in pixels."""

_LONGEST_NUMBER = 60  # bits, in a run-length code
_LISTS = ("images", "annotations", "categories")
_OTHERS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")  # of COCO's own
_SPLIT = re.compile(r"(?<![a-z])(train|validation|valid|val|test)(?![a-z])")

Outlines = list[tuple[int, Any, bool, int | str]]
"""Class, polygons or code, whether it is a crowd, and the id of the annotation."""


class CocoFolder(BoxFolder):
    """Images with the boxes of annotation files, as a `BoxSource`.

    Args:
        root: the folder, or an annotation file.
        files: annotation files by split; without splits under `WHOLE`.
        skip_corrupt: see `edgekit.data.annotated.AnnotatedFolder`.
    """

    def __init__(self, root: Path, read: _Read, *, skip_corrupt: bool = False) -> None:
        self._outlines, self._file_of = read.outlines, read.file_of
        super().__init__(
            read.root, read.classes, read.found, skip_corrupt=skip_corrupt, name=str(root)
        )


class CocoMaskFolder(MaskOf, CocoFolder):
    """The same where all objects have outlines: a `MaskSource`, too.

    A pixel belongs to an object where its middle is inside, and of several objects to the smallest
    one; to nobody where it is in a crowd only.
    """

    def __init__(self, root: Path, read: _Read, *, skip_corrupt: bool = False) -> None:
        super().__init__(root, read, skip_corrupt=skip_corrupt)
        self.mask_classes = ("background", *self.classes)

    def _mask(self, path: str) -> NDArray[np.uint8]:
        stored = self._look(path)
        said = self._notes[path].size
        self._as_stored(path, said)  # before anything of that size is made
        size = said or stored.upright
        shapes = [
            (
                IGNORE if crowd else kind + 1,
                filled(outline, size, f"annotation {number} of '{self._file_of[path]}'"),
            )
            for kind, outline, crowd, number in self._outlines.get(path, ())
        ]
        found = np.zeros(size, np.uint8)
        # Crowds first, then the largest.
        for value, shape in sorted(shapes, key=lambda s: (s[0] != IGNORE, -int(s[1].sum()))):
            found[shape] = value
        return found

    def _check_use(self, path: str) -> None:
        super()._check_use(path)
        self._mask(path)


class Coco:
    """The format: a folder with such a file in it or in ``annotations``, or the file itself."""

    def reads(self, path: Path) -> bool:
        """Whether there is such a file; one outside of ``annotations`` is looked into."""
        return any(
            file == path or file.parent.name == "annotations" or _may_be(file)
            for file in _files(path)
        )

    def __call__(self, path: Path, *, skip_corrupt: bool = False) -> ImageSource:
        """Opens it; see `CocoFolder` and `CocoMaskFolder`."""
        read = _Read(path)
        kind = CocoMaskFolder if read.has_masks else CocoFolder
        return kind(path, read, skip_corrupt=skip_corrupt)


FORMAT = Coco()


class _Read:
    """What annotation files say.

    Attributes:
        root: the folder that images lie in or below.
        found: see `edgekit.data.annotated.Found`.
        outlines: of the objects of an image, by its path.
        file_of: the file that has those, by the same.
        has_masks: whether all objects have some.
    """

    def __init__(self, path: Path) -> None:
        self.root = path if path.is_dir() else path.parent
        if not path.is_dir() and self.root.name == "annotations":
            self.root = self.root.parent
        self.outlines: dict[str, Outlines] = {}
        self.file_of: dict[str, Path] = {}
        self.has_masks = True
        found: dict[str, dict[str, Read]] = {}
        self.classes: tuple[str, ...] = ()
        first = None
        for split, file in _by_split(_files(path), self.root).items():
            data = _document(file)
            numbers, classes = _categories(data, file)
            if first is not None and classes != self.classes:
                raise DataError(
                    f"'{file}' has other categories than '{first}': {_list(classes)} and "
                    f"{_list(self.classes)}; expected the same in both"
                )
            first, self.classes = first or file, classes
            found[split] = self._images(data, file, numbers)
        self.found: Found = found
        self.has_masks = bool(self.has_masks and self.outlines and len(self.classes) < IGNORE)

    def _images(
        self, data: Mapping[str, Any], file: Path, labels: Mapping[Any, int]
    ) -> dict[str, Read]:
        images = _by_id(data, "images", file)
        places = _Places(self.root, file)
        paths: dict[Any, str] = {}
        taken: dict[str, Any] = {}
        for number, image in images.items():
            path = paths[number] = places.path(image, number)
            if path in taken:
                raise DataError(
                    f"images {taken[path]} and {number} of '{file}' are the same file, '{path}': "
                    f"expected each once; remove one, and give its annotations to the other"
                )
            taken[path] = number
        objects: dict[Any, list[tuple[Any, Mapping[str, Any]]]] = {n: [] for n in images}
        for number, item in _by_id(data, "annotations", file).items():
            owner = item.get("image_id")
            if not _is_id(owner) or owner not in objects:
                raise DataError(
                    f"annotation {number} of '{file}' is of image {short(owner)}, which is not "
                    f"there: expected the id of one of 'images'; remove it, or add the image"
                )
            objects[owner].append((number, item))
            outline = item.get("segmentation")
            self.has_masks = self.has_masks and bool(outline)
            kind = item.get("category_id")
            if outline and _is_id(kind) and kind in labels:
                self.file_of[paths[owner]] = file
                place = self.outlines.setdefault(paths[owner], [])
                place.append((labels[kind], outline, _is_crowd(item), number))
        return {
            paths[number]: partial(_note, found, objects[number], labels, file)
            for number, found in images.items()
        }


class _Places:
    """Where the images of an annotation file lie."""

    def __init__(self, root: Path, file: Path) -> None:
        split = _split_of_file(file, root)
        bases = [file.parent, root, root / "images"]
        for base in (root, root / "images"):
            if base.is_dir():
                bases += [
                    place / inner
                    for name, place in folders(base).items()
                    if (own := _split_of(name)) != WHOLE and split in (own, WHOLE)
                    for inner in ("", "images")
                ]
        self._file, self._root = file, root
        self._bases = [base for base in dict.fromkeys(bases) if base.is_dir()]

    def path(self, image: Mapping[str, Any], number: object) -> str:
        """Of an image, relative to the root."""
        name = image.get("file_name")
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"image {number} of '{self._file}' has no 'file_name': expected the path of an "
                f"image file"
            )
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(
                f"image {number} of '{self._file}' is {in_short(name)}: expected a path below "
                f"'{self._root}'"
            )
        for i, base in enumerate(self._bases):
            if is_file(base / name):
                self._bases.insert(0, self._bases.pop(i))  # the others lie there, too
                return (base / name).relative_to(self._root).as_posix()
        return Path(name).as_posix()  # told as missing


def _files(path: Path) -> list[Path]:
    """Annotation files, by their names."""
    if path.suffix.lower() == ".json":
        return [path] if path.is_file() else []
    if not path.is_dir():
        return []
    inner = folders(path)
    places = [inner[name] for name in inner if name == "annotations" or name in SPLIT_FOLDERS]
    found = [
        file
        for place in (path, *places)
        for file in sorted(place.glob("*.json"))
        if not file.name.startswith((*_OTHERS, ".")) and file.name != "classes.json"
    ]
    own = [file for file in found if file.name.startswith("instances")]
    return own or found


def _may_be(file: Path) -> bool:
    content = bytes_of(file, "file", _LARGEST_FILE)
    return all(f'"{key}"'.encode() in content for key in _LISTS)


def _split_of(name: str) -> str:
    """The split that a file or folder is called after; `WHOLE` without one."""
    match = _SPLIT.search(name.lower())
    return SPLIT_FOLDERS[match[1]] if match else WHOLE


def _split_of_file(file: Path, root: Path) -> str:
    """By its own name, or that of its folder."""
    return _split_of(file.stem) or (WHOLE if file.parent == root else _split_of(file.parent.name))


def _by_split(files: Sequence[Path], root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        split = _split_of_file(file, root)
        if split in found or (split == WHOLE and len(files) > 1):
            other = found.get(split, next(f for f in files if f != file))
            raise DataError(
                f"nobody can tell the split of '{file}' from that of '{other}': expected names "
                f"such as instances_train.json, instances_val.json and instances_test.json; "
                f"rename them, or give one file in place of the folder"
            )
        found[split] = file
    if len(found) == 1 and "train" not in found:  # it is all that there is
        return {WHOLE: next(iter(found.values()))}
    return found


def _document(file: Path) -> Mapping[str, Any]:
    text = decoded_text(bytes_of(file, "annotations", _LARGEST_FILE), f"annotations '{file}'")
    try:
        data = parse_json(text, most_bytes=_LARGEST_OBJECTS, any_numbers=True)
    except ValueError as error:
        raise DataError(
            f"annotations '{file}' are no JSON: {reason(error)}; mend the file"
        ) from error
    for key in _LISTS:
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise DataError(
                f"'{file}' has no list of {key}: expected COCO's annotations, with images, "
                f"annotations and categories"
            )
    if not data["images"]:
        raise DataError(f"'{file}' has no images: expected one at least")
    found: Mapping[str, Any] = data
    return found


def _by_id(data: Mapping[str, Any], key: str, file: Path) -> dict[int | str, Mapping[str, Any]]:
    found: dict[int | str, Mapping[str, Any]] = {}
    for place, item in enumerate(data[key]):
        number = item.get("id") if isinstance(item, dict) else None
        if not _is_id(number):
            raise DataError(
                f"{key}[{place}] of '{file}' has no id: expected a number of its own; add it"
            )
        if number in found:
            raise DataError(
                f"the id {number} is there twice among the {key} of '{file}': expected one of its "
                f"own for each; number them anew, or remove what is there twice"
            )
        found[number] = item
    return found


def _is_id(number: object) -> TypeGuard[int | str]:
    return type(number) in (int, str)  # and no truth value


def _categories(data: Mapping[str, Any], file: Path) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Labels by category, and names by label: in the order of the ids."""
    items = _by_id(data, "categories", file)
    order = sorted(items, key=lambda number: (isinstance(number, str), number))
    names = check_names((items[n].get("name") for n in order), f"'categories' of '{file}'")
    return {number: label for label, number in enumerate(order)}, names


def _is_crowd(item: Mapping[str, Any]) -> bool:
    return item.get("iscrowd", 0) in (1, True, "1")


def _note(
    image: Mapping[str, Any],
    objects: Iterable[tuple[Any, Mapping[str, Any]]],
    labels: Mapping[Any, int],
    file: Path,
) -> Note:
    height, width = image.get("height"), image.get("width")
    size = None
    if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
        size = height, width
    return Note(tuple(_boxes(objects, labels, file)), size)


def _boxes(
    objects: Iterable[tuple[Any, Mapping[str, Any]]], labels: Mapping[Any, int], file: Path
) -> Iterator[Box]:
    for number, item in objects:
        where = f"annotation {number} of '{file}'"
        kind = item.get("category_id")
        if not _is_id(kind) or kind not in labels:
            raise DataError(
                f"{where} has the category {short(kind)}, which has no name: expected the id of "
                f"one of 'categories'; add that one, or remove the annotation"
            )
        corner = item.get("bbox")
        if not _is_bbox(corner):
            raise DataError(
                f"{where} has the bbox {short(corner)}: expected four numbers, left, top, width "
                f"and height; {MEND}"
            )
        x, y, width, height = map(float, corner)
        yield Box((x, y, x + width, y + height), labels[kind], _is_crowd(item), where)


def _is_number(value: object) -> bool:
    """One that a float can hold; it may be no finite one."""
    return type(value) is float or (type(value) is int and abs(value) < _LARGEST_NUMBER)


def _is_bbox(box: object) -> TypeGuard[list[float]]:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def filled(outline: Any, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The pixels of an object.

    Args:
        outline: polygons, each x0, y0, x1, y1, ...; or a run-length code, whose counts are numbers
            or text.
        size: height and width of the image.
        where: names it in messages.

    Raises:
        DataError: it is neither.
    """
    if isinstance(outline, list):
        found = np.zeros(size, bool)
        for polygon in outline:
            numbers = isinstance(polygon, list) and all(
                _is_number(v) and math.isfinite(v) and abs(v) <= _FARTHEST for v in polygon
            )
            if not numbers or len(polygon) < 6 or len(polygon) % 2:
                raise DataError(
                    f"{where} has a polygon of {short(polygon)}: expected x and y of three points "
                    f"or more, all finite and at most {_FARTHEST:,.0f} away; {MEND}"
                )
            found |= _inside(np.array(polygon, np.float64).reshape(-1, 2), size)
        return found
    counts = outline.get("counts") if isinstance(outline, dict) else None
    if isinstance(counts, str):
        counts = _counts(counts, where)
    sizes = outline.get("size") if isinstance(outline, dict) else None
    if not isinstance(counts, list) or not all(
        type(n) is int and 0 <= n < _LARGEST_NUMBER for n in counts
    ):
        raise DataError(
            f"{where} has an outline of neither polygons nor a run-length code: expected one; "
            f"{MEND}"
        )
    if sizes != list(size) or sum(counts) != size[0] * size[1]:
        raise DataError(
            f"{where} has a run-length code of {sum(counts)} pixels and the size {short(sizes)}: "
            f"expected {size[0] * size[1]} and {list(size)}, those of its image; {MEND}"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[::-1]).T


def _inside(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose middle is inside of a polygon: it is, beyond an odd number of edges."""
    height, width = size
    rows = np.arange(height)[:, np.newaxis] + 0.5
    (x0, y0), (x1, y1) = points.T, np.roll(points, -1, axis=0).T
    crosses = (y0 <= rows) != (y1 <= rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        places = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
    row, edge = np.nonzero(crosses)
    columns = np.clip(np.ceil(places[row, edge] - 0.5), 0, width).astype(np.int64)
    turns = np.zeros((height, width + 1), np.int64)
    np.add.at(turns, (row, columns), 1)
    found: NDArray[np.bool_] = turns.cumsum(axis=1)[:, :width] % 2 == 1
    return found


def _counts(text: str, where: str) -> list[int]:
    """Runs of a compressed code: signed numbers in fives of bits, from the third on differences."""
    found: list[int] = []
    value = shift = 0
    for sign in text:
        bits = ord(sign) - 48
        if not 0 <= bits < 64:
            raise DataError(
                f"{where} has a run-length code with {sign!r} in it: expected its text; {MEND}"
            )
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            if shift > _LONGEST_NUMBER:
                raise DataError(
                    f"{where} has a run-length code with a number that never ends: expected its "
                    f"text; {MEND}"
                )
            continue
        if bits & 16:
            value -= 1 << shift
        found.append(value + (found[-2] if len(found) > 2 else 0))
        value = shift = 0
    return found
