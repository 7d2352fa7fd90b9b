"""A training of a network without batch norm, which sees each image for itself.

Run as a script by ``torchrun``, each process writes its weights: ``plain_network.py FOLDER``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec, Preprocessing
from edgekit.data import open_source
from edgekit.data.truths import CLASS_LABELS
from edgekit.tasks.losses import Kinds
from edgekit.training import TrainingOptions, processes
from edgekit.training.images import Batches, Loader, open_splits
from edgekit.training.lesson import OfClasses
from edgekit.training.options import resolve
from edgekit.training.run_folder import Plan
from edgekit.training.trainer import Trainer

SIDE = 16
OPTIONS = TrainingOptions(
    epochs=2, batch_size=10, lr=0.1, optimizer="sgd", crop=False, flip=False, resolution=SIDE
)


def network() -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, stride=2)
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def weights_after(options: TrainingOptions) -> tuple[dict[str, Tensor], int]:
    """Trains; gives the weights and how many steps the optimizer took."""
    source = open_source("synthetic")
    preprocessing = Preprocessing(SIDE, SIDE)
    options = resolve(options, source, SIDE, 1)
    spec = ModelSpec("plain", "plain", (), 8, (), "relu", 4, SIDE)
    plan = Plan("plain", "synthetic", options, spec, preprocessing, source.classes, {})
    images = open_splits(
        source, ["train", "validation"], preprocessing, lambda *_: None, CLASS_LABELS
    )
    lesson = OfClasses(Kinds(), len(source.classes), options, None)
    trainer = Trainer(plan, network(), images["train"], lesson)
    share = processes.share()
    validation = Loader(images["validation"], Batches(16, 16, share=share), trainer.device)
    for epoch in range(options.epochs):
        record = trainer.epoch(epoch, validation, lambda *_: None)
        assert 0 <= record.validation_figure <= 1
    state = trainer.state()
    return state["model"], state["schedule"]["last_epoch"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    state, steps = weights_after(OPTIONS)
    torch.save({"state": state, "steps": steps}, Path(sys.argv[1], f"{processes.rank()}.pt"))
