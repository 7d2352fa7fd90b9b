"""Folders of exported files, in the place of the files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgekit import registry
from edgekit.contract import REJECTED, contract_path, is_artifact
from edgekit.errors import InputError
from edgekit.models.weights import FILE_NAME


def is_folder(source: object) -> bool:
    """Whether a source means a folder of exported files, rather than a network."""
    if not isinstance(source, str | os.PathLike):
        return False
    text = os.fspath(source)
    if not text or not os.path.isdir(text):  # noqa: PTH112 - which takes names that are too long
        return False
    if any((Path(text) / name).exists() for name in (FILE_NAME, "state.pt")):
        return False
    return os.sep in text or text in (".", "..") or not registry.is_network(text)


def files_in(folder: Path) -> list[Path]:
    """What lies in a folder, but for hidden files and what belongs to other files of it.

    That are contracts, reports, and further files of a format.
    """
    paths = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    belonging: set[Path] = set()
    for path in paths:
        if not is_artifact(str(path)):
            continue
        belonging.add(contract_path(path))
        target = registry.target_by_suffix(path.suffix)
        if target is not None:
            try:
                belonging.update(target.files(path)[1:])
            except InputError:  # said where it is opened
                belonging.update(target.written(path)[1:])
    return [path for path in paths if path not in belonging]


def expanded(sources: Sequence[str]) -> list[str]:
    """Sources, with the exported files of each folder in its place.

    Files that failed their verification are left out; they cannot be opened.

    Raises:
        InputError: a folder has none.
    """
    found: list[str] = []
    for source in sources:
        if not is_folder(source):
            found.append(source)
            continue
        files = [
            str(path)
            for path in files_in(Path(source))
            if is_artifact(str(path)) and path.suffix != REJECTED
        ]
        if not files:
            raise InputError(
                f"{source} holds no exported file, and is no run folder: expected files of "
                f"'edgekit export', or a run of 'edgekit train'"
            )
        found += files
    return list(dict.fromkeys(found))
