"""Output of all commands: results on stdout, everything else on stderr, one document for --json.

What is printed is made of names and messages of anybody: each function here takes one line of text
and lets nothing through that does not print, line ends included; see `edgekit.core.printable`.
"""

from __future__ import annotations

import functools
import json
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from edgekit.cli import screen as screens
from edgekit.cli.screen import (
    WIDEST,
    Screen,
    coloured_message,
    coloured_result,
    screen_of,
    wrapped,
)
from edgekit.cli.tabular import laid_out
from edgekit.core import printable
from edgekit.errors import OutputError, PassedOverWarning

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.cli.live import Display, Status
    from edgekit.core import Agreement
    from edgekit.errors import EdgekitError

Command = TypeVar("Command", bound=Callable[..., Any])

PLAIN_WIDTH = screens.PLAIN_WIDTH


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
    if _settings.json:
        return
    with _to_results() as stream:
        screen = screen_of(stream)
        for line in _lines(text, screen):
            shown = coloured_result(line) if screen.colour else line
            if screen.terminal and screens.current is not None:
                screens.current.above(shown)
            else:
                click.echo(shown, file=stream, color=screen.colour)


def note(text: str) -> None:
    """A line of the log, on stderr; above a live display where one is running."""
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
        live = screens.current
        screen = screen_of(sys.stderr) if live is None else live.screen
        for line in _lines(text, screen):
            shown = coloured_message(line) if screen.colour else line
            if live is not None:
                live.above(shown)
            else:
                click.echo(shown, err=True, color=screen.colour)


def _lines(text: str, screen: Screen) -> list[str]:
    """Text in one printable line, or in several that a terminal has room for."""
    line = screen.encodable(printable(text))
    return wrapped(line, screen.width) if screen.terminal else [line]


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
        warn(f"skipped {name}: it cannot be used")


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


def end_with(schema: str, data: dict[str, Any], failure: EdgekitError | None) -> None:
    """Ends a command that says at once what it finds: with the document of all of it, if asked for.

    Args:
        failure: what kept it from finding more.

    Raises:
        EdgekitError: the failure.
    """
    if _settings.json:
        also = {} if failure is None else {"error": error_entry(failure)}
        emit_json(schema, {**data, **also})
    if failure is not None:
        raise failure


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


def table(
    columns: Sequence[str | tuple[str, str]],
    rows: Iterable[Sequence[str]],
    title: str = "",
    gap: int = 3,
    folder: str | None = None,
) -> None:
    """A table on stdout; nothing with ``--json``. See `edgekit.cli.tabular` for what fits."""
    if _settings.json:
        return
    if title:
        say(title)
    with _to_results() as stream:
        screen = screen_of(stream)
    for part in laid_out(columns, rows, screen, gap, folder):
        if isinstance(part, str):
            say(part)
        else:
            with _to_results() as stream:
                _rich(stream, screen).print(part, crop=False)


@contextmanager
def progress() -> Iterator[Display]:
    """A live display on stderr: only on a terminal, and gone when the block ends."""
    from edgekit.cli.live import drawn

    with drawn() as display:
        yield display


@contextmanager
def status(text: str) -> Iterator[Status]:
    """A line on stderr that says what is being done, with a running clock; only on a terminal.

    Yields:
        A function that changes the text.
    """
    from edgekit.cli.live import Status, drawn

    with drawn() as display:
        yield Status(display, text)


def width() -> int:
    """Columns that tables may take."""
    return min(screen_of(_results()).width, WIDEST)


def _rich(stream: TextIO, screen: Screen) -> Console:
    """What draws tables."""
    from rich.console import Console

    return Console(
        file=stream,
        width=screen.width,
        height=screen.height,
        force_terminal=screen.terminal,
        color_system="standard" if screen.colour else None,
        no_color=not screen.colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def percent(share: float) -> str:
    """A share of 1 as people read it."""
    return f"{100 * share:.2f} %"


def mebibytes(size_bytes: int) -> str:
    """A size as people read it."""
    return f"{size_bytes / 2**20:.2f} MiB"
