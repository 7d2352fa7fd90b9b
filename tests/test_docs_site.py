"""The site of the documentation: pages of commands, and that pages load nothing from elsewhere.

``make docs`` builds it.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from edgekit.cli import COMMANDS, cli

SITE = Path(__file__).parents[1] / "docs" / "site"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_site_{name}", SITE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    found: dict[str, str] = module("commands").pages()
    return found


def test_every_command_has_a_page_with_all_its_options(pages: dict[str, str]) -> None:
    assert set(pages) == {"README", *COMMANDS}
    for name in COMMANDS:
        assert f"({name}.md)" in pages["README"]
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        shown = pages[name]
        options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
        assert [o.opts[-1] for o in options if o.opts[-1] not in shown] == []
        assert f"edgekit {name} " in shown


def test_a_page_of_a_command_is_whole_markdown(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        assert page.startswith("# "), name
        assert "\b" not in page, name
        assert page.count("```") % 2 == 0, name
        rows = re.findall(r"^\|.*$", page, re.MULTILINE)
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {3}, name


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="assets/a.js"></script><a href="https://arxiv.org">', []),
        ('<link rel="canonical" href="https://here/a.html"><img src=../a.svg>', []),
        ('<script defer src="https://there/a.js"></script>', ["https://there/a.js"]),
        ("<link rel=stylesheet href=//fonts/a.css>", ["//fonts/a.css"]),
        ("<img alt=a src='http://there/a.png'>", ["http://there/a.png"]),
    ],
)
def test_what_a_page_would_load(page: str, found: list[str]) -> None:
    assert module("offline").loaded(page) == found


def test_bars_in_code_are_those_that_mkdocs_takes() -> None:
    plain = module("pipes").plain
    assert plain("| `a\\|b` | c\\|d |") == "| `a|b` | c\\|d |"
