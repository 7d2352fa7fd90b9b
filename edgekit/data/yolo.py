"""YOLO's text files: a line an object, and a YAML file with the names of classes.

Format: class, and the middle, width and height of the box as shares of the image's sides; see
https://github.com/pjreddie/darknet (2013) and the data sets of Ultralytics.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from edgekit.core import reason
from edgekit.core.text import shortened
from edgekit.data.annotated import (
    IMAGE_SUFFIXES,
    MEND,
    Box,
    BoxFolder,
    Note,
    Read,
    check_names,
    exists,
    folders,
    images_in,
    is_file,
    short,
    split_folders,
    text_of,
)
from edgekit.data.cutting import SPLIT_FOLDERS, WHOLE
from edgekit.data.labels import read_labels
from edgekit.errors import DataError

_YAML = frozenset({".yaml", ".yml"})
_LARGEST_YAML = 1 << 20
_COLUMNS = "class, middle x, middle y, width and height"
_SLACK = 1e-6  # of shares, which tools round


class YoloFolder(BoxFolder):
    """Images and ``labels/NAME.txt`` for each, as a `BoxSource`.

    Classes, and where the images of each split are, stand in a YAML file in the folder, which may
    be given in its place; else in ``classes.txt`` and folders. An image without a label file, or
    with an empty one, has no objects.

    Args:
        root: the folder, or the YAML file in it.
        skip_corrupt: see `edgekit.data.annotated.AnnotatedFolder`.
    """

    def __init__(self, root: Path, *, skip_corrupt: bool = False) -> None:
        name = str(root)
        described = root if root.suffix.lower() in _YAML else _description(root)
        root = described.parent if described and root == described else root
        if described is None:
            classes, images = _names_beside(root), _by_folders(root)
        else:
            told = _told(described)
            classes, images = _names(told, described), _by_yaml(told, described, root)
        if not any(images.values()):
            raise DataError(f"data folder '{name}' has no images: expected images/ and labels/")
        labels = {path: _label_file(path, root) for part in images.values() for path in part}
        if not any(is_file(label) for label in labels.values()):
            image, label = next(iter(labels.items()))
            raise DataError(
                f"data folder '{name}' has no labels: expected '{label}' for '{image}', for one; "
                f"only an image without objects needs no label file"
            )
        found: dict[str, dict[str, Read]] = {
            split: {
                path.relative_to(root).as_posix(): partial(_note, labels[path], classes)
                for path in part
            }
            for split, part in images.items()
        }
        super().__init__(root, classes, found, skip_corrupt=skip_corrupt, name=name)

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether it is such a YAML file, or a folder with ``labels`` beside ``images``."""
        if path.suffix.lower() in _YAML:
            return path.is_file()
        if not path.is_dir():
            return False
        inner = folders(path)
        places = [path, *(folder for name, folder in inner.items() if name in SPLIT_FOLDERS)]
        return any((p / "images").is_dir() and (p / "labels").is_dir() for p in places)


def _description(root: Path) -> Path | None:
    files = [p for p in sorted(root.iterdir()) if p.suffix.lower() in _YAML and p.is_file()]
    if len(files) > 1:
        usual = [path for path in files if path.stem in ("data", "dataset")]
        if len(usual) != 1:
            raise DataError(
                f"data folder '{root}' has several YAML files ('{files[0].name}', "
                f"'{files[1].name}'): give the one that describes it in place of the folder"
            )
        files = usual
    return files[0] if files else None


def _told(path: Path) -> dict[str, Any]:
    import yaml

    text = text_of(path, "description", _LARGEST_YAML)
    try:
        # Merged mappings double with each level, so that a small file could fill the memory.
        if any(isinstance(t, yaml.ScalarToken) and t.plain and t.value == "<<"
               for t in yaml.scan(text, yaml.SafeLoader)):  # fmt: skip
            raise DataError(f"'{path}' merges mappings ('<<'): expected none; write them out")
        told = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is no YAML: {reason(error)}; mend the file") from error
    if not isinstance(told, dict) or "names" not in told:
        raise DataError(f"'{path}' has no 'names': expected a list of classes; add it")
    return told


def _names(told: dict[str, Any], path: Path) -> tuple[str, ...]:
    names, where = told["names"], f"'names' of '{path}'"
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(
                f"{where} has the numbers {shortened(', '.join(map(short, names)), 80)}: "
                f"expected 0 to {len(names) - 1}, each with a name"
            )
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list):
        raise DataError(f"{where} is {short(names)}: expected a list, or numbers with names")
    # YAML makes numbers and truth values of 7 and of no.
    for i, name in enumerate(names):
        if isinstance(name, bool):
            raise DataError(
                f"class {i} in {where} is {str(name).lower()}, as YAML reads no, off, yes and on: "
                f"expected a text; put the name in quotes"
            )
    texts = [str(n) if isinstance(n, int | float) else n for n in names]
    count = told.get("nc", len(names))
    if count != len(names):
        raise DataError(
            f"'{path}' has {len(names)} names and says 'nc: {short(count)}': correct one"
        )
    return check_names(texts, where)


