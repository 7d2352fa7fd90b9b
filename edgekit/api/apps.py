"""``edgekit.app`` and ``edgekit.bundle``: files on their way into products."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.api.keywords import StrPath, text_of

if TYPE_CHECKING:
    from edgekit.apps.app import App
    from edgekit.bundles import Bundled
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
    """Writes a small app around an exported file, with images that test it.

    Args:
        artifact: the file, or what `export` gave for it.
        platform: what the app is written for, such as ``python``; ``edgekit list apps``.
        out: a new or an empty folder.
        against: the network that the file was made from; the images get its outputs, too.
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


def bundle(
    artifacts: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    licence: StrPath | None = None,
    evaluations: Sequence[StrPath] = (),
    overwrite: bool = False,
) -> tuple[Bundled, ...]:
    """Puts exported files into one archive, with contracts and a model card.

    Args:
        artifacts: the files, or what `export` gave for them.
        out: the archive, whose name ends in ``.zip``.
        licence: a text of the models' licence.
        evaluations: documents of ``edgekit evaluate --json`` about these files.
        overwrite: replace the archive.

    Returns:
        What the archive holds.

    Raises:
        ContractError: a file and its contract do not belong together.
        UsageError: arguments that cannot be.
        InputError: a file cannot be read.
        OutputError: the archive is there already, or cannot be written.
    """
    from edgekit.bundles import bundle

    several = [artifacts] if isinstance(artifacts, str | os.PathLike) else artifacts
    return bundle(
        [Path(one) for one in several],
        Path(out),
        licence=None if licence is None else Path(licence),
        evaluations=[Path(one) for one in evaluations],
        overwrite=overwrite,
    )
