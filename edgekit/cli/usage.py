"""What is said of a command line that cannot be read, and what shells complete."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence

import click
from click.shell_completion import get_completion_class

from edgekit.cli import console
from edgekit.errors import UnavailableError, UnknownNameError
from edgekit.meant import COMMANDS, OPTIONS

COMPLETE_VARIABLE = "_EDGEKIT_COMPLETE"

# From where on one option is a slip of the pen for another; click's own guesses go further.
_LIKE = 0.7


def with_help(arguments: list[str]) -> list[str]:
    """``help export`` as ``export --help``, which click knows."""
    return [*arguments[1:], "--help"] if arguments[:1] == ["help"] else arguments


def unknown_command(name: str, known: Sequence[str]) -> UnknownNameError:
    """The error for a command that there is none of.

    Args:
        name: as it was given.
        known: all commands.
    """
    meant = COMMANDS.get(name.lower().replace("-", "_"))
    if meant is None:
        return UnknownNameError("command", name, known, "see 'edgekit --help'")
    hint = f"that is 'edgekit {meant}' here; see 'edgekit --help'"
    return UnknownNameError("command", name, (), hint)


def explained(error: click.ClickException, commands: Mapping[str, click.Command]) -> str:
    """What is wrong with a command line, and where its words are explained.

    Args:
        commands: all of edgekit's, by name.
    """
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.NoSuchOption) and context is not None:
        text = f"No such option '{error.option_name}'{_instead(error, context, commands)}"
    else:
        text = f"{error.format_message().rstrip('.')};"
    if context is None:
        return text.rstrip(";")
    return f"{text} see '{context.command_path} --help'"


def _instead(
    error: click.NoSuchOption, context: click.Context, commands: Mapping[str, click.Command]
) -> str:
    """What to give in place of an option that a command has not, as the rest of a sentence."""
    name = error.option_name
    own = _options(context.command)
    for meant in OPTIONS.get(name.replace("_", "-"), ()):
        if meant.split()[0] in own:
            return f": did you mean {meant}?"
    owners = [other for other, command in commands.items() if name in _options(command)]
    near = max(error.possibilities or (), key=lambda option: _likeness(option, name), default=None)
    if near is not None and _likeness(near, name) >= _LIKE:
        return f": did you mean {near}?"
    if owners:
        places = " and ".join(f"'edgekit {owner}'" for owner in owners[:3])
        return f": it is an option of {places};"
    return ";"


def _likeness(option: str, name: str) -> float:
    """How much two options look alike, from 0 to 1."""
    return difflib.SequenceMatcher(None, option.strip("-"), name.strip("-")).ratio()


def _options(command: click.Command) -> set[str]:
    return {
        name
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }


def complete(group: click.Command) -> int | None:
    """Answers a shell that asks for the script of completions, or for completions.

    Returns:
        The exit code; ``None`` where no shell asks.

    Raises:
        UnknownNameError: no shell of that name is known.
        UnavailableError: the shell's version is too old.
    """
    asked = os.environ.get(COMPLETE_VARIABLE)
    if not asked:
        return None
    shell, _, instruction = asked.partition("_")
    kind = get_completion_class(shell)
    if kind is None or instruction not in ("source", "complete"):
        raise UnknownNameError(
            f"value of {COMPLETE_VARIABLE}", asked, (), "expected bash_source, zsh_source or "
            "fish_source",
        )  # fmt: skip
    completion = kind(group, {}, "edgekit", COMPLETE_VARIABLE)
    try:
        text = completion.source() if instruction == "source" else completion.complete()
    except RuntimeError as error:
        raise UnavailableError(f"completions for {shell}: {error}") from error
    for line in text.splitlines():
        console.say(line)
    return 0
