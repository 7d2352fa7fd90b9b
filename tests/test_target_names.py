"""What depends on a target is said by the target: its name decides nothing elsewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import edgekit
from edgekit import tables

PACKAGE = Path(edgekit.__file__).parent

NAMES = re.compile("|".join(tables.TARGETS.built_in), re.IGNORECASE)

HELP = "text of --help"
MESSAGES = "how a library's messages look, whichever file they are about"
WORDS = "words of other tools, and what they mean here"
TELEMETRY = "a switch of a library, which others may have imported"

ALLOWED = {
    "tables.py": "the table",
    "cli/__init__.py": HELP,
    "cli/export.py": HELP,
    "cli/integers.py": HELP,
    "core/reasons.py": MESSAGES,
    "core/runtimes.py": TELEMETRY,
    "meant.py": WORDS,
}


def words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts and names of code, with their lines; none of docstrings."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                yield node.lineno, node.value
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.keyword):
            yield node.lineno, node.arg or ""
        elif isinstance(node, ast.alias | ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def found() -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        if "template" in file.parts:  # an app's code, one file for each target's runtime
            continue
        place = file.relative_to(PACKAGE).as_posix()
        for line, text in words(ast.parse(file.read_text(encoding="utf-8"))):
            if NAMES.search(text):
                named.setdefault(place, []).append(f"edgekit/{place}:{line}: {text!r}")
    return named


def test_no_name_of_a_target_stands_outside_the_table() -> None:
    wrong = [line for place, lines in found().items() if place not in ALLOWED for line in lines]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_allowed_that_is_not_needed() -> None:
    assert set(ALLOWED) <= set(found())


def test_in_code_that_is_allowed_help_no_name_is_compared() -> None:
    """There, names stand in sentences alone."""
    for place in (place for place, why in ALLOWED.items() if why == HELP):
        tree = ast.parse((PACKAGE / place).read_text(encoding="utf-8"))
        for line, text in words(tree):
            if NAMES.search(text):
                assert " " in text, f"edgekit/{place}:{line}: {text!r}"
