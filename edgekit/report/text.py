"""Text and numbers as a page shows them.

Names come from files of anybody: whatever reaches the page goes through `escaped`, and whatever
reaches a plot through `edgekit.core.printable`.
"""

from __future__ import annotations

import html
import math
from decimal import Decimal

from edgekit.core import printable

UNKNOWN = "-"
"""In place of a figure that nobody knows."""


def escaped(value: object) -> str:
    """Text as HTML, for elements and attributes."""
    return html.escape(printable(value), quote=True)


_LEAST = 1e-6
"""What is less is told by its bound alone."""


def figures(value: float) -> str:
    """A number with three to four significant digits, never with an exponent."""
    size = abs(value)
    if size == 0:
        return "0"
    if size < _LEAST:
        return f"<{plain(_LEAST)}"
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    if size < 0.1:
        decimals = 2 - math.floor(math.log10(size))
    return f"{value:,.{decimals}f}"


def plain(value: float, digits: int = 6) -> str:
    """A number with so many significant digits at most, never with an exponent."""
    text = f"{value:.{digits}g}"
    return f"{Decimal(text):f}" if "e" in text else text


def percent(share: float, decimals: int = 1) -> str:
    """A share of 1."""
    return f"{100 * share:.{decimals}f} %"
