"""What a shell completes: names of the tables, run folders, files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from edgekit import registry, tables

_RUNS = Path("runs")
_CHOICES = re.compile(r"^[a-z0-9]+(\|[a-z0-9]+)+$")
_FILES = re.compile(r"FILE|DIR|PATH|IMAGE|ARTIFACT|MODEL|SRC")


def _networks() -> list[str]:
    """Names of the zoo, and folders of trainings in ``runs``."""
    found = sorted(_RUNS.iterdir()) if _RUNS.is_dir() else []
    runs = [str(folder) for folder in found if (folder / "options.json").is_file()]
    return [*registry.model_names(), *runs]


def _devices() -> list[str]:
    from edgekit.devices.profiles import load_profiles

    return [profile.name for profile in load_profiles()]


def _recipes() -> Iterable[str]:
    from edgekit.training.recipe import recipe_names

    return recipe_names()


def _topics() -> Iterable[str]:
    from edgekit.cli.list import TOPICS

    return TOPICS


def _actions() -> Iterable[str]:
    from edgekit.cli.devices import ACTIONS

    return ACTIONS


_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "a": _networks,
    "action": _actions,
    "against": _networks,
    "b": _networks,
    "data": lambda: tables.SOURCES,
    "device": _devices,
    "model": _networks,
    "platform": lambda: tables.APPS,
    "precision": lambda: tables.PRECISIONS,
    "recipe": _recipes,
    "source": _networks,
    "sources": _networks,
    "target": lambda: [*tables.TARGETS, "all"],
    "task": lambda: tables.TASKS,
    "teacher": _networks,
    "topic": _topics,
}
"""By the name of an argument or option."""


def complete_names(command: click.Command) -> None:
    """Lets a command's arguments and options be completed by what they take."""
    for parameter in command.params:
        if not isinstance(parameter.type, click.Choice):
            parameter.shell_complete = _completion(parameter)  # type: ignore[method-assign, assignment]


def _completion(
    parameter: click.Parameter,
) -> Callable[[click.Context, str], list[CompletionItem]]:
    metavar = getattr(parameter, "metavar", None) or ""
    files = isinstance(parameter.type, click.Path) or bool(_FILES.search(metavar))
    names = _NAMES.get(parameter.name or "")
    if _CHOICES.match(metavar):
        names = lambda: metavar.split("|")  # noqa: E731 - the same form as those of the table

    def complete(context: click.Context, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        found = [name for name in (names() if names else ()) if name.startswith(last)]
        # That files are completed, too, has to be said first: shells forget what was before it.
        items = [CompletionItem(incomplete, type="file")] if files else []
        return items + [CompletionItem(f"{before}{comma}{name}") for name in found]

    return complete
