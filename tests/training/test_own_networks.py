"""Training of networks that are not of the zoo."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
import torch

import edgekit
from edgekit.errors import CheckpointError, ModelError, UsageError
from edgekit.models.callables import try_training
from edgekit.models.source import open_model
from edgekit.models.weights import load_checkpoint, save_checkpoint
from edgekit.training import EpochRecord, TrainingOptions, train
from edgekit.training.progress import Silent

NETWORK = """
from torch import nn

def network(classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, classes),
    )

def ten():
    return network(10)

class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x):
        return (self.body(x), self.body(x)) if self.training else self.body(x)

class RaisesInTraining(TwoHeads):
    def forward(self, x):
        if self.training:
            raise RuntimeError("only for inference\\nsee its documentation")
        return self.body(x)

class MoreInTraining(TwoHeads):
    def forward(self, x):
        return self.body(x).repeat(1, 2) if self.training else self.body(x)

class IntegersInTraining(TwoHeads):
    def forward(self, x):
        return self.body(x).long() if self.training else self.body(x)

class Detached(TwoHeads):
    def forward(self, x):
        return self.body(x).detach()

class Uncopied(TwoHeads):
    def __init__(self):
        super().__init__()
        self.images = iter(range(3))
        self.lock = __import__("threading").Lock()

    def forward(self, x):
        return self.body(x)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "network_to_train.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "network_to_train", raising=False)
    return "network_to_train"


class _Interrupt(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, record: EpochRecord) -> None:
        if record.epoch == 1:
            raise KeyboardInterrupt


def test_a_callables_network_trains_resumes_and_is_opened_again(
    module: str, tmp_path: Path, quick: TrainingOptions
) -> None:
    words = f"{module}:network"
    options = dataclasses.replace(quick, epochs=2)
    whole = train(words, "synthetic", options=options, out=tmp_path / "whole")
    assert whole.model == words
    checkpoint = load_checkpoint(whole.checkpoint)
    assert checkpoint.spec is None
    assert checkpoint.preprocessing.crop == 32
    opened = open_model(words, weights=whole.checkpoint)
    assert opened.labels == checkpoint.labels
    with pytest.raises(KeyboardInterrupt):
        train(words, "synthetic", options=options, out=tmp_path / "cut", progress=_Interrupt())
    resumed = train(words, "synthetic", options=options, out=tmp_path / "cut", resume=True)
    again = load_checkpoint(resumed.checkpoint)
    assert all(torch.equal(again.state[name], checkpoint.state[name]) for name in again.state)


@pytest.mark.parametrize("name", ["UNet", "MobileNetV2"])
def test_a_class_may_have_the_name_of_one_of_edgekits_networks(
    name: str, module: str, tmp_path: Path, quick: TrainingOptions
) -> None:
    own = type(name, (importlib.import_module(module).TwoHeads,), {})
    own.forward = lambda self, x: self.body(x)
    network = own()
    run = edgekit.train(network, "synthetic", options=quick, out=tmp_path / "run")
    again = edgekit.train(
        own(), "synthetic", options=quick, out=tmp_path / "run", resume=True, epochs=5
    )
    assert again.epochs == 5
    with pytest.raises(ModelError, match=f"'module:{name.lower()}' is a module that was given"):
        edgekit.train(resume=True, out=tmp_path / "run")
    for source in (run.checkpoint, tmp_path / "run"):
        with pytest.raises(CheckpointError, match="given in Python: give that module again"):
            open_model(str(source))
    opened = edgekit.open_model(own(), weights=run.checkpoint)
    assert opened.trained
    assert opened.name == name.lower()
    assert opened.labels is not None
    (file,) = edgekit.export(own(), "onnx", weights=run.checkpoint, out=tmp_path)
    assert file.path.name == f"{name.lower()}-fp32.onnx"
    with pytest.raises(UsageError, match="which is not here: name the network with --against"):
        edgekit.verify(file.path)
    assert edgekit.verify(file.path, against=own(), weights=run.checkpoint).passed


