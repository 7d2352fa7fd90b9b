"""``edgekit.app``: sample apps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.api.keywords import StrPath, text_of

if TYPE_CHECKING:
    from edgekit.apps.app import App
    from edgekit.models.taking import Network


def app(
    artifact: StrPath,
    platform: str,
    out: StrPath,
    *,
    against: Network | None = None,
    weights: StrPath | None = None,
    images: Sequence[StrPath] = (),
    overwrite: bool = False,
) -> App:
    """Writes a small app around an exported classifier, with images that test it.

    Args:
        artifact: the file, or what `export` gave for it.
        platform: what the app is written for, such as ``python``; ``edgekit list apps``.
        out: a new or an empty folder.
        against: the network that the file was made from; the images get its scores, too.
        weights: checkpoint or state dict, for a network that is named, or a module.
        images: image files that test the app beside the generated ones.
        overwrite: replace an app that is in ``out``.

    Returns:
        What the app was made of; ``golden`` are its images.

    Raises:
        UsageError: the platform cannot run the file, or there is no such platform.
        ContractError: file and contract do not belong together.
        DataError: an image cannot be used.
        OutputError: the folder is not empty, or cannot be written.
    """
    from edgekit.apps.app import open_app, write_app

    made = open_app(artifact, against=against, weights=text_of(weights, "weights"), images=images)
    write_app(made, platform, Path(out), overwrite=overwrite)
    return made
