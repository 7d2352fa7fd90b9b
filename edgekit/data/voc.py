"""Pascal VOC: an XML file an image, and lists of splits.

Format: M. Everingham and J. Winn, "The PASCAL Visual Object Classes Challenge 2012 Development
Kit", 2012, section 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from edgekit.data.annotated import (
    IMAGE_SUFFIXES,
    MEND,
    Box,
    BoxFolder,
    Note,
    Read,
    bytes_of,
    check_names,
    short,
    text_of,
)
from edgekit.data.cutting import WHOLE
from edgekit.errors import DataError

_NOTES, _IMAGES, _LISTS = "Annotations", "JPEGImages", "ImageSets/Main"
_LONGEST_SIDE = 1_000_000
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


_Tree = ElementTree.Element | DataError
"""An annotation, or what is wrong with it, to be raised once it is used."""


class VocFolder(BoxFolder):
    """``Annotations/NAME.xml`` and ``JPEGImages/NAME.jpg``, as a `BoxSource`.

    Splits are those of ``ImageSets/Main/{train,val,test}.txt``, or ``trainval.txt`` in place of the
    first two; images that no list names are left out. Without lists all images are cut. Classes are
    the names that occur, sorted. Difficult objects are crowd.

    Args:
        root: the folder.
        skip_corrupt: see `edgekit.data.annotated.AnnotatedFolder`.
    """

    def __init__(self, root: Path, *, skip_corrupt: bool = False) -> None:
        notes = {path.stem: path for path in sorted((root / _NOTES).glob("*.xml"))}
        if not notes:
            raise DataError(
                f"'{root / _NOTES}' has no annotations: expected an XML file for each image"
            )
        images = {
            path.stem: path
            for path in sorted((root / _IMAGES).iterdir())
            if path.suffix.lower() in IMAGE_SUFFIXES
        }
        listed = _listed(root, list(notes))
        trees: dict[str, _Tree] = {}
        for name in (name for names in listed.values() for name in names):
            if name not in notes:
                raise DataError(
                    f"'{name}' of '{_LISTS}' in data folder '{root}' has no annotation: "
                    f"expected '{_NOTES}/{name}.xml'; add it, or take the name off the list"
                )
            trees[name] = _tree(notes[name])
        broken = [tree for tree in trees.values() if isinstance(tree, DataError)]
        if trees and len(broken) == len(trees):
            raise broken[0]
        seen = {
            (item.findtext("name") or "").strip()
            for tree in trees.values()
            if not isinstance(tree, DataError)
            for item in tree.iter("object")
        }
        classes = check_names(sorted(seen - {""}), f"'{root / _NOTES}'")
        labels = {name: label for label, name in enumerate(classes)}
        found: dict[str, dict[str, Read]] = {}
        for split, names in listed.items():
            found[split] = {}
            for name in names:
                image = images.get(name, root / _IMAGES / f"{name}.jpg")
                read = partial(_note, trees[name], notes[name], labels)
                found[split][image.relative_to(root).as_posix()] = read
        super().__init__(root, classes, found, skip_corrupt=skip_corrupt)

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether both folders are there."""
        return (path / _NOTES).is_dir() and (path / _IMAGES).is_dir()


def _listed(root: Path, every: list[str]) -> dict[str, list[str]]:
    lists = {path.stem: path for path in sorted((root / _LISTS).glob("*.txt"))}
    if "train" in lists or "val" in lists:
        chosen = {split: lists[name] for name, split in _SPLITS.items() if name in lists}
    else:
        named = {"trainval": "train", "test": "test"}
        chosen = {split: lists[name] for name, split in named.items() if name in lists}
    if not chosen:
        return {WHOLE: every}
    # Lists of one class have a 1, 0 or -1 behind each name.
    return {
        split: [line.split()[0] for line in text_of(path, "list").splitlines() if line.strip()]
        for split, path in chosen.items()
    }


def _tree(path: Path) -> _Tree:
    try:
        return ElementTree.fromstring(bytes_of(path, "annotation"))  # noqa: S314 - expat's own
    except DataError as error:
        return error
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        return DataError(f"annotation '{path}' is no XML ({error}): {MEND}")


def _note(tree: _Tree, path: Path, labels: dict[str, int]) -> Note:
    if isinstance(tree, DataError):
        raise tree
    width, height = (_side(tree, side, path) for side in ("width", "height"))
    # The pixels of the challenge's own files count from 1, and the last one is inside.
    first = 1 if (tree.findtext("source/database") or "").startswith("The VOC") else 0
    return Note(
        tuple(_boxes(tree, path, labels, first)),
        (height, width) if height > 0 and width > 0 else None,
    )


def _side(tree: ElementTree.Element, side: str, path: Path) -> int:
    value = _number(tree, f"size/{side}", path, "0")
    if not abs(value) < _LONGEST_SIDE:
        raise DataError(
            f"'{path}' has {value:g} for <size><{side}>: expected a number of pixels below "
            f"{_LONGEST_SIDE:,}; correct it"
        )
    return int(value)


def _boxes(
    tree: ElementTree.Element, path: Path, labels: dict[str, int], first: int
) -> Iterator[Box]:
    for number, item in enumerate(tree.iter("object"), 1):
        where = f"object {number} of '{path}'"
        name = (item.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{where} has no name: expected <name>, its class; add or remove it")
        x0, y0, x1, y1 = (
            _number(item, f"bndbox/{edge}", path, where=where)
            for edge in ("xmin", "ymin", "xmax", "ymax")
        )
        difficult = _number(item, "difficult", path, "0", where) != 0
        yield Box((x0 - first, y0 - first, x1, y1), labels[name], difficult, where)


def _number(
    item: ElementTree.Element, tag: str, path: Path, default: str | None = None, where: str = ""
) -> float:
    text = item.findtext(tag, default)
    try:
        return float(text or "")
    except ValueError:
        raise DataError(
            f"{where or repr(str(path))} has {short(text)} for <{tag.replace('/', '><')}>: "
            f"expected a number; correct it"
        ) from None
