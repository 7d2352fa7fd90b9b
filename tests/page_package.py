"""The package that docs/extend.md shows, installed from the page."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from installed import install

PAGE = Path(__file__).parents[1] / "docs" / "extend.md"
BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def install_toys(folder: Path) -> None:
    """Puts the package into a folder that is on the path."""
    files = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    install(
        folder,
        project["name"],
        project["entry-points"],
        {"toys/__init__.py": "", **files},
        version=project["version"],
        summary=project["description"],
    )
