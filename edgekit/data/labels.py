"""Class names in a file: one on each line, or a JSON list."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from edgekit.core.names import shown
from edgekit.core.reading import parse_json, read_text
from edgekit.errors import DataError

LONGEST = 256
"""Most characters of a name; the longest of ImageNet's has 121."""

_EXPECTED = "expected one name on each line, or a JSON list of names"
_JOINERS = "\u200c\u200d"  # Persian and Hindi need them


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names by output index.

    Spaces around a name, a byte order mark and empty lines at the end do not count.

    Raises:
        DataError: the file cannot be read, is no text, or holds no names, or one that is empty,
            too long, there twice or not printable.
    """
    try:
        text = read_text(path).removeprefix("\ufeff")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: {_EXPECTED}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; {_EXPECTED}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: {_EXPECTED}") from error
    is_json = path.suffix.lower() == ".json" or text.lstrip().startswith("[")
    names = _listed(path, text) if is_json else text.rstrip().split("\n") if text.strip() else []
    if not names:
        raise DataError(f"{path} holds no names: {_EXPECTED}")
    found = tuple(name.strip() for name in names)
    _check(path, found, "entry" if is_json else "line")
    return found


def _listed(path: Path, text: str) -> Sequence[str]:
    try:
        names = parse_json(text)
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}; {_EXPECTED}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f'{path} is no list of names: {_EXPECTED}, such as ["cat", "dog"]')
    return names


def _check(path: Path, names: Sequence[str], place: str) -> None:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        where = f"{path}, {place} {number}"
        if not name:
            raise DataError(f"{where} is empty: {_EXPECTED}")
        if any(unicodedata.category(c)[0] in "CZ" and c not in f" {_JOINERS}" for c in name):
            raise DataError(
                f"{where} has a character that does not print, '{shown(name)}': {_EXPECTED}"
            )
        if len(name) > LONGEST:
            raise DataError(
                f"{where} has {len(name)} characters, '{shown(name)}': expected {LONGEST} at most"
            )
        if name in seen:
            raise DataError(
                f"{where} is '{shown(name)}', as {place} {seen[name]} is: make names distinct, "
                f"since images are told apart by them"
            )
        seen[name] = number
