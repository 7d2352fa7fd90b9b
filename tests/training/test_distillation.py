from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit.core import Preprocessing
from edgekit.errors import CheckpointError, ModelError, UsageError
from edgekit.models.model import Model
from edgekit.models.source import open_model
from edgekit.training import TrainingOptions, TrainingResult, train
from edgekit.training.distillation import Teacher, open_teacher

MODEL = "mobilenetv1@0.25"  # as in conftest.py
PREPROCESSING = Preprocessing(32, 32)


class _Mean(nn.Module):
    """Scores that are the mean of each colour."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def test_the_loss_is_the_divergence_of_softened_probabilities() -> None:
    teacher = Teacher(Model("m", "m", _Mean(), 4, 3), PREPROCESSING, temperature=2.0)
    pixels = torch.randint(0, 256, (5, 4, 4, 3), dtype=torch.uint8)
    taught = teacher.rows(pixels)
    scores = torch.randn(5, 3)
    p, q = (taught / 2).softmax(1), (scores / 2).softmax(1)
    expected = 4 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(teacher.loss(scores, pixels), expected)
    torch.testing.assert_close(teacher.loss(taught, pixels), torch.tensor(0.0))


def test_the_teacher_normalizes_images_as_it_was_trained() -> None:
    own = dataclasses.replace(PREPROCESSING, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    teacher = Teacher(Model("m", "m", _Mean(), 4, 3, preprocessing=own), PREPROCESSING, 1.0)
    white = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
    torch.testing.assert_close(teacher.rows(white), torch.ones(1, 3))


def test_a_network_follows_its_teacher_without_labels(
    learned: TrainingResult, tmp_path: Path, quick: TrainingOptions
) -> None:
    options = dataclasses.replace(
        quick, epochs=4, batch_size=32, lr=5e-3, crop=False, seed=7, teacher=str(learned.run)
    )
    options = dataclasses.replace(options, teacher_weight=1.0)
    result = train(MODEL, "digits", options=options, out=tmp_path / "run")
    assert result.top1 >= 0.6
    before = open_model(str(learned.run)).module.state_dict()
    assert open_model(str(learned.run)).trained
    assert not all(
        torch.equal(tensor, before[name])
        for name, tensor in open_model(str(result.run)).module.state_dict().items()
    )


def test_teachers_that_cannot_teach_are_refused(
    learned: TrainingResult, trained: TrainingResult, tmp_path: Path, quick: TrainingOptions
) -> None:
    def start(teacher: str, data: str = "synthetic") -> None:
        options = dataclasses.replace(quick, teacher=teacher)
        train(MODEL, data, options=options, out=tmp_path / "run")

    with pytest.raises(ModelError, match="has 10 classes and the data have 4"):
        start(str(learned.run))
    with pytest.raises(UsageError, match="untrained"):
        start("mobilenetv1")
    with pytest.raises(CheckpointError, match="does not exist"):
        start("missing/model.pt")
    with pytest.raises(ModelError, match="'circle' in place of 'ring'"):
        open_teacher(str(trained.run), ("ring", "cross", "square", "triangle"), PREPROCESSING, 4.0)
    assert not (tmp_path / "run").exists()
