"""Help on terminals that are too narrow for two columns."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

import click

from edgekit.cli.screen import screen_of, wrapped

TWO_COLUMNS = 60
"""Columns of a terminal on which names and what they mean stand beside each other."""

LEAST = 20

_KEPT = "\b"
"""Stands alone in a line before lines that are kept; of click."""


class Formatter(click.HelpFormatter):
    """Help as wide as the terminal; what names mean stands below them where that is narrow."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        columns = screen_of(sys.stdout).width
        narrow = max(LEAST, columns - 1) if width is None and columns < TWO_COLUMNS else width
        super().__init__(indent_increment, narrow, max_width)

    def write_text(self, text: str) -> None:
        """Paragraphs; examples of command lines in lines that fit."""
        if self.width < TWO_COLUMNS - 1:
            text = "\n\n".join(map(self._narrowed, re.split(r"\n{2,}", text)))
        super().write_text(text)

    def _narrowed(self, paragraph: str) -> str:
        """A paragraph, with lines that fit where they are kept as they are."""
        first, _, rest = paragraph.partition("\n")
        if first.strip() != _KEPT:
            return paragraph
        lines = [first]
        for line in rest.split("\n"):
            command, _, meaning = line.strip().partition("  ")
            lines += wrapped(command, self.width - self.current_indent)
            if meaning:
                lines += [f"  {part}" for part in wrapped(meaning.strip(), self.width - 4)]
        return "\n".join(lines)

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Names and what they mean."""
        if self.width >= TWO_COLUMNS - 1:
            super().write_dl(rows, col_max, col_spacing)
            return
        for name, meaning in rows:
            self.write_text(name)
            if meaning:
                with self.indentation():
                    self.write_text(meaning)


class Context(click.Context):
    """Of all commands."""

    formatter_class = Formatter
