"""What a report is made of, gathered from the files that are given to it.

Files of accuracies come from anywhere, so nothing in them is believed before it has been looked
at: shares have to be shares.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from edgekit import registry, tables
from edgekit.contract import check_files, digest, is_artifact, target_by_suffix
from edgekit.core import CLASSIFY, Measurement, from_json
from edgekit.core.reading import LARGEST_RESULTS, parse_json, read_text
from edgekit.core.text import counted_words
from edgekit.errors import InputError
from edgekit.measure.store import SAVED_SCHEMA, Store, load_saved
from edgekit.search.document import SCHEMA as SEARCH_SCHEMA
from edgekit.tasks.details import Confusion, OfClass
from edgekit.tasks.shares import share_interval

if TYPE_CHECKING:
    from edgekit.inference import Evaluation

EVALUATE_SCHEMA = "edgekit.evaluate/1"
"""Of the documents that ``edgekit evaluate --json`` prints."""

EXPECTED = (
    "expected a file of 'edgekit profile -o', a document of 'edgekit evaluate --json', an "
    "exported artifact or the folder of a search"
)

SEARCH_FILE = "search.json"
"""The document in the folder of a search."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How good an artifact or network is at its task.

    Attributes:
        source: as it was given.
        data: the images, with their split.
        value: the figure that speaks for it, from 0 to 1; more is better.
        n: how many images.
        figure: what the value is, as people write it.
        ci95: 95 % interval of the value; ``None`` where none is known.
        classes: figures of each, where they are known.
        confusion: what is taken for what, as well.
    """

    source: str
    target: str
    data: str
    value: float
    n: int
    figure: str = "top-1"
    ci95: tuple[float, float] | None = None
    classes: tuple[OfClass, ...] = field(default=(), compare=False)
    confusion: Confusion | None = field(default=None, compare=False)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval; without one, the value alone."""
        return self.ci95 or (self.value, self.value)


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """An exported file that the history has no measurement of."""

    artifact: str
    target: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that was found.

    Attributes:
        measurements: in the order in which they were given, each once, all with samples.
        notes: what a reader should know about what was left out.
        unmeasured: files that stand on the page with the figures that are known.
    """

    measurements: tuple[Measurement, ...]
    accuracies: tuple[Accuracy, ...]
    notes: tuple[str, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()


def collect(
    paths: Sequence[Path],
    store: Store | None = None,
    *,
    measurements: Sequence[Measurement] = (),
    evaluations: Sequence[Evaluation] = (),
) -> Material:
    """Reads files of measurements and accuracies, and looks artifacts up in the store.

    Artifacts that were never measured are no error beside one that was.

    Args:
        store: by default the user's own.
        measurements: that are there already; so are ``evaluations``.

    Raises:
        InputError: a file is missing, damaged, rejected or something else; two documents
            contradict each other; or nothing of it was ever measured.
    """
    gathered = _Gathered(store or Store())
    for path in paths:
        gathered.take(path)
    gathered.add("the measurements", measurements)
    for one in evaluations:
        gathered.add_accuracy("an evaluation", _of_evaluation(one))
    if not gathered.measurements:
        raise gathered.nothing(paths)
    return Material(
        tuple(gathered.measurements),
        tuple(gathered.accuracies.values()),
        tuple(gathered.notes),
        tuple(gathered.unmeasured),
    )


MOST_KEPT = 24
"""Measurements of the history on one page: more of them make no plot that one can read."""


def kept(store: Store | None = None) -> Material:
    """The history's measurements: the newest of each file and condition, at most `MOST_KEPT`.

    Args:
        store: by default the user's own.

    Raises:
        InputError: it is empty, or cannot be read.
    """
    store = store or Store()
    newest: dict[object, Measurement] = {}
    notes, older = [], 0
    for _, m in store.each():  # the newest first
        key = (m.sha256 or m.artifact, m.target, *_condition(m))
        if not m.blocks:
            notes.append(f"{m.artifact} has no samples, and was left out")
        elif key in newest:
            older += 1
        elif len(newest) == MOST_KEPT:
            notes.append(
                f"the history holds more than the newest {MOST_KEPT} files and conditions, which "
                f"are shown: name exported files to see others"
            )
            break
        else:
            newest[key] = m
    if older:
        which = counted_words(older, "older measurement")
        notes.insert(0, f"{which} of the same files and conditions left out")
    notes += store.skipped
    if not newest:
        raise InputError(
            f"there is no measurement in {store.path}: measure with 'edgekit profile ARTIFACT', "
            f"and make the page again"
        )
    return Material(tuple(newest.values()), (), tuple(notes))


def search_of(paths: Sequence[Path]) -> tuple[Path, Any] | None:
    """The file of a search and its document, where that is what the paths name.

    Raises:
        InputError: a search among other things; a file is missing or damaged.
    """
    for path in paths:
        file = path / SEARCH_FILE if path.is_dir() else path
        if not file.is_file() or (file == path and is_artifact(str(path))):
            continue  # for `collect`, which knows what to say
        document = _document(file)
        if isinstance(document, dict) and document.get("schema") == SEARCH_SCHEMA:
            if len(paths) > 1:
                raise InputError(
                    f"{path} is a search, which is a page of its own: give it alone, with another "
                    f"-o for the rest"
                )
            return file, document
    return None


class _Gathered:
    """What the files so far held."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.measurements: list[Measurement] = []
        self.accuracies: dict[tuple[str, str, str], Accuracy] = {}
        self.notes: list[str] = []
        self.unmeasured: list[Unmeasured] = []

    def take(self, path: Path) -> None:
        """Adds what a path stands for."""
        if is_artifact(str(path)):
            self.add(path, self._stored(path))
            return
        schema = _schema(path)
        if schema == SAVED_SCHEMA:
            self.add(path, _saved(path))
        elif schema == EVALUATE_SCHEMA:
            self.add_accuracy(path, accuracy_of(path))
        else:
            advice = "; its samples are in the file of -o" if schema == "edgekit.profile/1" else ""
            raise InputError(f"{path} is of the unknown schema {schema!r}: {EXPECTED}{advice}")

    def add(self, path: Path | str, measurements: Iterable[Measurement]) -> None:
        """Adds measurements of a file, or what else ``path`` names."""
        # Two of one file may look alike, as in a comparison of a file with itself; the same
        # measurement from two files is one.
        known = [_identity(m) for m in self.measurements]
        for m in measurements:
            if not m.blocks:
                self.notes.append(f"{path}: {m.artifact} has no samples, and was left out")
            elif _identity(m) not in known:
                self.measurements.append(m)

    def add_accuracy(self, path: Path | str, accuracy: Accuracy) -> None:
        """As well.

        Raises:
            InputError: another one contradicts it.
        """
        key = (accuracy.source, accuracy.target, accuracy.data)
        other = self.accuracies.setdefault(key, accuracy)
        if other != accuracy:
            raise InputError(
                f"{path} contradicts another file: {accuracy.source} has a {accuracy.figure} of "
                f"{accuracy.value:.4f} ({accuracy.n} images) or a {other.figure} of "
                f"{other.value:.4f} ({other.n} images) on {accuracy.data}; give one of them"
            )

    def nothing(self, paths: Sequence[Path]) -> InputError:
        """Why there is no page: nothing was measured."""
        if self.unmeasured:
            names = " ".join(one.artifact for one in self.unmeasured)
            which = names.replace(" ", ", ") if len(self.unmeasured) < 4 else "what was given"
            have = "has" if len(self.unmeasured) == 1 else "have"
            return InputError(
                f"{which} {have} no measurement in {self._store.path}: measure with "
                f"'edgekit profile {names}'"
            )
        where = ", ".join(map(str, paths)) or "what was given"
        return InputError(
            f"there is no measurement in {where}: measure with "
            f"'edgekit profile ARTIFACT -o FILE', and give FILE"
        )

    def _stored(self, path: Path) -> list[Measurement]:
        """The newest measurement of an artifact for each way in which it was run."""
        target = target_by_suffix(path)
        if target is None:
            raise InputError(f"{path} failed its verification: export it again, and measure that")
        if not path.exists():
            raise InputError(f"{path} does not exist: {EXPECTED}")
        check_files(path, target)
        sha256 = digest(target.files(path))
        newest: dict[object, Measurement] = {}
        older = 0
        for _, m in self._store.each(artifact=sha256):  # the newest first
            if m.sha256 == sha256:
                key = _condition(m)
                older += key in newest
                newest.setdefault(key, m)
        self.notes += [note for note in self._store.skipped if note not in self.notes]
        if not newest:
            size = sum(file.stat().st_size for file in target.files(path))
            self.unmeasured.append(Unmeasured(str(path), target.name, size))
        if older:
            which = counted_words(older, "older measurement")
            self.notes.append(f"{path}: {which} of the same conditions left out")
        return list(newest.values())


