"""``edgekit report``: measurements and accuracies, or a search, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli import console
from edgekit.cli.options import overwrite_option


@click.command("report")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    default=Path("report.html"),
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The page, which ends with .html; report.html otherwise.",
)
@overwrite_option
@console.common_options
def command(paths: tuple[Path, ...], output: Path, overwrite: bool) -> None:
    """Make one self-contained HTML page of measurements, or of a search.

    PATH is a file of 'edgekit profile -o', an exported artifact, whose newest
    measurements are taken from the history, or what 'edgekit evaluate --json'
    printed, for accuracy against latency. The folder of 'edgekit search -o',
    alone, makes a page about that search. Without PATH, the page shows the
    newest measurements of the history.
    """
    from edgekit.api.pages import report
    from edgekit.core.text import counted_words

    with console.status("reading and drawing"):
        page = report(paths or None, output, overwrite=overwrite)
    for note in page.notes:
        console.warn(note)
    about = counted_words(page.measurements, "measurement")
    if page.search is not None:
        about = f"the search in {page.search.parent}"
    console.say(f"{output}: {about}")
    if console.wants_json():
        document: dict[str, Any] = {
            "measurements": page.measurements,
            "accuracies": page.accuracies,
            "notes": list(page.notes),
        }
        if page.search is not None:
            document["search"] = str(page.search)
        console.emit_json("edgekit.report/1", {"path": str(output), **document})
