"""Displays at the end of a terminal that are drawn anew all the time, and what others write there.

While a display is drawn, descriptors that lead to the terminal are collected: a line that a library
or a process writes, from Python or from C++, appears above the display and cannot tear it.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TextIO

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, RenderableType
from rich.progress import Progress, Task
from rich.text import Text

from edgekit.cli import screen as screens
from edgekit.cli.screen import Screen, screen_of, wrapped
from edgekit.cli.tabular import laid_out
from edgekit.core import printable
from edgekit.core.text import shortened
from edgekit.native_output import sink_of_output
from edgekit.signals import cleaning

_LOOK_S = 0.1  # between two looks at what others have written
_LEAST_NAME = 30  # columns of what is being done, before other things give way
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
_BARS = ("━", "━"), ("=", "-")

Row = Sequence[str]


class Display(Progress):
    """Lines of what is being done, each with a count and the time left where they are known.

    Attributes:
        table: what is shown above these lines: headers, and rows of which the last ones are shown.
    """

    def __init__(self, stream: TextIO, screen: Screen, *, shown: bool) -> None:
        self._screen = screen
        self._terminal = _Terminal(stream, screen) if shown else Console(file=stream)
        self.table: tuple[Sequence[str | tuple[str, str]], Sequence[Row]] | None = None
        # One at a time moves the cursor: whoever looked at the display before another one changed
        # it would write over it.
        self._moving = threading.RLock()
        super().__init__(
            console=self._terminal,
            auto_refresh=False,
            transient=True,
            disable=not shown,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    @property
    def screen(self) -> Screen:
        """What the terminal shows now."""
        width, height = self._terminal.size
        return replace(self._screen, width=width, height=height)

    def refresh(self) -> None:
        """Draws the lines anew."""
        with self._moving:
            super().refresh()

    def above(self, line: str) -> None:
        """Prints a line above the display; it may hold codes of colours."""
        with self._moving:
            self.console.print(Text.from_ansi(line, no_wrap=True, overflow="ignore"), crop=False)

    def get_renderables(self) -> Iterator[RenderableType]:
        """The table and the lines, no more of them than fit."""
        screen = self.screen
        tasks = [task for task in self.tasks if task.visible]
        if self.table is not None:
            columns, rows = self.table
            room = max(1, screen.height - len(tasks) - 5)
            for part in laid_out(columns, rows[-room:], screen, gap=2):
                yield Text(part) if isinstance(part, str) else part
        for task in tasks:
            yield line_of(task, screen)


class _Terminal(Console):
    """A terminal whose size is looked up where it is, and no other of the process."""

    def __init__(self, stream: TextIO, screen: Screen) -> None:
        super().__init__(
            file=stream, force_terminal=True, color_system="standard" if screen.colour else None,
            no_color=not screen.colour, highlight=False, markup=False, emoji=False,
            legacy_windows=False,
        )  # fmt: skip

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        """Columns and lines."""
        screen = screen_of(self.file)  # type: ignore[arg-type]
        return ConsoleDimensions(screen.width, screen.height)


def line_of(task: Task, screen: Screen) -> Text:
    """What is being done, with as much beside it as has room: a bar, a count, times."""
    fancy = screen.takes(_FRAMES[0] + _BARS[0][0])
    frames = _FRAMES[0] if fancy else _FRAMES[1]
    frame = frames[int(time.monotonic() / 0.1) % len(frames)]
    name = screen.encodable(printable(task.description))
    least = min(cell_len(name), _LEAST_NAME)
    ends = list(_ends(task))
    end = next((one for one in ends if least + 4 + _width(one) <= screen.width), ())
    free = max(1, screen.width - 2 - (_width(end) + 2 if end else 0))
    if len(name) > free:
        name = screen.encodable(shortened(name, free if screen.takes("…") else free - 2))
    line = Text(f"{frame} {name}", no_wrap=True, overflow="crop")
    for part in end:
        if isinstance(part, str):
            line.append(f"  {part}")
        else:
            done = round(part * task.completed / task.total) if task.total else 0
            whole, rest = _BARS[0] if fancy else _BARS[1]
            line.append("  ").append(whole * done, "green").append(rest * (part - done), "dim")
    return line


def _width(parts: Sequence[str | int]) -> int:
    """Columns of what stands beside a name; of a bar its length is given."""
    return sum(part if isinstance(part, int) else len(part) for part in parts) + 2 * len(parts) - 2


def _ends(task: Task) -> Iterator[tuple[str | int, ...]]:
    """What may stand beside a name, the most first."""
    elapsed = _clock(task.elapsed)
    if not task.total:
        yield (elapsed,)
        return
    count = f"{task.completed:.0f}/{task.total:.0f}"
    left = task.time_remaining
    long = f"{elapsed} done" + ("" if left is None else f", about {_clock(left)} left")
    for bar in (20, 10, 5):
        yield bar, count, long
    yield count, long
    if left is not None:
        yield count, f"{_clock(left)} left"
    yield (count,)


def _clock(seconds: float | None) -> str:
    return str(timedelta(seconds=int(seconds or 0)))


class _Collected:
    """Descriptors whose terminal is kept free for a display.

    What is written to them goes into a file in memory: writers never wait, whatever this process
    is busy with, and those that outlive the display do not end at a closed pipe.

    Args:
        descriptors: that lead to the terminal; none, and nothing is collected.
    """

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._file = sink_of_output() if descriptors else None
        self._read, self._left = 0, b""
        self._lock = threading.Lock()
        _flush()
        if self._file is None:
            return
        for descriptor in descriptors:
            screens.taken[descriptor] = os.dup(descriptor)
            os.dup2(self._file.fileno(), descriptor)

    def lines(self, *, end: bool = False) -> list[str]:
        """Lines that have been written since the last call.

        Args:
            end: nothing more will come, and what has no line end is a line.
        """
        if self._file is None:
            return []
        with self._lock:
            new = os.pread(self._file.fileno(), 1 << 20, self._read)
            self._read += len(new)
            *whole, self._left = (self._left + new).split(b"\n")
            if end and self._left:
                whole, self._left = [*whole, self._left], b""
        return [_plain(line) for line in whole]

    def close(self) -> None:
        """Gives the descriptors back; does nothing the second time."""
        _flush()
        while screens.taken:
            descriptor, terminal = next(iter(screens.taken.items()))
            os.dup2(terminal, descriptor)
            del screens.taken[descriptor]
            os.close(terminal)


def _plain(line: bytes) -> str:
    """A line as it stands on a terminal at last, without what moves or colours."""
    text = click.unstyle(line.decode(errors="replace").rstrip("\r")).rsplit("\r", 1)[-1]
    return printable(text.expandtabs())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


@contextmanager
def drawn() -> Iterator[Display]:
    """A display on stderr: only on a terminal, one at a time, and gone when the block ends."""
    screen = screen_of(sys.stderr)
    terminal = screens.terminal_of(sys.stderr)
    if terminal is None or not screen.moves or screens.current is not None:
        yield Display(sys.stderr, screen, shown=False)
        return
    ours = {sys.stderr.fileno(), *(one for one in (1, 2) if os.isatty(one))}
    if not hasattr(os, "pread"):  # Windows: what others write cannot be read back as they write
        ours = set()
    with (
        open(os.dup(terminal), "w", encoding=screen.encoding, errors="backslashreplace") as copy,
        _collected(sorted(ours)) as collected,
    ):
        display = Display(copy, screen, shown=True)
        over = threading.Event()

        def show(*, end: bool = False) -> None:
            for line in collected.lines(end=end):
                for part in wrapped(line, display.screen.width) if line else [""]:
                    display.above(part)

        def look() -> None:
            with suppress(OSError):  # the terminal is gone
                while not over.wait(_LOOK_S):
                    show()
                    display.refresh()

        looking = threading.Thread(target=look, daemon=True)
        try:
            display.start()
            screens.current = display
            looking.start()
            yield display
        finally:
            screens.current = None
            over.set()
            try:
                if looking.ident is not None:
                    looking.join()
            finally:
                with suppress(OSError):
                    _flush()
                    show()
                    display.stop()
                    collected.close()
                    show(end=True)  # what came until then


@contextmanager
def _collected(descriptors: Sequence[int]) -> Iterator[_Collected]:
    collected: _Collected | None = None

    def clean() -> None:
        screens.current = None
        if collected is not None:
            collected.close()

    with cleaning(clean):
        collected = _Collected(descriptors)
        yield collected


_COUNTED = re.compile(r"(.*), (\d+) of (\d+)")


class Status:
    """A line that says what is being done, with a running clock; see `edgekit.cli.console`."""

    def __init__(self, display: Display, text: str) -> None:
        self._display, self._text, self._total = display, text, 0
        self._task = display.add_task(text, total=None)

    @property
    def shown(self) -> bool:
        """Whether anybody sees it."""
        return not self._display.disable

    def __call__(self, text: str) -> None:
        """Changes the text. The clock starts anew where more than its last part changes.

        What ends in a count, as in "checking, 3 of 8", gets a bar and the time that is left.
        """
        counted = _COUNTED.fullmatch(text)
        name, done, total = (text, "0", "0") if counted is None else counted.groups()
        if name.split(",")[0] != self._text.split(",")[0] or int(total) != self._total:
            self._display.remove_task(self._task)
            self._task = self._display.add_task(name, total=int(total) or None)
        self._text, self._total = name, int(total)
        self._display.update(self._task, description=name, completed=int(done))

    def table(self, columns: Sequence[str | tuple[str, str]], rows: Sequence[Row]) -> None:
        """Shows a table above the line, of which the last rows stay in sight."""
        self._display.table = columns, rows
