"""A small trained network, and a finished search of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from small_artifacts import once, shared_folder
from small_searches import Inline, complete

from edgekit.data import open_source
from edgekit.data.preprocess import for_source
from edgekit.models import build, find_spec
from edgekit.models.weights import Checkpoint, save_checkpoint
from edgekit.search import searching
from edgekit.search.learning import Learner


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of parts that a test makes up stay its own."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches of this process need no workers."""
    monkeypatch.setattr(searching.registry, "executor", lambda name: Inline)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained checkpoint of three of MobileNetV3-Small's blocks: it has eight groups. Read-only."""
    path = shared_folder(tmp_path_factory) / "short.pt"
    with once(path) as mine:
        if mine:
            save_checkpoint(path, _short())
    return path


def _short() -> Checkpoint:
    whole = find_spec("mobilenetv3-small", classes=10, resolution=32)
    spec = dataclasses.replace(whole, rows=whole.rows[:3])
    digits = open_source("digits")
    facts = for_source(digits, spec.resolution)
    torch.manual_seed(0)
    module = build(spec)
    Learner(digits, facts, 0, None).tune(module, 120, 3e-3)
    return Checkpoint(spec.name, spec, module.state_dict(), tuple(digits.classes), facts, "digits")


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
