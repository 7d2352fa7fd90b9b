"""Labelled image sources, and the preprocessing that every part of edgekit shares.

`open_source` turns what was given for ``--data`` into a source. Nothing here needs torch
or a runtime.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgekit import tables
from edgekit.core import FolderFormat, ImageSource, Preprocessing
from edgekit.errors import DataError, UnknownNameError, UsageError

_USUAL = "class-folders"


def _only_arrays(path: Path) -> bool:
    """Whether a folder has files of arrays, and no folders that might be classes."""
    if not path.is_dir() or not any(path.glob("*.npz")):
        return False
    return not any(child.is_dir() for child in path.iterdir())


def open_source(data: str, *, skip_corrupt: bool = False, labelled: bool = True) -> ImageSource:
    """Opens a source of images.

    Args:
        data: a name from the registry's source table (case, ``-``, ``_`` and ``.`` do not
            matter), else the path of a folder in a format of the registry's table. A folder that
            is called like a built-in source is opened as ``./digits``. Behind either,
            ``:hold-out=A,B`` keeps classes for the test split; see `edgekit.data.held_out`.
        skip_corrupt: decodes every image of a folder once and leaves out those that cannot be
            read; built-in sources have none.
        labelled: whether labels are needed; without, a folder may hold its images itself.

    Raises:
        UnknownNameError: neither a path nor a known name, but close to one.
        DataError: the folder is missing or cannot be used.
        UnavailableError: the source needs a package that is not installed.
    """
    whole, mark, held = data.rpartition(":hold-out=")
    if mark and not os.path.lexists(data):
        from edgekit.data.held_out import HeldOut

        return HeldOut(open_source(whole, skip_corrupt=skip_corrupt), held.split(","))
    if tables.SOURCES.key(data) is not None:
        source: ImageSource = tables.SOURCES.load(data)()
        return source
    path = Path(data)
    if data and os.path.lexists(path):
        from edgekit.data.folder import FolderSource

        if path.suffix == ".npz" or _only_arrays(path):
            raise DataError(
                f"'{data}' holds arrays, which are data of networks of the task tensors: expected "
                f"images, which is what a classifier takes"
            )
        try:
            made = _format_of(path)
            if made is FolderSource and not labelled:
                return FolderSource(path, skip_corrupt=skip_corrupt, labelled=False)
            return made(path, skip_corrupt=skip_corrupt)
        except OSError as error:
            raise DataError(
                f"data folder '{data}' cannot be read ({error.strerror or error}): check its "
                f"permissions"
            ) from error
    names = ", ".join(tables.SOURCES)
    hint = (
        f"expected {names} or the path of a folder of class folders (DIR/class/image.jpg), or in "
        f"another format of 'edgekit list formats'"
    )
    unknown = UnknownNameError("data source", data, tables.SOURCES, hint)
    if unknown.suggestions and os.sep not in data:
        raise unknown
    raise DataError(f"data folder '{data}' does not exist: {hint}")


def _format_of(path: Path) -> FolderFormat:
    """The format that a folder has: one that knows its own, else class folders."""
    others = [name for name in tables.FORMATS if name != _USUAL]
    for name in sorted(others, key=lambda name: not tables.FORMATS[name].package):
        found: FolderFormat = tables.FORMATS.load(name)
        if found.reads(path):
            return found
    usual: FolderFormat = tables.FORMATS.load(_USUAL)
    return usual


def decoded_for(source: ImageSource, preprocessing: Preprocessing) -> ImageSource:
    """The source with its images decoded as a network wants them.

    Images of sources that have no files are upright and opaque already.
    """
    decoded = getattr(source, "decoded", None)
    if decoded is None:
        return source
    found: ImageSource = decoded(preprocessing.exif, preprocessing.alpha)
    return found


def split_for(source: ImageSource, split: str) -> str:
    """Checks the name of a split.

    Returns:
        The name, when the source has that split.

    Raises:
        UsageError: it has not.
    """
    if split in source.splits:
        return split
    raise UsageError(
        f"data source '{source.name}' has no split '{split}': expected {', '.join(source.splits)}"
    )
