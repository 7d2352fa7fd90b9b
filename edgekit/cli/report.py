"""``edgekit report``: measurements and accuracies as one page."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import console
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
    """Make one self-contained HTML page of measurements.

    PATH is a file of 'edgekit profile -o', an exported artifact, whose newest
    measurements are taken from the history, or what 'edgekit evaluate --json'
    printed, for accuracy against latency.
    """
    from edgekit import staging
    from edgekit.report.inputs import collect
    from edgekit.report.page import render

    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: expected a name that ends with .html")
    staging.refuse_existing([output], overwrite)
    with console.status("reading measurements") as notify:
        material = collect(paths)
        notify("drawing")
        page = render(material)
    with staging.output_folder(output.parent), staging.staging(output.parent) as staged:
        (staged / output.name).write_text(page, encoding="utf-8")
        staging.publish(staged, [output])
    for note in material.notes:
        console.warn(note)
    console.say(f"{output}: {len(material.measurements):,} measurements")
    if console.wants_json():
        facts = {
            "path": str(output),
            "measurements": len(material.measurements),
            "accuracies": len(material.accuracies),
            "notes": list(material.notes),
        }
        console.emit_json("edgekit.report/1", facts)
