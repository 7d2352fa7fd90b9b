"""``edgekit app``: a sample app around an exported file."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import console
from edgekit.cli.options import overwrite_option, weights_option
from edgekit.errors import UsageError


@click.command("app")
@click.argument("artifact", metavar="ARTIFACT")
@click.option(
    "--platform",
    required=True,
    metavar="P",
    help="What the app is written for; see 'edgekit list apps'.",
)
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new folder, or an empty one.",
)
@click.option(
    "--against",
    metavar="MODEL",
    help="The network that the file was made from: its scores belong to the app's golden images, "
    "too.",
)
@weights_option
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A golden image beside the generated ones; may be given several times.",
)
@overwrite_option
@console.common_options
def command(
    artifact: str,
    platform: str,
    out: Path,
    against: str | None,
    weights: Path | None,
    images: tuple[Path, ...],
    overwrite: bool,
) -> None:
    """Write a small app around ARTIFACT, with images that test it.

    The app prepares images as the contract of the file says, and says what they show. It is meant
    to be copied into a product.
    """
    from edgekit.apps.app import open_app, write_app

    if weights is not None and against is None:
        raise UsageError("--weights goes with --against only")
    with console.status(f"writing an app around {artifact}"):
        app = open_app(artifact, against=against, weights=weights, images=images)
        found = write_app(app, platform, out, overwrite=overwrite)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    console.say(
        f"{out}: an app for {found.name} around {app.path.name}, {len(files)} files, "
        f"{size / 1e6:.1f} MB, {len(app.golden)} golden images"
    )
    if app.network is None:
        console.note(
            "the golden images have the scores of the file only: give the network with --against "
            "to test the app against PyTorch, too"
        )
    console.say("")
    for line in (f"cd {out}", *found.runs, *found.tests):
        console.say(f"  {line}")
    if console.wants_json():
        console.emit_json(
            "edgekit.app/1",
            {
                "folder": str(out),
                "platform": found.name,
                "artifact": str(app.path),
                "sha256": app.contract.sha256,
                "network": app.network,
                "golden": [each.picture.file for each in app.golden],
                "files": [path.relative_to(out).as_posix() for path in files],
                "size_bytes": size,
            },
        )