def _names_beside(root: Path) -> tuple[str, ...]:
    for path in (root / "classes.txt", root / "labels" / "classes.txt", root / "obj.names"):
        if path.is_file():
            return read_labels(path)
    raise DataError(
        f"data folder '{root}' has images and labels, but nothing names its classes: expected "
        f"'data.yaml' with 'names: [cat, dog]', or 'classes.txt' with a name a line"
    )


def _by_folders(root: Path) -> dict[str, list[Path]]:
    """Images by split: ``images/train``, or ``train/images``, or ``images`` alone."""
    images = root / "images"
    by_split = split_folders(images if images.is_dir() else root)
    if by_split:
        return {split: images_in(_images_of(folder)) for split, folder in by_split.items()}
    return {WHOLE: images_in(images)}


def _images_of(folder: Path) -> Path:
    return folder / "images" if (folder / "images").is_dir() else folder


def _by_yaml(told: dict[str, Any], described: Path, root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for key, split in SPLIT_FOLDERS.items():
        places = told.get(key)
        if not places:
            continue
        if split in found:
            raise DataError(f"'{described}' names {split} twice: remove '{key}'")
        found[split] = []
        for place in places if isinstance(places, list) else [places]:
            if not isinstance(place, str):
                raise DataError(f"'{key}' of '{described}' is {short(place)}: expected a folder")
            found[split] += _images_at(place, told.get("path"), described, root, key)
    return found or _by_folders(root)


def _images_at(place: str, base: object, described: Path, root: Path, key: str) -> list[Path]:
    """The images of a folder, or of a list, that a YAML file names.

    Such files were written elsewhere: what lies in the folder by the end of a path counts.
    """
    tail = [part for part in Path(place).parts if part not in ("..", ".", os.sep)]
    tries = [root / place, *([root / base / place] if isinstance(base, str) else [])]
    tries += [root.joinpath(*tail[start:]) for start in range(len(tail))]
    inside = root.resolve()
    for path in tries:
        if not exists(path) or not path.resolve().is_relative_to(inside):
            continue
        path = inside_of(path, root)
        if path.is_dir():
            return images_in(path)
        if path.suffix == ".txt":
            return list(_images_listed(path, root))
    raise DataError(
        f"'{described}' names '{place}' for '{key}', which is not in data folder '{root}': "
        f"expected a folder of images in it; correct the path"
    )


def inside_of(path: Path, root: Path) -> Path:
    """The same path without steps up, below a folder that it is known to lie in."""
    return root / path.resolve().relative_to(root.resolve())


def _images_listed(path: Path, root: Path) -> Iterator[Path]:
    for number, line in enumerate(text_of(path, "list").splitlines(), 1):
        if not (name := line.strip()):
            continue
        image = root / name
        no_image = Path(name).suffix.lower() not in IMAGE_SUFFIXES or "\0" in name
        if no_image or ".." in Path(name).parts:
            raise DataError(f"line {number} of '{path}' is '{name}': expected the path of an image")
        if not image.resolve().is_relative_to(root.resolve()):
            raise DataError(
                f"line {number} of '{path}' is '{name}', outside of data folder '{root}': expected "
                f"a path below it"
            )
        yield image


def _label_file(image: Path, root: Path) -> Path:
    """``labels`` in place of the last ``images`` below the root, else beside the image."""
    parts = list(image.relative_to(root).parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return root.joinpath(*parts).with_suffix(".txt")


def _note(path: Path, classes: tuple[str, ...]) -> Note:
    if not path.is_file():
        return Note()
    lines = text_of(path, "label file").splitlines()
    return Note(tuple(_boxes(lines, path, classes)), shares=True)


def _boxes(lines: Iterable[str], path: Path, classes: tuple[str, ...]) -> Iterator[Box]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"line {number} of '{path}'"
        words = line.split()
        if len(words) != 5:
            raise DataError(f"{where} {_why_not_five(line, len(words))}; {MEND}")
        try:
            kind, (x, y, width, height) = int(words[0]), map(float, words[1:])
        except ValueError:
            raise DataError(
                f"{where} is '{line.strip()}': expected five numbers, {_COLUMNS}, the class "
                f"without a point; {MEND}"
            ) from None
        if not 0 <= kind < len(classes):
            raise DataError(
                f"{where} has the class {kind}: expected 0 to {len(classes) - 1}, since there are "
                f"{len(classes)} names; correct or remove the line, or add a name"
            )
        for name, share in zip(
            _COLUMNS.split(", ", 1)[1].replace(" and", ",").split(", "),
            (x, y, width, height),
            strict=True,
        ):
            if not -_SLACK <= share <= 1 + _SLACK:
                raise DataError(
                    f"{where} has {share:g} for {name}: expected a share of the image's side, "
                    f"from 0 to 1; divide pixels by that side, or {MEND}"
                )
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        yield Box(corners, kind, False, where)


def _why_not_five(line: str, count: int) -> str:
    for sign, name in ((",", "commas"), (";", "semicolons")):
        if sign in line:
            return f"has {name}: expected five numbers, {_COLUMNS}, with spaces between them"
    also = {
        6: "; a sixth number is a confidence, which predictions have",
    }.get(count, "; more of them are outlines, which are not read" if count > 6 else "")
    return f"has {count} numbers: expected five, {_COLUMNS}{also}"
