"""Bars in code of tables, which GitHub wants escaped and mkdocs does not; a hook of mkdocs."""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"`[^`\n]+`")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """See `plain`."""
    return plain(markdown)


def plain(markdown: str) -> str:
    """The text with bars in code as they are."""
    return _CODE.sub(lambda code: code[0].replace("\\|", "|"), markdown)
