"""A small trained network, and a finished search of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_artifacts import once, shared_folder
from small_searches import Inline, complete

from edgekit import registry


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of parts that a test makes up stay its own."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Searches of this process need no workers."""
    monkeypatch.setattr(registry, "executor", lambda name: Inline)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(short_network: Path) -> Path:
    """The network that is searched. Read-only."""
    return short_network


@pytest.fixture(scope="module")
def searched(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search. Read-only."""
    folder = shared_folder(tmp_path_factory) / "search"
    folder.mkdir(exist_ok=True)
    with once(folder / "s") as mine:
        if mine:
            (folder / "part").mkdir()
            complete(folder / "part", trained, "s")
            (folder / "part" / "s").rename(folder / "s")
    return folder / "s"
