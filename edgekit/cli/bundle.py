"""``edgekit bundle``: artifacts in one archive."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import console
from edgekit.cli.options import overwrite_option


@click.command("bundle")
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.zip",
    help="The archive.",
)
@click.option(
    "--licence",
    "--license",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Text of the models' licence.",
)
@click.option(
    "--evaluation",
    "evaluations",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What 'edgekit evaluate --json' printed of one of the files; may be given several times.",
)
@overwrite_option
@console.common_options
def command(
    artifacts: tuple[str, ...],
    out: Path,
    licence: Path | None,
    evaluations: tuple[Path, ...],
    overwrite: bool,
) -> None:
    """Put exported files into one archive, with contracts and a model card.

    The card has what is known: data, agreement, accuracy, latency and energy with
    their conditions, and digests of what they were made from. 'edgekit verify
    FILE.zip' checks it.
    """
    from edgekit.bundles import bundle

    with console.status(f"writing {out}"):
        bundled = bundle(
            [Path(one) for one in artifacts],
            out,
            licence=licence,
            evaluations=evaluations,
            overwrite=overwrite,
        )
    size = out.stat().st_size
    count = "1 artifact" if len(bundled) == 1 else f"{len(bundled)} artifacts"
    console.say(f"{out}: {count}, {console.mebibytes(size)}")
    if licence is None:
        console.note("the archive has no licence: give its text with --licence FILE")
    console.say(f"next: edgekit verify {out}")
    if console.wants_json():
        console.emit_json(
            "edgekit.bundle/1",
            {
                "path": str(out),
                "size_bytes": size,
                "artifacts": [{"path": one.name, "sha256": one.contract.sha256} for one in bundled],
            },
        )
