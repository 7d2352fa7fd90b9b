"""Pieces of HTML that sections are made of; everything that is put in as text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.report.text import escaped


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is HTML already."""

    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        ident: of its heading, for links.
        body: HTML.
    """

    ident: str
    title: str
    body: str


Cell = str | Html


def markup(cell: Cell) -> str:
    """A cell as HTML."""
    return cell.text if isinstance(cell, Html) else escaped(cell)


def paragraph(*parts: Cell, kind: str = "") -> str:
    """A paragraph."""
    css = f' class="{kind}"' if kind else ""
    return f"<p{css}>{''.join(map(markup, parts))}</p>"


def badge(text: str, kind: str) -> Html:
    """A word in a coloured box; ``kind`` is ``good``, ``bad``, ``guess`` or ``none``."""
    return Html(f'<span class="badge {kind}">{escaped(text)}</span>')


def joined(*parts: Cell) -> Html:
    """Cells in a row, as one."""
    return Html("".join(map(markup, parts)))


def small(text: str) -> Html:
    """A remark below a value."""
    return Html(f"<small>{escaped(text)}</small>")


def items(lines: Iterable[Cell]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{markup(line)}</li>" for line in lines) + "</ul>"


def command(text: str) -> str:
    """A command line to copy."""
    return f"<pre><code>{escaped(text)}</code></pre>"


_KEYS = ("#", "step")
"""Columns of short numbers that stand for what a row is about."""


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], numeric: int = 0
) -> str:
    """A table; at most six columns of figures fit on a phone.

    Args:
        numeric: how many columns, from the last one back, are numbers.
    """
    first = len(columns) - numeric
    kinds = [
        'class="number"' if i >= first else 'class="key"' if name in _KEYS else ""
        for i, name in enumerate(columns)
    ]
    head = "".join(
        f'<th scope="col" {kind}>{escaped(name)}</th>'
        for name, kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td {kind}>{markup(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><caption>{escaped(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure(title: str, *pictures: tuple[str, str]) -> str:
    """Plots with their title and what to know for reading them.

    Args:
        pictures: ``<svg>`` elements, each with its caption.
    """
    drawn = "".join(
        f"<figure>{picture}<figcaption>{escaped(caption)}</figcaption></figure>"
        for picture, caption in pictures
    )
    return f'<div class="plot"><h3>{escaped(title)}</h3>{drawn}</div>'


def tables(parts: Iterable[str]) -> str:
    """Tables side by side where there is room."""
    return f'<div class="tables">{"".join(parts)}</div>'


def gallery(figures: Iterable[str]) -> str:
    """Plots side by side where there is room."""
    return f'<div class="gallery">{"".join(figures)}</div>'
