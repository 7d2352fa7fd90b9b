"""Pages of the command line, made of the command line itself; a hook of mkdocs.

Nothing of it is kept: the pages are those of the edgekit that builds the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import COMMANDS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

FOLDER = "commands"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the commands, and all measurements, behind the other pages."""
    measured = sorted(
        f"measurements/{page.name}" for page in Path(config.docs_dir, "measurements").glob("*.md")
    )
    assert config.nav is not None
    config.nav += [
        {"Commands": [f"{FOLDER}/{name}.md" for name in ("README", *COMMANDS)]},
        {"Figures": measured},  # README is before small letters
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each command, and one that lists them."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    return files


def pages() -> dict[str, str]:
    """Markdown by the name of the page; that of the list is ``README``."""
    rows = [f"| [`edgekit {name}`]({name}.md) | {line} |" for name, line in COMMANDS.items()]
    head = ["# Commands", "", "| command | does |", "|---|---|"]
    found = {"README": "\n".join([*head, *rows]) + "\n"}
    context = click.Context(cli, info_name="edgekit", **cli.context_settings)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        own = click.Context(command, parent=context, info_name=name, **command.context_settings)
        found[name] = "\n".join(_page(command, own)) + "\n"
    return found


def _page(command: click.Command, context: click.Context, level: int = 1) -> Iterator[str]:
    yield f"{'#' * level} {context.command_path}"
    yield ""
    yield from _description(command)
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```", f"{context.command_path} {usage}", "```", "")
    for title, options in _groups(command, context):
        yield from (f"{'#' * (level + 1)} {title}", "", "| option | does |", "|---|---|")
        yield from (f"| {_names(names)} | {_escaped(text)} |" for names, text in options)
        yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _page(inner, click.Context(inner, parent=context, info_name=name), level + 1)


def _description(command: click.Command) -> Iterator[str]:
    """The help of a command; what it asks click to leave as it is is shown as code."""
    for paragraph in re.split(r"\n\s*\n", (command.help or "").strip()):
        if paragraph.lstrip().startswith("\b"):
            yield from ("```", *(line.strip() for line in paragraph.splitlines()[1:]), "```", "")
        else:
            yield from (_escaped(" ".join(paragraph.split())), "")


def _groups(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Titles of the lists in the help of a command, with what stands there."""
    noted = _Noted(width=10_000)
    command.format_options(context, noted)
    yield from ((title, rows) for title, rows in noted.lists if title != "Commands")


class _Noted(click.HelpFormatter):
    """Takes down the lists that a command writes as its help, whatever it puts into which."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lists: list[tuple[str, list[tuple[str, str]]]] = []
        self._title = "Options"

    def write_heading(self, heading: str) -> None:
        self._title = heading

    def write_dl(self, rows: Any, *arguments: Any, **options: Any) -> None:
        self.lists.append((self._title, [*rows]))


def _names(text: str) -> str:
    return " ".join(f"`{part}`" for part in [text.replace("|", "\\|")])


def _escaped(text: str) -> str:
    """Text in which Markdown finds nothing to do."""
    text = re.sub(r"([\\`*_{}<>#|\[\]])", r"\\\1", text)
    # Commands in single quotes are what people copy.
    return re.sub(r"'(edgekit [^']+)'", lambda m: f"`{m[1].replace(chr(92), '')}`", text)