class Areas(torch.nn.Module):
    """Scores of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = torch.nn.Conv2d(3, 11, 3, padding=1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"scores": self.scores(image)}


def test_a_module_for_another_task_is_opened_again_with_what_was_trained(
    tmp_path: Path, quick: TrainingOptions
) -> None:
    model = edgekit.open_model(Areas(), task="segment", size=32)
    options = dataclasses.replace(quick, epochs=1)
    run = edgekit.train(model, "digit-scenes", options=options, out=tmp_path / "run")
    with pytest.raises(CheckpointError, match="give that module"):
        open_model(str(run.checkpoint))
    again = edgekit.open_model(Areas(), weights=run.checkpoint, task="segment")
    assert again.preprocessing == load_checkpoint(run.checkpoint).preprocessing
    assert again.labels is not None
    assert len(again.labels) == 11
    found = edgekit.evaluate(again, "digit-scenes", split="test")
    assert found.figures["miou"] == pytest.approx(run.figures["miou"], abs=1e-6)


def test_an_older_file_of_such_a_class_asks_for_the_module(
    module: str, tmp_path: Path, quick: TrainingOptions
) -> None:
    network = importlib.import_module(module).network()
    run = edgekit.train(network, "synthetic", options=quick, out=tmp_path / "run")
    save_checkpoint(
        run.checkpoint, dataclasses.replace(load_checkpoint(run.checkpoint), model="unet")
    )
    with pytest.raises(CheckpointError, match="give that module with weights="):
        open_model(str(run.checkpoint))
    assert edgekit.open_model(network, weights=run.checkpoint, name="unet").trained


def test_init_from_another_number_of_scores_keeps_the_last_layer_fresh(
    module: str, tmp_path: Path, quick: TrainingOptions
) -> None:
    open_model(f"{module}:ten")
    weights = open_model(f"{module}:ten").module.state_dict()
    weights["0.weight"] = torch.ones_like(weights["0.weight"])
    torch.save(weights, tmp_path / "ten.pth")
    options = dataclasses.replace(
        quick, epochs=1, lr=1e-9, ema=False, init=str(tmp_path / "ten.pth")
    )
    progress = _Interrupt()
    with pytest.raises(KeyboardInterrupt):
        train(f"{module}:network", "synthetic", options=options, out=tmp_path, progress=progress)
    assert len(progress.notes) == 1
    state = torch.load(tmp_path / "state.pt", weights_only=True)["trainer"]["model"]
    torch.testing.assert_close(state["0.weight"], weights["0.weight"], rtol=0, atol=1e-4)
    del weights["0.weight"]
    torch.save(weights, tmp_path / "ten.pth")
    with pytest.raises(CheckpointError, match=r"'0\.weight' .* missing"):
        train(f"{module}:network", "synthetic", options=options, out=tmp_path / "other")


def test_networks_that_cannot_be_trained_are_refused(
    module: str, tmp_path: Path, quick: TrainingOptions
) -> None:
    def start(name: str, **change: float) -> None:
        options = dataclasses.replace(quick, **change)
        train(f"{module}:{name}", "synthetic", options=options, out=tmp_path / "run")

    with pytest.raises(ModelError, match="gives 10 scores and the data have 4 classes"):
        start("ten")
    with pytest.raises(UsageError, match=r"--drop-path 0\.1: .* not of the zoo"):
        start("network", drop_path=0.1)
    with pytest.raises(ModelError, match="no attribute"):
        start("nothing")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TwoHeads", "gives tuple in training: expected one tensor of class scores"),
        ("RaisesInTraining", r"shape \(2, 3, 32, 32\) in training: only for inference"),
        ("MoreInTraining", "gives 8 scores in training and 4 else"),
        ("IntegersInTraining", "gives int64 scores in training: expected floating point"),
        ("Detached", "cannot be trained: no parameter"),
        ("Uncopied", "cannot be copied, which training needs: TypeError: cannot pickle"),
    ],
)
def test_networks_that_differ_in_training_mode_are_refused_before_it_begins(
    name: str, message: str, module: str, tmp_path: Path, quick: TrainingOptions
) -> None:
    with pytest.raises(ModelError, match=f"'{module}:{name}' .*{message}"):
        train(f"{module}:{name}", "synthetic", options=quick, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_trial_leaves_the_network_as_it_is(module: str) -> None:
    network = open_model(f"{module}:network").module
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    try_training(network, (3, 32, 32), 4, "network")
    assert not network.training
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def test_the_resolution_follows_the_images(module: str, tmp_path: Path) -> None:
    options = TrainingOptions(epochs=1, threads=1)
    train(f"{module}:network", "synthetic", options=options, out=tmp_path / "run")
    recorded = json.loads((tmp_path / "run" / "options.json").read_text())
    assert recorded["spec"] is None
    assert recorded["options"]["resolution"] == 96  # twice 40 px, a multiple of 32
