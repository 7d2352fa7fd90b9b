"""``edgekit app``: a sample app around an exported file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import console
from edgekit.cli.options import overwrite_option, weights_option
from edgekit.core.text import counted_words
from edgekit.errors import UnavailableError, UsageError
from edgekit.tables import APPS

if TYPE_CHECKING:
    from edgekit.apps.app import App, Platform


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
    help="The network that the file was made from: its outputs belong to the app's golden images, "
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
@click.option(
    "--serve",
    is_flag=True,
    help="Then serve the app's page on this machine for a look, until Ctrl-C. The same app, "
    "where DIR holds it already, is served as it is.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="For --serve; one that is free by default.",
)
@console.common_options
def command(
    artifact: str,
    platform: str,
    out: Path,
    against: str | None,
    weights: Path | None,
    images: tuple[Path, ...],
    overwrite: bool,
    serve: bool,
    port: int | None,
) -> None:
    """Write a small app around ARTIFACT, with images that test it.

    The app prepares images as the contract of the file says, and says what they show: classes,
    objects with their boxes, masks, or what they are like. It is meant to be copied into a product.
    """
    from edgekit.apps.app import holds, open_app, write_app

    if weights is not None and against is None:
        raise UsageError("--weights goes with --against only")
    if port is not None and not serve:
        raise UsageError("--port goes with --serve only")
    found: Platform = APPS.load(platform)
    if serve and not found.page:
        raise UsageError(f"an app for {platform} is no page that could be served: omit --serve")
    with console.status(f"writing an app around {artifact}"):
        there = serve and not overwrite and holds(Path(artifact), platform, out)
        if there and (images or against is not None):
            option = "--image" if images else "--against"
            raise UsageError(
                f"{out} holds this app already, which {option} would not change: add --overwrite "
                f"to write it anew"
            )
        app = open_app(artifact, against=against, weights=weights, images=images)
        if not there:
            write_app(app, platform, out, overwrite=overwrite)
    if console.wants_json() or not there:
        _tell(app, found, out)
    if serve:
        _serve(found, out, port or 0)


def _serve(platform: Platform, folder: Path, port: int) -> None:
    """Serves an app's page until Ctrl-C.

    Raises:
        UnavailableError: it cannot run yet, or the port is taken.
    """
    from edgekit.apps import serving

    to_do = platform.incomplete(folder)
    if to_do is not None:
        raise UnavailableError(f"the page in {folder} cannot run yet: {to_do}, then this again")
    with serving.served(folder, port) as server:
        console.note(f"{serving.address(server)} shows the page; end it with Ctrl-C")
        serving.serve(server)


def _tell(app: App, platform: Platform, out: Path) -> None:
    """Says what is in the folder."""
    from edgekit.apps.app import PACKAGES, written_with

    golden, network = written_with(out)
    files = sorted((path for path in out.rglob("*") if path.is_file()), key=Path.as_posix)
    size = sum(path.stat().st_size for path in files)
    console.say(
        f"{out}: an app for {platform.name} around {app.path.name}, "
        f"{counted_words(len(files), 'file')}, {size / 1e6:.1f} MB, {len(golden)} golden images"
    )
    if network is None:
        console.note(
            "the golden images have the outputs of the file only: give the network with --against "
            "to test the app against PyTorch, too"
        )
    console.say("")
    console.say(f"  cd {shlex.quote(str(out))}")
    task = app.contract.task
    for line in (*platform.runs, *platform.tests):
        console.say(f"  {line.replace('{task}', task).replace('{package}', PACKAGES[task])}")
    if console.wants_json():
        console.emit_json(
            "edgekit.app/1",
            {
                "folder": str(out),
                "platform": platform.name,
                "artifact": str(app.path),
                "sha256": app.contract.sha256,
                "network": network,
                "golden": golden,
                "files": [path.relative_to(out).as_posix() for path in files],
                "size_bytes": size,
            },
        )
