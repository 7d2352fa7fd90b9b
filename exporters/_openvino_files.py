"""What a graph of OpenVINO says of itself, found without building it."""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from edgekit.core.reading import LARGEST_NOTE, read_bytes
from edgekit.errors import InputError

LARGEST_GRAPH = 64 << 20
"""Most bytes of a graph, whose weights lie in another file; the largest networks have a tenth."""

MOST_TAGS = 2_000_000
"""Tags and attributes to look at, which takes seconds; the largest networks have a tenth."""

# Where the contract stands: names below the element of the file.
_PLACE = ("rt_info", "edgekit", "contract")


def contract_inside(path: Path) -> str | None:
    """The text of the attribute ``value`` at `_PLACE`.

    Raises:
        InputError: the file is too large, no XML, or XML that no graph is.
    """
    try:
        content = read_bytes(path, LARGEST_GRAPH)
    except OSError as error:
        raise InputError(f"{path} {error.strerror or error}: expected an OpenVINO IR") from error
    if max(content.count(b"<"), content.count(b"=")) > MOST_TAGS:
        raise InputError(f"{path} has over {MOST_TAGS:,} parts: expected a network")
    search = _Search(path)
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = search.start, search.end
    parser.StartDoctypeDeclHandler = search.doctype  # what it declares may grow without a bound
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # an unknown encoding is one, too
        raise InputError(f"{path} is no OpenVINO IR, or is damaged") from error
    if search.found is not None and len(search.found) > LARGEST_NOTE:
        raise InputError(
            f"{path} has a contract of {len(search.found):,} bytes inside: expected at most "
            f"{LARGEST_NOTE:,}"
        )
    return search.found


class _Search:
    """Looks for the first element at `_PLACE`.

    Attributes:
        found: its value.
    """

    def __init__(self, path: Path) -> None:
        self.found: str | None = None
        self._path = path
        # How many elements are open, and how many of them lead to the place.
        self._depth = self._fitting = 0
        self._done = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if self._depth == 0 or (
            self._fitting == self._depth <= len(_PLACE) and name == _PLACE[self._depth - 1]
        ):
            self._fitting += 1
            if self._fitting > len(_PLACE) and not self._done:
                self.found, self._done = attributes.get("value"), True
        self._depth += 1

    def end(self, _: str) -> None:
        """An element ends."""
        self._depth -= 1
        self._fitting = min(self._fitting, self._depth)

    def doctype(self, *_: object) -> None:
        """A list of declarations begins."""
        raise InputError(f"{self._path} declares a type of document: no OpenVINO IR does")
