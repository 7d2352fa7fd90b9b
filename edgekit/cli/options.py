"""Options and words that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgekit.cli import console
from edgekit.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

model_argument = click.argument("model", metavar="MODEL")
artifact_or_model = click.argument("source", metavar="ARTIFACT|MODEL")


def weights_option(command: Command) -> Command:
    """``--weights FILE`` and ``--pretrained``, which stands for a file that is downloaded."""

    @functools.wraps(command)
    def with_file(*arguments: Any, pretrained: bool, **options: Any) -> Any:
        if pretrained:
            if options["weights"] is not None:
                raise UsageError("--weights and --pretrained exclude each other: give one of them")
            words = options.get("model") or options.get("against") or options.get("source")
            options["weights"] = fetched(str(words))
        return command(*arguments, **options)

    weights = click.option(
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Checkpoint or state dict (.pt, .pth, .safetensors; names of edgekit, torchvision or "
        "timm), for a network's name or callable.",
    )
    pretrained = click.option(
        "--pretrained",
        is_flag=True,
        help="Take torchvision's ImageNet weights, downloaded once into the user's cache.",
    )
    return weights(pretrained(with_file))  # type: ignore[return-value]


def fetched(words: str) -> Path:
    """The published weights of a zoo network, from the cache or the network."""
    from edgekit import registry
    from edgekit.models.pretrained import fetch

    name = registry.canonical_name(words)
    with console.status(f"fetching weights of {name}") as notify:

        def report(done: int, total: int | None) -> None:
            of = "" if total is None else f" of {total / 2**20:.1f}"
            notify(f"fetching weights of {name}: {done / 2**20:.1f}{of} MiB")

        return fetch(name, report)


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
