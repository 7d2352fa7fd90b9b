"""``edgekit report``: measurements and accuracies, or a search, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli import console, keeping
from edgekit.cli.options import overwrite_option
from edgekit.errors import UsageError


@click.command("report")
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The page: FILE.html.",
)
@overwrite_option
@console.common_options
def command(paths: tuple[Path, ...], output: Path, overwrite: bool) -> None:
    """Make one self-contained HTML page of measurements, or of a search.

    PATH is a file of 'edgekit profile -o', an exported artifact, whose newest
    measurements are taken from the history, or what 'edgekit evaluate --json'
    printed, for accuracy against latency. The folder of 'edgekit search -o',
    alone, makes a page about that search.
    """
    from edgekit import staging

    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: expected a name that ends with .html")
    keeping.check_places([output], overwrite)
    with console.status("reading and drawing"):
        page, about, facts = _page(paths)
    staging.write_file(
        output, lambda path: path.write_text(page, encoding="utf-8"), overwrite=overwrite
    )
    for note in facts["notes"]:
        console.warn(note)
    console.say(f"{output}: {about}")
    if console.wants_json():
        console.emit_json("edgekit.report/1", {"path": str(output), **facts})


def _page(paths: tuple[Path, ...]) -> tuple[str, str, dict[str, Any]]:
    """A page, what is on it in words, and the same for a document."""
    from edgekit.report import page, search
    from edgekit.report.inputs import collect, search_of

    found = search_of(paths)
    if found is not None:
        file, document = found
        facts = {"measurements": 0, "accuracies": 0, "notes": [], "search": str(file)}
        return search.render(document, str(file)), f"the search in {file.parent}", facts
    material = collect(paths)
    facts = {
        "measurements": len(material.measurements),
        "accuracies": len(material.accuracies),
        "notes": list(material.notes),
    }
    return page.render(material), f"{len(material.measurements):,} measurements", facts
