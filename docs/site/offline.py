"""Pages load nothing from elsewhere; a hook of mkdocs that refuses those that would."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

_LOADED = re.compile(
    r"<(?:script|img|iframe|video|audio|source|embed)\b[^>]*\bsrc=[\"']?((?:https?:)?//[^\"' >]+)"
    r"|<link\b(?![^>]*rel=[\"']?canonical)[^>]*\bhref=[\"']?((?:https?:)?//[^\"' >]+)"
)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """See `loaded`."""
    from mkdocs.exceptions import PluginError

    found = loaded(output)
    if found:
        raise PluginError(f"{page.file.src_uri} loads {', '.join(found)}")
    return output


def loaded(page: str) -> list[str]:
    """Addresses that a browser fetches by itself when it shows a page."""
    return [script or link for script, link in _LOADED.findall(page)]