def _condition(m: Measurement) -> tuple[object, ...]:
    return m.device, m.runtime, m.threads, m.batch, m.input


def _identity(m: Measurement) -> tuple[object, ...]:
    return m.artifact, m.sha256, m.runtime, m.device, m.threads, m.batch, m.started, m.blocks


def _document(path: Path) -> Any:
    try:
        return parse_json(read_text(path, LARGEST_RESULTS))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: {EXPECTED}") from error
    except OSError as error:
        if error.errno == errno.EISDIR:
            raise InputError(f"{path} is a folder without {SEARCH_FILE}: {EXPECTED}") from error
        raise InputError(f"{path} cannot be read ({error.strerror}): {EXPECTED}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no JSON, or damaged: {EXPECTED}") from error
    except ValueError as error:  # says what no document of edgekit's has
        raise InputError(f"{path} is damaged: {error}: {EXPECTED}") from error


def _schema(path: Path) -> object:
    data = _document(path)
    return data.get("schema") if isinstance(data, dict) else None


def _saved(path: Path) -> list[Measurement]:
    try:
        return load_saved(path)
    except (OverflowError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it holds numbers that are none") from error


def accuracy_of(path: Path) -> Accuracy:
    """What a document of ``edgekit evaluate --json`` says.

    Raises:
        InputError: it is missing or damaged, or something else.
    """
    data: dict[str, Any] = _document(path)
    n, source, target, images = (data.get(key) for key in ("n", "source", "target", "data"))
    # Documents without a headline are of classifiers.
    task, headline = data.get("task", CLASSIFY), data.get("headline")
    headline = headline or {"name": "top1", "value": data.get("top1")}
    name, value = (
        (headline.get(k) for k in ("name", "value")) if isinstance(headline, dict) else ("", None)
    )
    if (
        not _is_share(value)
        or not isinstance(task, str)
        or not isinstance(name, str)
        or not isinstance(n, int)
        or n < 1
        or not isinstance(source, str)
        or not isinstance(target, str)
        or not isinstance(images, str)
    ):
        raise InputError(
            f"{path} is damaged: expected what 'edgekit evaluate --json' prints, with a headline "
            f"or top1 from 0 to 1, n, source, target and data"
        )
    split = data.get("split")
    images = f"{images}, {split}" if isinstance(split, str) else images
    figure = _title(task, name)
    ci95 = _interval(headline.get("ci95"))
    if ci95 is None and task == CLASSIFY:
        ci95 = share_interval(float(value), n)
    classes, confusion = _details(path, data)
    return Accuracy(source, target, images, float(value), n, figure, ci95, classes, confusion)


def _details(path: Path, data: dict[str, Any]) -> tuple[tuple[OfClass, ...], Confusion | None]:
    """Figures of each class and what is taken for what; older documents have none.

    Raises:
        InputError: they are no such figures.
    """
    told, matrix = data.get("classes") or [], data.get("confusion")
    try:
        classes = tuple(from_json(OfClass, one) for one in told)
        confusion = None if matrix is None else from_json(Confusion, matrix)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path} is damaged: expected the classes and confusions of 'edgekit evaluate --json' "
            f"({error})"
        ) from error
    shares = (v for one in classes for v in one.figures.values() if v is not None)
    sound = all(map(_is_share, shares)) and all(one.n >= 0 for one in classes)
    if confusion is not None:
        sizes = {len(row) for row in confusion.counts}
        sound &= len(confusion.counts) == len(confusion.right)
        sound &= sizes <= {len(confusion.found)}
        sound &= all(count >= 0 for row in confusion.counts for count in row)
    if not sound:
        raise InputError(
            f"{path} is damaged: expected figures of classes from 0 to 1, and a count for each "
            f"pair of classes"
        )
    return classes, confusion


def _title(task: str, headline: str) -> str:
    """A figure as people write it."""
    known = registry.task(task) if task in tables.TASKS else None
    return str(known.title) if known is not None and known.headline == headline else headline


def _of_evaluation(one: Evaluation) -> Accuracy:
    head = one.headline
    return Accuracy(
        one.source,
        one.target,
        f"{one.data}, {one.split}",
        head.value,
        one.n,
        _title(one.task, head.name),
        head.ci95,
        one.details.classes,
        one.details.confusion,
    )


def _interval(ends: Any) -> tuple[float, float] | None:
    if isinstance(ends, list) and len(ends) == 2 and all(map(_is_share, ends)):
        return float(ends[0]), float(ends[1])
    return None


def _is_share(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
