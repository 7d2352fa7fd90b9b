"""Small trainings that several tests look at."""

from __future__ import annotations

import dataclasses

import pytest

from edgekit.training import TrainingOptions, TrainingResult, train

MODEL = "mobilenetv1@0.25"
# One thread, so that runs in other processes give the same bits.
OPTIONS = TrainingOptions(epochs=4, batch_size=16, resolution=32, threads=1)


@pytest.fixture(scope="session")
def quick() -> TrainingOptions:
    """`OPTIONS`."""
    return OPTIONS


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """An uninterrupted run on the generated shapes, with `OPTIONS`."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return train(MODEL, "synthetic", options=OPTIONS, out=out)


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A run on the digits that is long enough to learn them."""
    out = tmp_path_factory.mktemp("learned") / "run"
    options = dataclasses.replace(OPTIONS, epochs=6, batch_size=32, lr=5e-3, crop=False)
    return train(MODEL, "digits", options=options, out=out)
