"""Files that apps are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_files import FileOf, TaskFiles
from small_artifacts import shared_folder

from edgekit import registry


@pytest.fixture
def file_of(request: pytest.FixtureRequest) -> FileOf:
    """Finds a file of a small trained network, which is made when it is asked for."""

    def find(target: str, kind: str, baked: str = "int8") -> Path:
        if kind == "fp32":
            path: Path = request.getfixturevalue("artifacts")[target, "fp32"]
            return path
        name, folder = ("baked_files", baked) if kind == "baked" else ("int8_files", kind)
        suffix = registry.target(target).suffix
        (path,) = (request.getfixturevalue(name) / folder).glob(f"*{suffix}")
        return path

    return find


@pytest.fixture(scope="session")
def task_files(tmp_path_factory: pytest.TempPathFactory) -> TaskFiles:
    """Files of networks that find bright cells, segment, or compare images. Read-only."""
    return TaskFiles(shared_folder(tmp_path_factory))
