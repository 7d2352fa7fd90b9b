"""A terminal of a given size, and what a person sees on it while a program runs."""

from __future__ import annotations

import codecs
import os
import re
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|(.)", re.DOTALL)
_CUT = re.compile(r"\x1b(?:\[[?\d;]*)?$")  # a code of which the rest is still to come


@dataclass(frozen=True)
class Shown:
    """What a program has shown.

    Attributes:
        raw: all that came, with codes.
        text: what stands there at last, with what has scrolled out of sight before it.
        frames: what stood there in between, each time something changed.
    """

    code: int
    raw: str
    text: str
    frames: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """Of the text."""
        return self.text.split("\n")


PseudoTerminal = Callable[..., Shown]


class _Grid:
    """Characters of a terminal, by the few codes that displays use; others raise."""

    def __init__(self, columns: int, lines: int) -> None:
        self._columns, self._lines = columns, lines
        self._rows = [[" "] * columns for _ in range(lines)]
        self._gone: list[str] = []
        self._x = self._y = 0

    def write(self, text: str) -> None:
        for argument, code, char in _TOKEN.findall(text):
            if code:
                self._obey(code, argument)
            elif char == "\r":
                self._x = 0
            elif char == "\n":
                self._down()
            else:
                assert char.isprintable(), repr(char)
                if self._x == self._columns:
                    self._x = 0
                    self._down()
                self._rows[self._y][self._x] = char
                self._x += 1

    def _obey(self, code: str, argument: str) -> None:
        if code == "A":
            self._y = max(0, self._y - int(argument or 1))
        elif code == "K":
            assert argument == "2"
            self._rows[self._y] = [" "] * self._columns
        else:
            assert code == "m" or argument == "?25", (code, argument)

    def _down(self) -> None:
        if self._y < self._lines - 1:
            self._y += 1
        else:
            self._gone.append("".join(self._rows.pop(0)).rstrip())
            self._rows.append([" "] * self._columns)

    def text(self) -> str:
        return "\n".join([*self._gone, *("".join(row).rstrip() for row in self._rows)]).rstrip()


def shown(
    words: Sequence[str], folder: Path, env: Mapping[str, str], columns: int, lines: int
) -> Shown:
    """Runs a program with a terminal for input and output."""
    pty = pytest.importorskip("pty", reason="there are pseudo-terminals on Unix only")
    import fcntl
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        words, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    grid, raw, frames, held = _Grid(columns, lines), "", list[str](), ""
    while new := _read(ours):
        raw += (text := decoder.decode(new))
        held += text
        cut = _CUT.search(held)
        end = len(held) if cut is None else cut.start()
        grid.write(held[:end])
        held = held[end:]
        if not frames or frames[-1] != grid.text():
            frames.append(grid.text())
    os.close(ours)
    return Shown(process.wait(60), raw, grid.text(), tuple(frames))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the program has ended
        return b""
