"""Apps for iOS, which nobody can compile here: their syntax; see ``make apps-test``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekit import apps

pytestmark = pytest.mark.apps

TEMPLATE = Path(apps.__file__).parent / "ios" / "template"
PARSER = Path(__file__).parents[2] / ".apps" / "python"
PROGRAM = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import tree_sitter
import tree_sitter_swift

parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))


def wrong(node):
    if node.is_error or node.is_missing:
        yield node.start_point
    for child in node.children:
        yield from wrong(child)


for path in sorted(Path(sys.argv[2]).rglob("*.swift")):
    places = list(wrong(parser.parse(path.read_bytes()).root_node))
    print(path.name, *places)
"""


def parsed(folder: Path) -> dict[str, str]:
    """Where errors of syntax are, by the name of the file."""
    if not PARSER.is_dir():
        pytest.skip("there is no parser of Swift: make apps-test")
    words = [sys.executable, "-c", PROGRAM, PARSER, folder]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())


def test_sources_have_no_errors_of_syntax(tmp_path: Path) -> None:
    found = parsed(TEMPLATE)
    assert len(found) > 12
    assert not any(found.values()), found
    (tmp_path / "wrong.swift").write_text("struct A { let x: Int = }")
    assert parsed(tmp_path)["wrong.swift"]
