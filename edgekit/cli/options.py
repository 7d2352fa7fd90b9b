"""Options and words that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

model_argument = click.argument("model", metavar="MODEL")
artifact_or_model = click.argument("source", metavar="ARTIFACT|MODEL")


def weights_option(command: Command) -> Command:
    """``--weights FILE``."""
    return click.option(
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Checkpoint or state dict, for a zoo name or callable.",
    )(command)


def resolution_option(command: Command) -> Command:
    """``--resolution N``."""
    return click.option(
        "--resolution", type=int, metavar="PIXELS", help="Side of the input image."
    )(command)


def embedded_option(command: Command) -> Command:
    """``--embedded``."""
    return click.option(
        "--embedded",
        is_flag=True,
        help="Read the contract inside the artifact; its bytes are then not checked.",
    )(command)


def threads_option(command: Command) -> Command:
    """``--threads N``."""
    return click.option(
        "--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads of the runtime."
    )(command)


def overwrite_option(command: Command) -> Command:
    """``--overwrite``."""
    return click.option("--overwrite", is_flag=True, help="Replace files that exist.")(command)


def names(text: str) -> list[str]:
    """Comma-separated names as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]
