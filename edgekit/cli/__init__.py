"""The command line: one module per command, and the only place that prints or sets exit codes."""

from __future__ import annotations

import _thread
import importlib
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

import click

from edgekit.cli import console, streams
from edgekit.cli.grouping import format_options
from edgekit.cli.narrow import Context
from edgekit.errors import EdgekitError, OutputError, UsageError
from edgekit.signals import ENDING, INTERRUPTING, interrupt, obeyed

COMMANDS = {
    "app": "Write a sample app around an artifact, with its test.",
    "benchmark": "Say which file to ship: accuracy, speed, size of each.",
    "bundle": "Put artifacts into one archive with a model card.",
    "compare": "Measure which of two is faster, with an interval.",
    "demo": "Train, export, verify and predict: the whole way at once.",
    "describe": "Show the layers of a network: shapes, parameters, MACs.",
    "devices": "Show, add, remove and check device profiles.",
    "doctor": "Check what works here, and how to mend what does not.",
    "evaluate": "Measure the accuracy of an artifact or network.",
    "explain": "Show what in an image speaks for a class.",
    "export": "Export a network, verified, to ONNX, TFLite, OpenVINO.",
    "export-profiles": "Write kept measurements as CSV or Parquet.",
    "history": "List the measurements that were kept.",
    "list": "List models, targets, precisions, data, devices, plugins.",
    "predict": "Say what images show.",
    "profile": "Measure latency, memory and energy.",
    "report": "Make one HTML page of measurements and accuracies.",
    "search": "Adapt a trained network to a budget (NetAdapt).",
    "train": "Train a network on labelled images.",
    "verify": "Compare an artifact with its network.",
}
"""Every command and its one line of help; its module is imported when it is called."""

INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports the one that is called."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"edgekit.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        command.context_class = Context
        command.format_options = partial(format_options, command)  # type: ignore[method-assign]
        if ctx.resilient_parsing:
            from edgekit.cli.completing import complete_names

            complete_names(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from edgekit.cli.usage import unknown_command

            raise unknown_command(args[0], [*COMMANDS])
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            _refuse_repeated(click.Context(command, ctx, name), rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _refuse_repeated(context: click.Context, arguments: list[str]) -> None:
    """Refuses a list that is given twice, of which click would take the last without a word.

    Of other options the last one counts, as is the custom: an alias gives one, the user another.

    Raises:
        UsageError: names the option.
    """
    try:
        _, _, given = context.command.make_parser(context).parse_args([*arguments])
    except click.UsageError:  # is raised again when the command is called
        return
    for option, times in Counter(given).items():
        listed = isinstance(option, click.Option) and "," in (option.metavar or "")
        if listed and not option.multiple and times > 1:
            raise UsageError(
                f"{option.opts[0]} is given {times} times: expected one list, separated by commas"
            )


def print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Callback of ``--version``."""
    if value and not ctx.resilient_parsing:
        import edgekit

        click.echo(f"edgekit {edgekit.__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Mobile networks from PyTorch to verified, fast, measured artifacts.

    \b
    edgekit train mobilenetv3-small --data digits -o runs/digits
    edgekit export runs/digits --target all -o exported
    edgekit predict exported/mobilenetv3-small-fp32.tflite photo.png
    """


def run(arguments: list[str], *, leaving: bool = False) -> int:
    """Runs one command line.

    Args:
        leaving: the process ends behind it: no signal changes its exit code any more.

    Returns:
        The exit code; see `edgekit.errors` for its meaning.
    """
    # Looked for by hand as well, since a line that cannot be parsed never gets to its options.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    settings = console.Settings(tuple(arguments), json="--json" in options)
    console.use(settings)
    with _noticed_interrupts(leaving) as interrupts, console.printable_warnings():
        try:
            return _run(arguments, settings, interrupts)
        except (click.Abort, KeyboardInterrupt) as error:
            return streams.finished(_interrupted(error, interrupts))


def _run(arguments: list[str], settings: console.Settings, interrupts: Interrupts) -> int:
    try:
        from edgekit.cli.usage import complete, with_help

        completed = complete(cli)
        if completed is not None:
            return streams.finished(completed)
        arguments = with_help(arguments)
        result = cli.main(arguments, prog_name="edgekit", standalone_mode=False, obj=settings)
        return streams.finished(result if isinstance(result, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except (BrokenPipeError, SystemExit) as error:
        # The reader, `head` say, has gone, which click and rich turn into SystemExit(1).
        if streams.broken_pipe(error):
            streams.discard(sys.stdout)
            return 0
        return streams.finished(_failed(RuntimeError(f"something called sys.exit({error})")))
    except (click.Abort, KeyboardInterrupt):
        raise
    except BaseException as error:
        if interrupts.seen:  # a library has swallowed the interrupt, and tripped over the gap
            return streams.finished(_interrupted(error, interrupts))
        return streams.finished(_failed(error))


@dataclass(slots=True)
class Interrupts:
    """Signals that have interrupted a command.

    Attributes:
        seen: their numbers; those that came while one was obeyed are left out.
        over: whether its outcome is settled, and no further one counts.
    """

    seen: list[int] = field(default_factory=list)
    over: bool = False


def _interrupted(error: BaseException, interrupts: Interrupts) -> int:
    """Says what has ended the command; returns the exit code, 128 and the number of the signal."""
    interrupts.over = True
    # Click makes an Abort of it, and a block that held the signals back has kept them to itself.
    told = [getattr(e, "number", None) for e in (error, error.__cause__)]
    number = next((n for n in (*told, *reversed(interrupts.seen)) if n in ENDING), signal.SIGINT)
    if number == signal.SIGINT:
        return console.fail("interrupted", "Interrupted", INTERRUPTED)
    return console.fail(f"ended by {signal.Signals(number).name}", "Ended", 128 + number)


def _failed(error: BaseException) -> int:
    """Says what went wrong; returns the exit code."""
    if isinstance(error, click.ClickException):
        from edgekit.cli.usage import explained

        every = {name: cli.get_command(click.Context(cli), name) for name in COMMANDS}
        known = {name: command for name, command in every.items() if command is not None}
        return console.fail(explained(error, known), "UsageError", 2)
    console.trace()
    kind = type(error).__name__
    if isinstance(error, EdgekitError):
        return console.fail(str(error), kind, error.exit_code, error.parts)
    if isinstance(error, OSError):
        what = "" if error.filename is None else f"{error.filename}: "
        if streams.of_output(error):
            what, kind = "cannot write to standard output: ", OutputError.__name__
        return console.fail(f"{what}{error.strerror or error}", kind, 3)
    text = f"{kind}: {error}".rstrip(": ")
    return console.fail(
        f"a fault of edgekit itself: {text} (-v shows where; please report it)", "Fault", 1
    )


@contextmanager
def _noticed_interrupts(leaving: bool) -> Iterator[Interrupts]:
    """Collects the interrupts of a block, which raise KeyboardInterrupt as always.

    Args:
        leaving: signals do nothing any more behind it, or end the process where none has done so.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():  # signals are its matter alone
        yield interrupts
        return

    def noticed(number: int, frame: FrameType | None) -> None:
        if not (interrupts.over or obeyed()):
            interrupts.seen.append(number)
            interrupt(number, frame)

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        # An interrupt that lands in a finalizer is dropped there: raise it again outside.
        if issubclass(args.exc_type, KeyboardInterrupt):
            _thread.interrupt_main(getattr(args.exc_value, "number", signal.SIGINT))
        else:
            sys.__unraisablehook__(args)

    # Those that are ignored, as 'nohup' has it, stay so.
    own = (signal.default_int_handler, interrupt)
    previous = {n: signal.getsignal(n) for n in INTERRUPTING if signal.getsignal(n) in own}
    for number in previous:
        signal.signal(number, noticed)
    sys.unraisablehook = unraisable
    try:
        yield interrupts
    finally:
        interrupts.over = True
        sys.unraisablehook = sys.__unraisablehook__
        last = signal.SIG_IGN if interrupts.seen else signal.SIG_DFL
        for number, handler in previous.items():
            signal.signal(number, last if leaving else handler)
