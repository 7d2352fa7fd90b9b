"""Files that may not be read, whoever runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def unreadable(file: Path) -> Iterator[None]:
    """A file that this process has no permission to read, also when root runs it.

    The effective user is changed meanwhile, so every folder above must let others pass.
    """
    file.chmod(0)
    if os.geteuid() != 0:
        yield
        return
    for folder in file.parents:
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    try:
        os.seteuid(NOBODY)
    except OSError as error:
        pytest.skip(f"cannot become another user: {error}")
    try:
        yield
    finally:
        os.seteuid(0)
