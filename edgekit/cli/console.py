"""Output of all commands: results on stdout, everything else on stderr, one document for --json.

What is printed is made of names and messages of anybody: each function here takes one line of text
and lets nothing through that does not print, line ends included; see `edgekit.core.printable`.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from edgekit.core import printable
from edgekit.errors import OutputError, PassedOverWarning

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task, TextColumn

    from edgekit.core import Agreement
    from edgekit.errors import EdgekitError

Command = TypeVar("Command", bound=Callable[..., Any])

PLAIN_WIDTH = 80  # of tables that go into a file or pipe
WIDEST = 120


@dataclass
class Settings:
    """What the common options of a command said, and the whole command line."""

    arguments: tuple[str, ...] = ()
    json: bool = False
    verbose: bool = False
    json_written: bool = False
    results: TextIO | None = None


_settings = Settings()


def use(settings: Settings) -> None:
    """Makes settings those of this run."""
    global _settings  # one process runs one command line at a time
    _settings = settings


def common_options(command: Command) -> Command:
    """Adds ``--json`` and ``-v`` to a command, and keeps stdout for its results."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        # What others print, the user's network for one, is no part of the result.
        _settings.results = sys.stdout
        with redirect_stdout(sys.stderr):
            return command(*args, **kwargs)

    def store(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(_: click.Context, __: click.Parameter, value: bool) -> None:
            setattr(_settings, name, value)

        return callback

    as_json = click.option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=store("json"),
        help="Print one JSON document instead of tables.",
    )
    verbose = click.option(
        "-v",
        "--verbose",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=store("verbose"),
        help="Show tracebacks of errors.",
    )
    decorated: Command = as_json(verbose(guarded))  # type: ignore[assignment]
    return decorated


def wants_json() -> bool:
    """Whether the result goes out as JSON."""
    return _settings.json


def command_line() -> str:
    """What was typed, for whoever wants to repeat it."""
    return shlex.join(["edgekit", *_settings.arguments])


def typed(*words: object) -> str:
    """A command line as it is typed, with quotes where a shell needs them."""
    return shlex.join(map(str, words))


@contextmanager
def _to_results() -> Iterator[TextIO]:
    """Where results go.

    Raises:
        OutputError: they cannot be written.
        BrokenPipeError: the reader has gone.
    """
    try:
        yield _results()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror or error}") from error


def _results() -> TextIO:
    return _settings.results or sys.stdout


def emit_json(schema: str, data: dict[str, Any]) -> None:
    """Writes the one JSON document of a command."""
    assert not _settings.json_written, "a command prints one document"
    document = json.dumps({"schema": schema, **data}, indent=2, allow_nan=False)
    with _to_results() as stream:
        click.echo(document, file=stream)
    _settings.json_written = True


def say(text: str = "") -> None:
    """A line of the result, on stdout; nothing with ``--json``."""
    if not _settings.json:
        with _to_results() as stream:
            click.echo(printable(text), file=stream)


def note(text: str, display: Progress | None = None) -> None:
    """A line of the log, on stderr; above a live display where one is running."""
    if display is not None and not display.disable:
        display.console.print(printable(text))
    else:
        _log(text)


def go_on(*words: object) -> None:
    """What may be typed next, on stderr; nothing with ``--json``."""
    if not _settings.json:
        _log(f"next: {typed(*words)}")


def warn(text: str) -> None:
    """A warning, on stderr."""
    _log(f"warning: {text}")


def _log(text: str) -> None:
    with suppress(OSError):  # no terminal or disk takes it any more: results matter more
        click.echo(printable(text), err=True)


def warn_notes(source: str, notes: Iterable[str] | None) -> None:
    """A warning for each way in which a network is run otherwise than it was built."""
    for note in notes or ():
        warn(f"'{source}': {note}")


def say_scores(kind: str | None) -> None:
    """A line of what a network or file gives, of `edgekit.core.SCORES`; none of other tasks."""
    if kind is not None:
        say(f"Scores: {kind}.")


def warn_left_out(agreement: Agreement) -> None:
    """A warning where images were left out of a comparison, and how that was found."""
    if agreement.inexact is not None:
        warn(
            f"the network cannot run in float64 ({agreement.inexact}): how exact it is in float32 "
            f"was told from images with other last bits"
        )
    if agreement.left_out:
        warn(
            f"{agreement.left_out} of {agreement.n + agreement.left_out} images left out: PyTorch "
            f"itself computes other scores for them in float32 than in float64"
        )


def warn_skipped(images: Iterable[str]) -> None:
    """A warning for each image that was left out."""
    for name in images:
        warn(f"skipped {name}: it cannot be decoded")


def fail(text: str, kind: str, code: int, parts: Sequence[str] = ()) -> int:
    """An error, on stderr, and with ``--json`` as the document; returns ``code``.

    Args:
        parts: the lines of ``text``, where it has several.
    """
    for line in (f"error: {parts[0]}", *parts[1:]) if parts else (f"error: {text}",):
        note(line)
    if _settings.json and not _settings.json_written:
        with suppress(OutputError):  # the exit code tells
            emit_json("edgekit.error/1", {"error": _error_entry(text, kind, code)})
    return code


def error_entry(error: EdgekitError) -> dict[str, Any]:
    """An error as it stands in a document, beside what was finished in spite of it."""
    return _error_entry(str(error), type(error).__name__, error.exit_code)


def _error_entry(text: str, kind: str, code: int) -> dict[str, Any]:
    return {"type": kind, "message": text, "exit_code": code}


