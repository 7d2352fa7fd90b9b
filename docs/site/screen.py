"""What a terminal shows of what programs write to it: enough of one for records of edgekit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"\x1b\[(?P<values>[0-9;?]*)(?P<command>[A-Za-z])"
    r"|\x1b\].*?(?:\x07|\x1b\\)"
    r"|\x1b[()][A-Z0-9]|\x1b[=>78]"
    r"|(?P<character>.)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A character and how it is drawn: words such as ``bold`` or ``green``."""

    character: str = " "
    style: frozenset[str] = frozenset()


_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


@dataclass
class Screen:
    """Lines of a terminal, all that has been written since the beginning.

    Attributes:
        lines: from the first one; none is taken away when the window is full.
    """

    columns: int = 80
    rows: int = 24
    lines: list[list[Cell]] = field(default_factory=lambda: [[]])
    _row: int = 0
    _column: int = 0
    _style: frozenset[str] = frozenset()

    def write(self, text: str) -> None:
        """Takes what a program has written."""
        for token in _TOKEN.finditer(text):
            if (character := token["character"]) is not None:
                self._put(character)
            elif (command := token["command"]) is not None and "?" not in token["values"]:
                self._obey(command, [int(v or 0) for v in token["values"].split(";")])

    def window(self) -> list[list[Cell]]:
        """The lines that can be seen."""
        return self.lines[-self.rows :]

    def text(self) -> list[str]:
        """All lines, without styles and spaces behind them."""
        return ["".join(cell.character for cell in line).rstrip() for line in self.lines]

    def _put(self, character: str) -> None:
        if character == "\n":
            self._row += 1
            while len(self.lines) <= self._row:
                self.lines.append([])
        elif character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character >= " ":
            if self._column >= self.columns:
                self._column = 0
                self._put("\n")
            line = self.lines[self._row]
            line += [Cell()] * (self._column + 1 - len(line))
            line[self._column] = Cell(character, self._style)
            self._column += 1

    def _obey(self, command: str, values: list[int]) -> None:
        number, line = values[0], self.lines[self._row]
        if command == "A":
            self._row = max(0, len(self.lines) - self.rows, self._row - max(1, number))
        elif command == "B":
            self._row = min(len(self.lines) - 1, self._row + max(1, number))
        elif command == "C":
            self._column = min(self.columns, self._column + max(1, number))
        elif command == "D":
            self._column = max(0, self._column - max(1, number))
        elif command == "G":
            self._column = max(1, number) - 1
        elif command == "K":
            if number == 0:
                del line[self._column :]
            elif number == 2:
                line.clear()
        elif command == "J" and number == 0:
            del line[self._column :]
            del self.lines[self._row + 1 :]
        elif command == "m":
            self._style = _styled(self._style, values)


def _styled(style: frozenset[str], values: list[int]) -> frozenset[str]:
    colours = frozenset(_COLOURS)
    for value in values:
        if value == 0:
            style = frozenset()
        elif value in (1, 2):
            style |= {"bold" if value == 1 else "dim"}
        elif value == 22:
            style -= {"bold", "dim"}
        elif value in (38, 48):
            break  # of 256 colours; drawn as they come
        elif value == 39:
            style -= colours
        elif 30 <= value <= 37 or 90 <= value <= 97:
            style = (style - colours) | {_COLOURS[value % 10]}
    return style
