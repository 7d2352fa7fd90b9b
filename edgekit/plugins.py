"""Plug-ins: lines of tables, and how they get there from other packages.

A package that is installed adds to a table by entry points of the table's group. They are read
when a name is looked up, and what they name is imported when it is asked for.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata
from typing import Any, Generic, TypeVar

from edgekit.core import reason
from edgekit.core.reasons import PASSING
from edgekit.errors import UnavailableError, UnknownNameError

# Where the name to install is not the name to import.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "google": "protobuf",
    "litert_torch": "'edgekit[litert-torch]'",
    "ray": "'edgekit[ray]'",
    "sklearn": "scikit-learn",
    "torch_pruning": "'edgekit[search]'",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A plug-in: where it lies and what it is.

    Attributes:
        package: name and version of the package that it comes from; empty for edgekit's own.
    """

    where: str
    about: str
    package: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Further names that it goes by."""
        return ()


@dataclass(frozen=True, slots=True)
class Point:
    """A line of a package's entry points: ``name = where``.

    Attributes:
        group: that it stands in.
        package: name and version of the package.
        about: its summary.
    """

    name: str
    group: str
    where: str
    package: str
    about: str = ""


E = TypeVar("E", bound=Entry)


class Table(Mapping[str, E], Generic[E]):
    """Names of one kind: edgekit's own, then those of installed packages, which are sorted.

    Args:
        kind: what a name stands for, in the singular.
        group: of the entry points that add lines.
        hint: where people see the names.
        built_in: edgekit's own lines.

    A name that a package has in common with edgekit, or with another package, is refused when it
    is asked for.
    """

    def __init__(self, kind: str, group: str, hint: str, built_in: dict[str, E]) -> None:
        self.kind, self.group, self.hint, self.built_in = kind, group, hint, built_in
        self._loaded: dict[E, Any] = {}  # of packages

    def __getitem__(self, name: str) -> E:
        return self._first()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._first())

    def __len__(self) -> int:
        return len(self._first())

    def lines(self) -> list[tuple[str, E]]:
        """All lines, those included whose name another one has before them."""
        added = self._added([point for point in points() if point.group == self.group])
        return [*self.built_in.items(), *added]

    def _first(self) -> dict[str, E]:
        """Of each name, the first line."""
        found: dict[str, tuple[str, E]] = {}
        for name, entry in self.lines():
            found.setdefault(normalize(name), (name, entry))
        return dict(found.values())

    def _added(self, points: Sequence[Point]) -> list[tuple[str, Any]]:
        """Lines of the table for entry points of packages."""
        return [(p.name, Entry(p.where, p.about, p.package)) for p in points]

    def _flaw(self, name: str, entry: E, loaded: Any) -> str | None:
        """What is wrong with the object of a package's line; ``None`` where nothing is."""

    def key(self, name: str) -> str | None:
        """The name of the line that a name means, which may be one of `Entry.names`.

        Returns:
            ``None`` where no line has that name.

        Raises:
            UnavailableError: several have it.
        """
        line = self._line(name)
        return None if line is None else line[0]

    def find(self, name: str) -> tuple[str, E]:
        """The line of that name, with the name that the table has for it.

        Raises:
            UnknownNameError: there is none; the message has the hint.
            UnavailableError: there are several.
        """
        line = self._line(name)
        if line is None:
            raise UnknownNameError(self.kind, name, self, self.hint)
        return line

    def _line(self, name: str) -> tuple[str, E] | None:
        wanted = normalize(name)
        meant = [
            (key, entry)
            for key, entry in self.lines()
            if wanted in map(normalize, (key, *entry.names))
        ]
        if len(meant) > 1:
            places = [f"{e.package or 'edgekit itself'} ({e.where})" for _, e in meant]
            packages = dict.fromkeys(e.package for _, e in meant if e.package)
            raise UnavailableError(
                f"{self.kind} '{name}' comes from {' and from '.join(places)}: uninstall "
                f"{' or '.join(packages)}"
            )
        return meant[0] if meant else None

    def load(self, name: str) -> Any:
        """Imports what the line of that name names.

        Raises:
            UnknownNameError: there is none.
            UnavailableError: there are several; a package that it needs is not installed; it is
                another package's, and cannot be imported or is not what the table holds.
        """
        key, entry = self.find(name)
        if not entry.package:
            return load(entry)
        if entry not in self._loaded:
            self._loaded[entry] = self._checked(key, entry)
        return self._loaded[entry]

    def _checked(self, name: str, entry: E) -> Any:
        """What a line of another package names."""
        told, remedy = f"{self.kind} '{name}' of {entry.package}", "update or uninstall the package"
        own = _top(entry.where.partition(":")[0])
        try:
            loaded = load(entry, told)
            flaw = self._flaw(name, entry, loaded)
        except PASSING:
            raise
        except BaseException as error:
            missing, why = error.__cause__, reason(error)
            if isinstance(error, UnavailableError) and isinstance(missing, ModuleNotFoundError):
                if _top(str(missing.name)) != own:
                    raise
                why = str(missing)  # to install what is called like that would be of no use
            raise UnavailableError(f"{told} cannot be loaded: {why}; {remedy}") from error
        if flaw is not None:
            raise UnavailableError(f"{told} cannot be used: {flaw}; {remedy}")
        return loaded

    def load_all(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What all lines name, and why that of a line of another package cannot be had.

        Raises:
            UnavailableError: a package that a line of edgekit's own needs is not installed.
        """
        found, flaws = {name: load(entry) for name, entry in self.built_in.items()}, {}
        for name, entry in self._first().items():
            if entry.package:
                try:
                    found[name] = self.load(name)
                except UnavailableError as error:
                    flaws[name] = str(error)
        return found, flaws


def _top(module: str) -> str:
    """The package that a module lies in."""
    return module.partition(".")[0]


GROUP = "edgekit."
"""What groups of entry points for edgekit begin with."""


def points() -> tuple[Point, ...]:
    """All entry points for edgekit in the packages that are installed, sorted by name.

    A package whose entry points cannot be read has one without group; ``where`` tells why.
    """
    return _points(tuple(sys.path))


@cache
def _points(paths: tuple[str, ...]) -> tuple[Point, ...]:
    """Entry points of the packages that lie on some paths."""
    found: dict[str, list[Point]] = {}
    for one in metadata.distributions(path=list(paths)):
        name, package = "", "a package"
        try:
            # Read as text first: those of 125 packages take 30 ms, and parsing them as much again.
            if f"[{GROUP}" not in (one.read_text("entry_points.txt") or ""):
                continue
            name, about = str(one.metadata["Name"]), str(one.metadata["Summary"] or "")
            package = f"{name} {one.version}"
            own = [
                Point(p.name, p.group, p.value, package, about)
                for p in one.entry_points
                if p.group.startswith(GROUP)
            ]
        except Exception as error:  # whatever is in somebody's file
            own = [Point(name, "", reason(error), package)]
        # Of several packages of one name, the first one on the path is imported.
        found.setdefault(normalize(name), own)
    every = (point for own in found.values() for point in own)
    return tuple(sorted(every, key=lambda point: (point.name, point.package)))


def to_install(name: str) -> str:
    """What ``pip install`` is to be given for a package that is imported, or called, like that."""
    return _DISTRIBUTIONS.get(name.replace("-", "_"), name)


@lru_cache(4096)  # a search looks its family up for thousands of networks
def normalize(name: str) -> str:
    """The form in which names are compared."""
    return re.sub(r"[-_.]", "", name.lower())


def load(entry: Entry, what: str | None = None) -> Any:
    """Imports what a table line names.

    Args:
        what: words for it; by default what the line says.

    Raises:
        UnavailableError: a package that it needs is not installed.
    """
    module, _, attribute = entry.where.partition(":")
    with needed_packages(what or entry.about):
        return getattr(importlib.import_module(module), attribute)


@contextmanager
def needed_packages(what: str) -> Iterator[None]:
    """Turns a missing package into a message with the line that installs it.

    Raises:
        UnavailableError: a package that the block imports is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"{what} needs the package '{error.name}', which is not installed: "
            f"pip install {to_install(str(error.name))}"
        ) from error