def trace() -> None:
    """The traceback of the current exception, on stderr, where ``-v`` asks for it."""
    if _settings.verbose:
        for line in traceback.format_exc().rstrip("\n").split("\n"):
            note(f"  {line}")  # so that no message in it passes for a line of edgekit's


@contextmanager
def printable_warnings() -> Iterator[None]:
    """Lets warnings of libraries, which name files, through in printable lines only."""
    plainly = warnings.formatwarning

    def formatted(*args: Any, **kwargs: Any) -> str:
        lines = plainly(*args, **kwargs).rstrip("\n").split("\n")
        if isinstance(args[0], PassedOverWarning):
            lines = [f"warning: {args[0]}"]
        return "".join(f"{printable(line)}\n" for line in lines)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = plainly


# Of cells: top, right, bottom, left. Between two columns is a line of one character besides.
_PADDING = {1: (0, 0, 0, 0), 2: (0, 1, 0, 0), 3: (0, 1, 0, 1)}


def table(
    columns: Sequence[str | tuple[str, str]],
    rows: Iterable[Sequence[str]],
    title: str = "",
    gap: int = 3,
    folder: str | None = None,
) -> None:
    """A table on stdout; nothing with ``--json``.

    Lines are broken between words: names and figures stay whole where the screen has room for them.

    Args:
        columns: headers; a pair adds the alignment, ``left`` or ``right``, which is for figures.
        gap: characters between columns, 1 to 3; fewer where the screen is narrow.
        folder: that the first cells are paths of files in. Where these are too long it is said
            once, and the names stand alone.
    """
    if _settings.json:
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    if title:
        say(title)
    heads = [(one, "left") if isinstance(one, str) else one for one in columns]
    cells = [[printable(cell) for cell in row] for row in rows]
    with _to_results() as stream:
        room = _width(stream)
    layout = _layout(heads, cells, room, range(gap, 0 if folder is None else 1, -1))
    if layout is None and folder is not None:
        say(f"in {folder}:")
        cells = [[Path(first).name, *others] for first, *others in cells]
        layout = _layout(heads, cells, room, range(gap, 0, -1))
    gap, widths = layout or (gap, [None] * len(heads))
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, padding=_PADDING[gap])
    for (header, justify), width in zip(heads, widths, strict=True):
        drawn.add_column(Text(printable(header)), justify=justify, overflow="fold", width=width)  # type: ignore[arg-type]
    for row in cells:
        drawn.add_row(*map(Text, row))
    with _to_results() as stream:
        _rich(stream).print(drawn)


def _layout(
    heads: Sequence[tuple[str, str]], cells: Sequence[Sequence[str]], room: int, gaps: Iterable[int]
) -> tuple[int, list[int | None]] | None:
    """The first of the gaps, and widths of columns, with which no word is broken; none if none."""
    from rich.cells import cell_len

    def longest(texts: Iterable[str]) -> int:
        return max(map(cell_len, texts), default=0)

    whole, least = [], []
    for i, (header, justify) in enumerate(heads):
        column = [header, *(row[i] for row in cells)]
        words = column if justify == "right" else [word for text in column for word in text.split()]
        whole.append(longest(column))
        least.append(longest(words))
    for gap in gaps:
        free = room - 2 - gap * (len(heads) - 1)
        if sum(whole) <= free:
            return gap, [None] * len(heads)
    for gap in gaps:
        free = room - 2 - gap * (len(heads) - 1)
        if sum(least) <= free:
            return gap, [*_shared(whole, least, free)]
    return None


def _shared(whole: Sequence[int], least: Sequence[int], free: int) -> list[int]:
    """Widths between two bounds that fill a line; the widest column gives way first."""
    widths = list(whole)
    while sum(widths) > free:
        narrower = [i for i, width in enumerate(widths) if width > least[i]]
        widths[max(narrower, key=widths.__getitem__)] -= 1
    return widths


def _description() -> TextColumn:
    """What is being done, in a live display."""
    from rich.progress import TextColumn
    from rich.text import Text

    class Description(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(printable(task.description))

    return Description("")


@contextmanager
def progress() -> Iterator[Progress]:
    """A live display on stderr: only on a terminal, and gone when the block ends."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with _terminal_copy() as stream:
        display = Progress(
            SpinnerColumn(),
            _description(),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=_rich(stream),
            transient=True,
            disable=not stream.isatty(),
        )
        with display:
            yield display


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done, with a running clock; only on a terminal.

    Yields:
        A function that changes the text.
    """
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    with _terminal_copy() as stream:
        display = Progress(
            SpinnerColumn(),
            _description(),
            TimeElapsedColumn(),
            console=_rich(stream),
            transient=True,
            disable=not stream.isatty(),
        )
        with display:
            task = display.add_task(text)

            def change(text: str) -> None:
                display.reset(task, description=text)

            yield change


@contextmanager
def _terminal_copy() -> Iterator[TextIO]:
    """A second way to stderr, which stays open while converters' own output is captured."""
    if not sys.stderr.isatty():
        yield sys.stderr
        return
    with open(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding) as stream:
        yield stream


def width() -> int:
    """Columns that tables may take."""
    return _width(_results())


def _width(stream: TextIO) -> int:
    return min(shutil.get_terminal_size().columns, WIDEST) if stream.isatty() else PLAIN_WIDTH


def _rich(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, width=_width(stream), highlight=False, markup=False, emoji=False)


def percent(share: float) -> str:
    """A share of 1 as people read it."""
    return f"{100 * share:.2f} %"


def mebibytes(size_bytes: int) -> str:
    """A size as people read it."""
    return f"{size_bytes / 2**20:.2f} MiB"
