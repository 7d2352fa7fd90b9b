"""Text and numbers as a page shows them.

Names come from files of anybody: whatever reaches the page goes through `escaped`, and whatever
reaches a plot through `edgekit.core.printable`.
"""

from __future__ import annotations

import html

from edgekit.core import printable

UNKNOWN = "-"
"""In place of a figure that nobody knows."""


def escaped(value: object) -> str:
    """Text as HTML, for elements and attributes."""
    return html.escape(printable(value), quote=True)


def figures(value: float) -> str:
    """A number with four significant digits, and no more decimals than three."""
    size = abs(value)
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    if 0 < size < 0.01:
        return f"{value:.3g}"
    return f"{value:,.{decimals}f}"


def percent(share: float, decimals: int = 1) -> str:
    """A share of 1."""
    return f"{100 * share:.{decimals}f} %"


def counted_words(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
