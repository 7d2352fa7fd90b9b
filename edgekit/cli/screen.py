"""What a stream shows: how wide it is, which letters and colours; lines of text that fit it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TextIO

PLAIN_WIDTH = 80  # of tables that go into a file or pipe
PLAIN_HEIGHT = 24
WIDEST = 120

_DUMB = ("dumb", "unknown")  # values of TERM


class Live(Protocol):
    """A display that is drawn anew all the time, at the end of the terminal that stderr goes to."""

    @property
    def screen(self) -> Screen:
        """What the terminal shows now."""

    def above(self, line: str) -> None:
        """Prints a line above the display; it may hold codes of colours."""


current: Live | None = None
"""The display that is being drawn, if any."""

taken: dict[int, int] = {}
"""Descriptors that are collected while a display is drawn, and where the terminal is instead."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What a stream shows.

    Attributes:
        terminal: whether a person looks at it.
        width: columns.
        height: lines.
        colour: whether it shows colours, and the user wants them.
        moves: whether lines can be drawn anew.
        encoding: of its text.
    """

    terminal: bool = False
    width: int = PLAIN_WIDTH
    height: int = PLAIN_HEIGHT
    colour: bool = False
    moves: bool = False
    encoding: str = "utf-8"

    def encodable(self, text: str) -> str:
        """The text, with something else in place of what the encoding lacks."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            plain = text.translate(_PLAIN)
            return plain.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return text

    def takes(self, text: str) -> bool:
        """Whether the encoding has all of the text's letters."""
        return self.encodable(text) == text


_PLAIN = str.maketrans(
    {
        "±": "+-", "×": "x", "…": "...", "µ": "u", "°": " deg ", "–": "-", "—": "-", "→": "->",  # noqa: RUF001
        "≈": "~", "─": "-", "█": "#", "▓": "*", "▒": "+", "░": ".",
    }
)  # fmt: skip


def screen_of(stream: TextIO) -> Screen:
    """What a stream shows; one that is collected shows what its terminal does."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    descriptor = terminal_of(stream)
    if descriptor is None:
        return Screen(encoding=encoding)
    width, height = _size(descriptor)
    moves = os.environ.get("TERM", "").lower() not in _DUMB
    colour = moves and not os.environ.get("NO_COLOR")
    return Screen(True, width, height, colour, moves, encoding)


def terminal_of(stream: TextIO) -> int | None:
    """Descriptor of the terminal that a stream goes to; ``None`` where it goes elsewhere."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):  # it has none, or is closed
        return None
    if descriptor in taken:
        return taken[descriptor]
    return descriptor if stream.isatty() else None


def _size(descriptor: int) -> tuple[int, int]:
    """Columns and lines of a terminal, of which ``COLUMNS`` and ``LINES`` know better."""
    try:
        seen = tuple(os.get_terminal_size(descriptor))
    except OSError:
        seen = (0, 0)
    width, height = (
        _positive(os.environ.get(name)) or have or usual
        for name, have, usual in zip(
            ("COLUMNS", "LINES"), seen, (PLAIN_WIDTH, PLAIN_HEIGHT), strict=True
        )
    )
    return width, height


def _positive(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0


# Lines

# A command line at the end of a message, which is meant to be copied.
_COMMAND = re.compile(r"(.*?\b(?:next|go on with): )(edgekit .+)")
_ARGUMENT = re.compile(r"(?:'[^']*'|\"[^\"]*\"|[^\s'\"])+")
_WORD = re.compile(r"\s*\S+")
_BAR = re.compile(r"\s+(?:█+|#+)$")


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many columns, broken between words; a longer word stays whole.

    A command line is broken as a shell reads it, so that it may be copied. A bar at the end, which
    shows a figure of the line once more, is left out where it has no room.
    """
    from rich.cells import cell_len

    if cell_len(text) > width:
        text = _BAR.sub("", text)
    if cell_len(text) <= width:
        return [text]
    indent = " " * min(len(text) - len(text.lstrip()) + 2, width // 4)
    command = _COMMAND.fullmatch(text)
    if command is None:
        return _filled(_WORD.findall(text), width, indent, "")
    before, line = command.groups()
    words = [f" {word}" for word in _ARGUMENT.findall(line)]
    begun = _filled(_WORD.findall(before), width, indent, "")
    if len(words[0]) + len(words[1:2]) + cell_len(begun[-1]) <= width // 2:
        first = begun.pop() + "".join(words[:1])
        return [*begun, *_filled([first, *words[1:]], width, indent, " \\")]
    return [*begun, *_filled([indent + words[0].lstrip(), *words[1:]], width, indent * 2, " \\")]


def _filled(words: list[str], width: int, indent: str, end: str) -> list[str]:
    """As many of the words in each line as fit.

    Args:
        words: with the space before each.
        indent: of all lines but the first.
        end: of all lines but the last.
    """
    from rich.cells import cell_len

    lines = [words[0]]
    for word in words[1:]:
        if cell_len(lines[-1] + word) <= width - len(end):
            lines[-1] += word
        else:
            lines.append(indent + word.lstrip())
    return [*(line + end for line in lines[:-1]), lines[-1]]


# Colours

_BEGINNINGS = {"error:": "1;31", "warning:": "1;33", "next:": "1"}
_GOOD, _BAD = "32", "31"
_OUTCOMES = {
    **dict.fromkeys(("passed", "holds", "faster"), _GOOD),
    **dict.fromkeys(("rejected", "failed", "fails", "slower"), _BAD),
}
_MARKS = {"ok": _GOOD, "!!": _BAD}
_OUTCOME = re.compile(rf"(?<!\S)({'|'.join(_OUTCOMES)})(?=[,:;)]|\.?(?:\s|$))")
_MARK = re.compile(rf"({'|'.join(_MARKS)})(?=\s|$)")


def coloured_message(line: str) -> str:
    """A line of the log with its first word in colour, where that tells what it is."""
    first, space, rest = line.partition(" ")
    code = _BEGINNINGS.get(first)
    return line if code is None else f"\x1b[{code}m{first}\x1b[0m{space}{rest}"


def coloured_result(line: str) -> str:
    """A line of the result with what is good or bad news in colour."""
    marked = list(_news(line))
    for start, end, code in reversed(marked):
        line = f"{line[:start]}\x1b[{code}m{line[start:end]}\x1b[0m{line[end:]}"
    return line


def _news(line: str) -> Iterator[tuple[int, int, str]]:
    """Where words that tell good or bad news begin and end, and the code of their colour."""
    mark = _MARK.match(line)
    if mark is not None:
        yield mark.start(), mark.end(), _MARKS[mark[0]]
    for found in _OUTCOME.finditer(line):
        yield found.start(), found.end(), _OUTCOMES[found[0]]
