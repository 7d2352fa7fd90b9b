"""What searches of any networks are trained and scored on, and how these are run on it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from any_networks import settled
from torch import Tensor, nn
from wide_networks import IMAGE, UNet

from edgekit.core import Interface, TensorSpec
from edgekit.data import open_source
from edgekit.data.preprocess import for_source
from edgekit.errors import DataError
from edgekit.models.outside import from_module
from edgekit.models.rows import NUMBERS_AT_ONCE, on_rows, runs_batched
from edgekit.search.inputs import (
    ON_IMAGES,
    SELECTION,
    ArrayInputs,
    ImageInputs,
    Running,
)
from edgekit.search.learning import Learner
from edgekit.tasks import task_of

ROW = Interface(
    (TensorSpec("x", (1, 3), "float32", ""),), (TensorSpec("output", (1, 2), "float32", ""),)
)


def saved(folder: Path, count: int) -> str:
    folder.mkdir()
    for i in range(count):
        np.savez(folder / f"{i:03}.npz", x=np.full((1, 3), i, np.float32))
    return str(folder)


def test_files_are_cut_by_their_names_and_none_is_in_two_splits(tmp_path: Path) -> None:
    words = saved(tmp_path / "rows", 60)
    inputs = ArrayInputs(words, ROW)
    inputs.check()
    found = {
        split: inputs.fetch(split, range(inputs.size(split)))[0][:, 0].tolist()
        for split in inputs.splits
    }
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 48, SELECTION: 6, "test": 6,
    }  # fmt: skip
    assert sorted(itertools.chain(*found.values())) == list(range(60))
    inputs.load()  # from memory they are the same
    assert inputs.fetch(SELECTION, range(6))[0][:, 0].tolist() == found[SELECTION]
    before = inputs.fingerprint()
    assert ArrayInputs(words, ROW).fingerprint() == before
    np.savez(Path(words) / "007.npz", x=np.zeros((1, 3), np.float32))
    np.savez(Path(words) / "008.npz", x=np.zeros((1, 3), np.float32))
    assert ArrayInputs(words, ROW).fingerprint() != before


def test_too_few_files_cannot_be_held_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 15 \.npz files, one an inference: a search needs 16"):
        ArrayInputs(saved(tmp_path / "few", 15), ROW)
    least = ArrayInputs(saved(tmp_path / "least", 16), ROW)
    assert [least.size(split) for split in least.splits] == [8, 4, 4]


class One(nn.Module):
    """Its code has the number of inferences in it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.layers(x).reshape(1, -1)[:, :8]
        return self.out(mixed).expand(len(x), 2)


def test_what_mixes_inferences_is_run_one_by_one(tmp_path: Path) -> None:
    inputs = ArrayInputs(saved(tmp_path / "rows", 40), ROW)
    model = from_module(settled(One, (3,)), "one", example=torch.zeros(1, 3), task="tensors")
    rows, _ = inputs.fetch("train", range(4))
    assert not runs_batched(model.module, rows, model.interface)
    plain = nn.Linear(3, 2)
    assert runs_batched(plain, rows, ROW)
    run = Running(model.interface, batched=False)
    assert run(model.module, rows).shape == (4, 2)
    objective = task_of(model).objective(model)
    learner = Learner(inputs, objective, 0, model.module, run=run)
    student = from_module(settled(One, (3,)), "one", example=torch.zeros(1, 3), task="tensors")
    with torch.no_grad():
        student.module.out.weight += 0.5
    before = learner.score(student.module)
    statistics = student.module.layers[1].running_mean.clone()
    learner.recalibrate(student.module)
    learner.tune(student.module, 20, 3e-2)
    after = learner.score(student.module)
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert torch.equal(student.module.layers[1].running_mean, statistics)
    assert learner.score(model.module) == (1, 0)


def test_images_that_are_no_squares_are_learned_without_labels() -> None:
    source = open_source("digits")
    model = from_module(settled(UNet, IMAGE), "unet", example=torch.zeros(1, *IMAGE))
    preprocessing = for_source(source, IMAGE[1:])
    inputs = ImageInputs(source, preprocessing, as_rows=True)
    samples, labels = inputs.fetch("train", range(5))
    assert samples.shape == (5, *IMAGE[1:], 3)
    changed, same = inputs.changed(samples, labels, (0, 1))
    assert same is labels
    assert changed.shape == samples.shape
    assert not torch.equal(changed, samples)
    assert torch.equal(changed, inputs.changed(samples, labels, (0, 1))[0])
    run = Running(model.interface)
    outputs = run(model.module, inputs.ready(samples))
    assert outputs.shape == (5, 4 * IMAGE[1] * IMAGE[2])


class Commonest(nn.Module):
    """Scores, and classes that depend on all inferences of a batch."""

    def __init__(self, *, mixes: bool) -> None:
        super().__init__()
        self.out, self.mixes = nn.Linear(3, 4), mixes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.out(x)
        classes = scores.argmax(1)
        return scores, classes.mode().values.expand(len(x)) if self.mixes else classes


@pytest.mark.parametrize("mixes", [False, True])
def test_integers_tell_of_mixing_too(mixes: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Commonest(mixes=mixes)
    model = from_module(network, "one", example=torch.zeros(1, 3), task="tensors")
    rows = torch.randn(16, 3)
    assert len(set(network(rows)[0].argmax(1).tolist())) > 1
    assert runs_batched(model.module, rows, model.interface) != mixes


class Broken(One):
    """It cannot be trained, in whatever number."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise OSError(f"no file for {len(x)}") if len(x) > 1 else RuntimeError("one is too few")
        return super().forward(x)


class Full(One):
    def forward(self, x: Tensor) -> Tensor:
        raise MemoryError if len(x) > 1 else AssertionError("it must not be run again")


def test_what_fails_in_training_says_why() -> None:
    for kind, error in ((Broken, OSError), (Full, MemoryError)):
        network = on_rows(kind(), ROW, "network").train()
        with pytest.raises(error):
            network(torch.zeros(4, 3))


def test_of_large_maps_fewer_are_computed_at_once() -> None:
    assert ON_IMAGES.at_once(64) == 64
    assert Running(ROW).at_once(64) == 64
    large = Interface(
        (TensorSpec("x", (1, 3, 512, 512), "float32", "NCHW"),),
        (TensorSpec("output", (1, 21, 512, 512), "float32", ""),),
    )
    assert Running(large).at_once(64) == NUMBERS_AT_ONCE // (24 * 512 * 512) == 2
