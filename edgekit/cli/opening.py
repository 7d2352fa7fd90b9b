"""How commands that use a file or network open it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from edgekit.cli import console
from edgekit.cli.options import (
    device_option,
    embedded_option,
    scores_option,
    size_option,
    task_option,
    threads_option,
    weights_option,
)
from edgekit.cli.stating import stated_options

if TYPE_CHECKING:
    from edgekit.inference import Classifier

Command = TypeVar("Command", bound=Callable[..., Any])


def opening_options(command: Command) -> Command:
    """Options that say it; the command gets them by the names of `edgekit.api.using.Opening`."""
    for option in (
        stated_options, task_option, scores_option, device_option, embedded_option, threads_option,
        size_option, weights_option,
    ):  # fmt: skip
        command = option(command)
    return command


def opened(source: str, opening: Mapping[str, Any]) -> tuple[Classifier, tuple[str, ...]]:
    """Opens what a command uses, and says what has to be known of its answers.

    Args:
        opening: see `opening_options`.

    Returns:
        What was opened, and what was said of it.
    """
    from edgekit.api.using import opened_by
    from edgekit.inference import warnings_of

    with console.status(f"loading {source}"):
        classifier = opened_by(source, opening)
    warnings = warnings_of(classifier)
    for text in warnings:
        console.warn(text)
    return classifier, warnings
