"""Short trainings and scores in a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from any_networks import settled
from dark_network import Dark
from torch import nn
from wide_networks import IMAGE, UNet

from edgekit.data import open_source
from edgekit.data.preprocess import for_source
from edgekit.errors import ModelError
from edgekit.models import build, find_spec
from edgekit.models.copying import own_copy
from edgekit.models.outside import from_module
from edgekit.search.inputs import SELECTION, ArrayInputs, ImageInputs, Running
from edgekit.search.learning import Learner, batch_norms, batch_of, epoch_steps
from edgekit.tasks import task_of
from edgekit.tasks.objectives import OF_LOGITS


def test_scores_are_of_a_part_of_the_split_or_of_all() -> None:
    source = open_source("digits")
    torch.manual_seed(0)
    module = build(find_spec("mobilenetv1@0.25", classes=10, resolution=32))
    count = source.size(SELECTION)
    inputs = ImageInputs(source, for_source(source, 32))
    part = Learner(inputs, OF_LOGITS, 0, None, selection=7)
    every = Learner(inputs, OF_LOGITS, 0, None, selection=count)
    assert part.score(module, thorough=True) == every.score(module) != part.score(module)
    top1, _ = part.score(module)
    assert round(7 * top1, 9).is_integer()
    top1, _ = every.score(module)
    assert round(count * top1, 9).is_integer()


def test_a_network_that_is_learned_from_and_gives_no_numbers_is_named() -> None:
    source = open_source("digits")
    learner = Learner(ImageInputs(source, for_source(source, 32)), OF_LOGITS, 0, Dark())
    net = build(find_spec("mobilenetv1@0.25", classes=10, resolution=32))
    told = "the network that is searched gives nan for image .* of split 'train', as it is aug"
    with pytest.raises(ModelError, match=told):
        learner.tune(net, 2, 1e-3)


def test_few_samples_are_many_batches() -> None:
    assert (batch_of(10_000), epoch_steps(10_000)) == (64, 156)
    assert (batch_of(1024), epoch_steps(1024)) == (64, 16)
    assert (batch_of(320), epoch_steps(320)) == (20, 16)
    assert (batch_of(32), epoch_steps(32)) == (4, 8)
    assert (batch_of(3), epoch_steps(3)) == (3, 1)


Followed = tuple[Learner, nn.Module]
"""What learns from few inputs, and the network that it follows."""


def following(folder: Path, *, waves: bool) -> Followed:
    """On noise, which the norms of the network have seen, or on waves, which they have not."""
    rng = np.random.default_rng(0)
    places = np.mgrid[: IMAGE[1], : IMAGE[2]] / IMAGE[1]
    for i in range(40):
        x = rng.standard_normal(IMAGE)
        if waves:
            x = np.stack([np.sin(6 * (rng.random((2, 1, 1)) * places).sum(0)) for _ in range(3)])
        np.savez(folder / f"{i:02}.npz", x=x[None].astype(np.float32))
    network = settled(UNet, IMAGE).train()
    for norm in batch_norms(network):
        norm.momentum = 0.5  # so that they know noise well
    with torch.no_grad():
        for _ in range(8):
            network(torch.randn(64, *IMAGE))
    model = from_module(network, "unet", example=torch.zeros(1, *IMAGE))
    inputs, run = ArrayInputs(str(folder), model.interface), Running(model.interface)
    return Learner(inputs, task_of(model).objective(model), 0, model.module, run=run), model.module


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    return following(tmp_path_factory.mktemp("waves"), waves=True)


def test_new_statistics_count_where_they_help(followed: Followed, tmp_path: Path) -> None:
    learner, start = followed
    same = own_copy(start)
    learner.recalibrate(same)  # those of waves would make another network of it
    assert learner.score(same) == (1, 0)
    learner, start = following(tmp_path, waves=False)
    off = own_copy(start)
    for norm in batch_norms(off):
        norm.running_mean += 2
        norm.running_var *= 9
    before = learner.score(off)
    learner.recalibrate(off)
    assert learner.score(off)[0] > before[0]


@pytest.mark.parametrize("rate", [1e-3, 2.5e-3])
def test_a_training_on_few_inputs_helps(rate: float, followed: tuple[Learner, nn.Module]) -> None:
    learner, start = followed
    network = own_copy(start)
    with torch.no_grad():
        network.get_submodule("a.0").weight[::3] = 0
    means = [norm.running_mean.clone() for norm in batch_norms(network)]
    before = learner.score(network)
    learner.tune(network, 3 * learner.epoch_steps, rate)
    after = learner.score(network)
    assert after[0] > before[0] + 0.5 * (1 - before[0])
    for norm, mean in zip(batch_norms(network), means, strict=True):
        assert torch.equal(norm.running_mean, mean)


def test_fresh_weights_need_statistics(followed: Followed) -> None:
    learner, _ = followed
    torch.manual_seed(0)
    network = UNet()
    learner.tune(network, 2, 1e-3, fresh=True)
    assert all(norm.running_mean.any() for norm in batch_norms(network))


def test_a_training_keeps_what_is_right(followed: Followed) -> None:
    learner, start = followed
    network = own_copy(start)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * weight.abs().mean() * torch.randn_like(weight)
    before = learner.score(network)
    assert 0.9 < before[0] < 0.96
    learner.tune(network, 80, 2.5e-3)
    assert learner.score(network)[0] > 0.97
