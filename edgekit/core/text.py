"""Text of anybody, as terminals, pages and spreadsheets may show it.

Labels, file names and messages come from files and servers of anybody: whatever is printed goes
through `printable`, and whatever is written as CSV through `write_csv`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - wide ones, too


def printable(value: object) -> str:
    r"""Text in one line, without what does not print, which stands there as ``\\u202e`` and so on.

    That are controls and line ends, marks that turn the direction of writing round, bytes of file
    names that are no UTF-8: they can move a terminal's cursor, forge a line of output, or make one
    name look like another.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(value)
    )


def shortened(text: str, width: int) -> str:
    """At most so many characters; the ends tell most."""
    if len(text) <= width:
        return text
    return f"{text[: width // 2 - 1]}…{text[-(width - width // 2) :]}"


def in_short(value: object, width: int = 80) -> str:
    """What a value is, for a message, however much it holds."""
    return printable(shortened(repr(value), width))


def counted_words(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def write_csv(stream: TextIO, rows: Iterable[Iterable[object]]) -> int:
    """Writes rows as CSV, absent values empty; returns their number.

    Text that a spreadsheet would take for a formula gets an apostrophe before it; text that is a
    number stays one.
    """
    writer = csv.writer(stream, lineterminator="\n")
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - the last one is the result
        writer.writerow([_cell(value) for value in row])
    return count


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    quoted = value.lstrip(" ").startswith(_FORMULA) and not _is_number(value)
    return f"'{printable(value)}" if quoted else printable(value)


def _is_number(text: str) -> bool:
    if "_" in text:  # Python's own way to write numbers
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True
