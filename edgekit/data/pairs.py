"""Images in pairs, of which somebody said whether they show the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgekit.data.annotated import IMAGE_SUFFIXES, AnnotatedFolder, Note, Read, text_of
from edgekit.data.cutting import WHOLE, Member, cut
from edgekit.errors import DataError

_LISTS = {
    "pairs.txt": WHOLE,
    "pairs_train.txt": "train",
    "pairs_val.txt": "validation",
    "pairs_test.txt": "test",
}
_LARGEST = 256 << 20
_EXPECTED = "expected two paths of images, and 1 (the same) or 0, with tabs or spaces between them"


class PairFolder(AnnotatedFolder):
    """Lists of pairs, as a `LabelSource` whose classes are what is the same.

    Images that pairs call the same, directly or through others, are one class, which is called
    after its first image; all others are different. Each class is in one split: ``pairs.txt`` is
    cut by classes, ``pairs_train.txt``, ``pairs_val.txt`` and ``pairs_test.txt`` are taken as they
    are.

    Args:
        root: the folder, below which the images lie.
        skip_corrupt: see `edgekit.data.annotated.AnnotatedFolder`.
    """

    def __init__(self, root: Path, *, skip_corrupt: bool = False) -> None:
        lists = {split: root / name for name, split in _LISTS.items() if (root / name).is_file()}
        if WHOLE in lists and len(lists) > 1:
            raise DataError(
                f"data folder '{root}' has both 'pairs.txt' and lists of splits: expected one or "
                f"the others"
            )
        same = _Same()
        different: list[tuple[str, str, str]] = []
        listed: dict[str, list[str]] = {}
        for split, path in lists.items():
            listed[split] = []
            for first, second, alike, where in _pairs(path):
                listed[split] += (first, second)
                if alike:
                    same.join(first, second)
                else:
                    different.append((first, second, where))
        for first, second, where in different:
            if same.name(first) == same.name(second):
                raise DataError(
                    f"{where} says that '{first}' and '{second}' are different, and other pairs "
                    f"say that they are the same: expected one of both; correct it"
                )
        of_class: dict[str, set[str]] = {}
        for image in (image for images in listed.values() for image in images):
            of_class.setdefault(same.name(image), set()).add(image)
        if len(of_class) < 2:
            raise DataError(f"data folder '{root}' has one class only: expected different images")
        # Under the name of its first image, whatever the order of the lines.
        names = {name: min(images) for name, images in of_class.items()}
        parts = {
            split: [Member(name) for name in sorted({same.name(i) for i in images})]
            for split, images in listed.items()
        }
        if WHOLE in parts:
            renamed = [Member(names[member.relative]) for member in parts[WHOLE]]
            back = {new: old for old, new in names.items()}
            parts = {
                split: [Member(back[member.relative]) for member in part]
                for split, part in cut({WHOLE: renamed}).items()
                if part
            }
        found: dict[str, dict[str, Read]] = {
            split: {image: Note for member in part for image in sorted(of_class[member.relative])}
            for split, part in parts.items()
        }
        classes = tuple(sorted(names.values()))
        label = {name: i for i, name in enumerate(classes)}
        self._labels = {
            image: label[names[name]] for name, images in of_class.items() for image in images
        }
        super().__init__(root, classes, found, skip_corrupt=skip_corrupt)
        self.keeps_test = "test" in lists

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether there is such a list; others that are called so begin otherwise."""
        lists = [path / name for name in _LISTS if (path / name).is_file()]
        return any(_begins(text_of(file, "list of pairs", _LARGEST)) for file in lists)

    def label(self, split: str, index: int) -> int:
        """Label of one image."""
        return self._labels[self._parts[split][index]]


def _begins(text: str) -> bool:
    """Whether the first two words are images."""
    return sum(Path(word).suffix.lower() in IMAGE_SUFFIXES for word in text.split(None, 2)[:2]) == 2


class _Same:
    """What is the same as what, by a tree of images for each class."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def name(self, image: str) -> str:
        """The image that stands for all that are the same as this one."""
        path = [image]
        while (above := self._above.get(path[-1], path[-1])) != path[-1]:
            path.append(above)
        self._above.update(dict.fromkeys(path, path[-1]))
        return path[-1]

    def join(self, first: str, second: str) -> None:
        self._above[self.name(first)] = self.name(second)


def _pairs(path: Path) -> Iterator[tuple[str, str, bool, str]]:
    """First and second image, whether they are the same, and where that stands."""
    for number, line in enumerate(text_of(path, "list of pairs", _LARGEST).splitlines(), 1):
        if not line.strip():
            continue
        where = f"line {number} of '{path}'"
        words = [word.strip() for word in line.split("\t")] if "\t" in line else line.split()
        if len(words) != 3 or words[2] not in ("0", "1"):
            raise DataError(f"{where} is '{line.strip()}': {_EXPECTED}")
        for word in words[:2]:
            if Path(word).is_absolute() or ".." in Path(word).parts:
                raise DataError(f"{where} names '{word}': expected a path below '{path.parent}'")
        if words[0] == words[1]:
            raise DataError(f"{where} pairs '{words[0]}' with itself: expected two images")
        first, second = (Path(word).as_posix() for word in words[:2])
        yield first, second, words[2] == "1", where
