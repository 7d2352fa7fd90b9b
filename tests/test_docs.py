"""What README and docs name exists: commands, options, files."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from edgekit.cli import COMMANDS, cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [page for page in (README, *sorted((ROOT / "docs").rglob("*.md"))) if page.exists()]

needs_readme = pytest.mark.skipif(not README.exists(), reason="there is no README.md yet")

FENCE = re.compile(r"^( *)(```+|~~~+)[^\n]*\n(.*?)^\1\2", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
OPTION = re.compile(r"--?[a-zA-Z][\w-]*")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
PLACEHOLDERS = ("COMMAND", "...")


@dataclass(frozen=True)
class Line:
    """A command line as a page shows it."""

    page: Path
    text: str

    def words(self) -> list[str]:
        """Its words behind ``edgekit``, up to what the shell takes."""
        text = re.sub(r"[\[\]]", " ", self.text)  # [--option] in a synopsis
        words = shlex.split(text, comments=True)
        for end, word in enumerate(words):
            if word in ("|", "&&", "||", ";", ">", "<", "2>", "&"):
                return words[:end]
        return words


def code_of(page: Path) -> tuple[list[str], list[str]]:
    """The lines of code blocks, continued ones joined, and the pieces of inline code."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(found[3] for found in FENCE.finditer(text))
    joined = re.sub(r" *\\\n\s*", " ", blocks)
    inline = [" ".join(found[2].split()) for found in INLINE.finditer(FENCE.sub("", text))]
    return joined.splitlines(), inline


def command_lines() -> list[Line]:
    found = []
    for page in PAGES:
        lines, inline = code_of(page)
        for text in (*lines, *inline):
            start = re.match(r"^\s*(?:\$ )?(?:\S*python3? -m |\S*bin/)?edgekit(?: +|$)(.*)", text)
            if start is not None:
                found.append(Line(page, start[1]))
    return found


def command(name: str) -> click.Command | None:
    return cli.get_command(click.Context(cli), name)


def options_of(one: click.Command) -> set[str]:
    names = {"--help", "-h"}
    for parameter in one.params:
        names.update(parameter.opts, parameter.secondary_opts)
    return names


def shown(line: Line) -> str:
    return f"{line.page.relative_to(ROOT)}: edgekit {line.text}"


@needs_readme
def test_the_pages_show_command_lines() -> None:
    named = {line.words()[0] for line in command_lines() if line.words()}
    assert named >= {"train", "export", "predict", "demo"}


@needs_readme
def test_every_command_that_is_named_exists() -> None:
    wrong = [
        shown(line)
        for line in command_lines()
        if line.words()
        and line.words()[0] not in COMMANDS
        and not line.words()[0].startswith("-")
        and line.words()[0] not in PLACEHOLDERS
    ]
    assert wrong == []


@needs_readme
def test_every_option_of_a_shown_command_line_exists() -> None:
    wrong = []
    for line in command_lines():
        words = line.words()
        one = command(words[0]) if words else None
        known = options_of(cli if one is None else one)
        for word in words:
            name = word.partition("=")[0]
            if OPTION.fullmatch(name) and name not in known:
                wrong.append(f"{shown(line)}: {name}")
    assert wrong == []


@needs_readme
def test_every_option_that_is_named_belongs_to_some_command() -> None:
    commands = [found for found in map(command, COMMANDS) if found is not None]
    known = set().union(*map(options_of, [cli, *commands]))
    wrong = []
    for page in PAGES:
        for text in code_of(page)[1]:
            found = re.match(r"^(--[a-z][a-z-]+)\b", text)
            if found is not None and found[1] not in known:
                wrong.append(f"{page.relative_to(ROOT)}: {found[1]}")
    assert wrong == []


PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SLOW = "# takes minutes"


@pytest.mark.usefixtures("brief_sessions")
def test_the_examples_for_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as a notebook's reader would."""
    monkeypatch.chdir(tmp_path)
    blocks = PYTHON.findall((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    assert len(blocks) > 4
    names: dict[str, object] = {}
    for block in blocks:
        code = compile(block, "docs/python.md", "exec")
        if not block.startswith(SLOW):
            exec(code, names)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "exported" / "sequential-int8.tflite").exists()


@needs_readme
def test_every_command_is_named_somewhere() -> None:
    named = {line.words()[0] for line in command_lines() if line.words()}
    assert set(COMMANDS) - named == set()


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *#*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@needs_readme
def test_links_to_local_files_and_headings_resolve() -> None:
    wrong = []
    for page in PAGES:
        text = INLINE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
        for target in LINK.findall(text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            missing = not file.exists() or not file.is_relative_to(ROOT)
            if missing or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
                wrong.append(f"{page.relative_to(ROOT)}: {target}")
    assert wrong == []


@needs_readme
def test_every_page_of_the_docs_can_be_reached_from_the_readme() -> None:
    seen, todo = set(), [README]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        links = LINK.findall(page.read_text(encoding="utf-8"))
        local = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]
        todo += [(page.parent / link).resolve() for link in local if link]
    assert [page.name for page in PAGES if page not in seen] == []
