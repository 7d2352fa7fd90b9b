"""Tables that fit a screen: names and figures stay whole as long as anything else can give way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.cli.screen import WIDEST, Screen, coloured_result, wrapped
from edgekit.core import printable
from edgekit.core.text import shortened

if TYPE_CHECKING:
    from rich.table import Table

Heads = Sequence[tuple[str, str]]
Cells = Sequence[Sequence[str]]

SHORTEST = 12
"""Characters of a name that are shown at least."""

# Of cells: top, right, bottom, left. Between two columns is a line of one character besides.
_PADDING = {1: (0, 0, 0, 0), 2: (0, 1, 0, 0), 3: (0, 1, 0, 1)}

_ASCII_LINES = "    \n    \n -- \n    \n    \n    \n    \n    \n"


def laid_out(
    columns: Sequence[str | tuple[str, str]],
    rows: Iterable[Sequence[str]],
    screen: Screen,
    gap: int = 3,
    folder: str | None = None,
) -> Iterator[str | Table]:
    """Lines and tables that show the rows.

    Lines are broken between words. Where the words of a row have no room beside each other, those
    of a folder's files go without it; then long words are shortened in the middle; and where there
    is too little room for that, each row is a list of its own.

    Args:
        columns: headers; a pair adds the alignment, ``left`` or ``right``, which is for figures.
        gap: characters between columns, 1 to 3; fewer where the screen is narrow.
        folder: that the first cells are paths of files in.
    """

    def shown(text: str) -> str:
        return screen.encodable(printable(text))

    pairs = [(one, "left") if isinstance(one, str) else one for one in columns]
    heads = [(shown(text), justify) for text, justify in pairs]
    cells: Cells = [[shown(cell) for cell in row] for row in rows]
    room = min(screen.width, WIDEST)
    found = layout(heads, cells, room, range(gap, 0 if folder is None else 1, -1))
    if found is None and folder is not None:
        yield f"in {folder}:"
        cells = [[Path(first).name, *others] for first, *others in cells]
        found = layout(heads, cells, room, range(gap, 0, -1))
    if found is None:
        less = _with_short_words(heads, cells, room, screen)
        if less is None:
            yield from _lists(heads, cells, room, screen)
            return
        cells, found = less
    yield _drawn(heads, cells, *found, screen)


def _drawn(
    heads: Heads, cells: Cells, gap: int, widths: Sequence[int | None], screen: Screen
) -> Table:
    from rich.box import SIMPLE_HEAD, Box
    from rich.table import Table
    from rich.text import Text

    box = SIMPLE_HEAD if screen.takes("─") else Box(_ASCII_LINES, ascii=True)
    drawn = Table(box=box, pad_edge=False, padding=_PADDING[gap])
    for (header, justify), width in zip(heads, widths, strict=True):
        drawn.add_column(Text(header), justify=justify, overflow="fold", width=width)  # type: ignore[arg-type]
    for row in cells:
        drawn.add_row(*(Text.from_ansi(coloured_result(cell)) if cell else "" for cell in row))
    return drawn


def _with_short_words(
    heads: Heads, cells: Cells, room: int, screen: Screen
) -> tuple[Cells, tuple[int, list[int | None]]] | None:
    """The cells with words shortened as little as fits, and their layout; ``None`` if none does."""
    lefts = [justify == "left" for _, justify in heads]
    longest = max((len(word) for row in cells for cell in row for word in cell.split()), default=0)
    for most in range(longest - 1, SHORTEST - 1, -1):
        less = [
            [
                " ".join(_short(word, most, screen) for word in cell.split(" ")) if left else cell
                for cell, left in zip(row, lefts, strict=True)
            ]
            for row in cells
        ]
        found = layout(heads, less, room, (2, 1))
        if found is not None:
            return less, found
    return None


def _short(word: str, most: int, screen: Screen) -> str:
    if len(word) <= most:
        return word
    if screen.takes("…"):
        return shortened(word, most)
    return screen.encodable(shortened(word, most - 2))


def _lists(heads: Heads, cells: Cells, room: int, screen: Screen) -> Iterator[str]:
    """Each row as lines of a header and what stands below it."""
    wide = min(max(len(header) for header, _ in heads), room // 3)
    for row in cells:
        yield ""
        for (header, _), cell in zip(heads, row, strict=True):
            if cell:
                free = room - wide - 3
                words = " ".join(_short(word, max(free, SHORTEST), screen) for word in cell.split())
                first, *others = wrapped(words, free)
                yield f" {shortened(header, wide):{wide}}  {first}"
                yield from (f" {'':{wide}}  {line.strip()}" for line in others)
    yield ""


def layout(
    heads: Heads, cells: Cells, room: int, gaps: Iterable[int]
) -> tuple[int, list[int | None]] | None:
    """The gap, and widths of columns, with which no word is broken; ``None`` if there are none.

    It is the first one of those with which the table is shortest.
    """
    whole, least = _bounds(heads, cells)
    free = {gap: room - 2 - gap * (len(heads) - 1) for gap in gaps}
    for gap, columns in free.items():
        if sum(whole) <= columns:
            return gap, [None] * len(heads)
    found = [
        (gap, _shared(whole, least, columns))
        for gap, columns in free.items()
        if sum(least) <= columns
    ]
    if not found:
        return None
    rows = [[header for header, _ in heads], *cells]
    gap, widths = min(found, key=lambda one: sum(_height(row, one[1]) for row in rows))
    return gap, [*widths]


def _height(row: Sequence[str], widths: Sequence[int]) -> int:
    """Lines that a row takes."""
    return max(_broken(cell, width) for cell, width in zip(row, widths, strict=True))


def _broken(cell: str, width: int) -> int:
    """Lines that a cell takes, broken between words."""
    lines = used = 0
    for word in cell.split():
        if not used or used + 1 + len(word) > width:
            lines, used = lines + 1, len(word)
        else:
            used += 1 + len(word)
    return lines


def _bounds(heads: Heads, cells: Cells) -> tuple[list[int], list[int]]:
    """Widths of columns with which no line is broken, and no word."""
    from rich.cells import cell_len

    def longest(texts: Iterable[str]) -> int:
        return max(map(cell_len, texts), default=0)

    whole, least = [], []
    for i, (header, justify) in enumerate(heads):
        column = [header, *(row[i] for row in cells)]
        words = column if justify == "right" else [word for text in column for word in text.split()]
        whole.append(longest(column))
        least.append(longest(words))
    return whole, least


def _shared(whole: Sequence[int], least: Sequence[int], free: int) -> list[int]:
    """Widths between two bounds that fill a line; the widest column gives way first."""
    widths = list(whole)
    while sum(widths) > free:
        narrower = [i for i, width in enumerate(widths) if width > least[i]]
        widths[max(narrower, key=widths.__getitem__)] -= 1
    return widths
