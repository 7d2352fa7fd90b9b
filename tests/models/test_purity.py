"""Networks that are no function of one image: found, run in another way, or refused."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from edgekit.errors import ModelError
from edgekit.models.purity import pure

SIDE = 16


def noise() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A small network that does something to its input, its features or its scores."""

    def __init__(
        self,
        before: Callable[[Net, Tensor], Tensor] = lambda net, x: x,
        after: Callable[[Net, Tensor], Tensor] = lambda net, y: y,
        layer: nn.Module | None = None,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.after, self.calls = before, after, 0
        self.register_buffer("memory", torch.zeros(4))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.conv = nn.Conv2d(3, 4, 3, 2)
        self.layer = layer or nn.Identity()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.count += 1
        return self.after(self, self.layer(self.conv(self.before(self, x))).mean((2, 3)))


def random_crop(net: Net, x: Tensor) -> Tensor:
    i = random.randrange(2)
    return x[..., i : i + 8, i : i + 8]


def remember(net: Net, y: Tensor) -> Tensor:
    net.memory.mul_(0.5).add_(y.detach().mean(0))
    return y + net.memory


def same_memory(net: Net, y: Tensor) -> Tensor:
    net.memory = y.detach().clone() if net.memory.shape != y.shape else net.memory.copy_(y)
    return net.memory


class Training(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> Training:
        return super().train(True)


def test_a_network_that_only_counts_its_runs_is_itself() -> None:
    net = Net(after=same_memory)
    assert pure(net, noise(), "net").module is net


@pytest.mark.parametrize(
    "change", [lambda net, x: x.sub_(0.2).div_(0.5), lambda net, x: x[:, :, 1:].mul_(2)]
)
def test_one_that_changes_its_input_gets_copies(change: Callable[[Net, Tensor], Tensor]) -> None:
    net = Net(change)
    images = torch.randn(2, 3, SIDE, SIDE)
    expected = net(images.clone())
    found = pure(net, noise(), "net")
    given = images.clone()
    assert torch.equal(found.module(given), expected)
    assert torch.equal(given, images)
    assert "copies" in found.notes[0]
    assert found.module.state_dict().keys() == net.state_dict().keys()
    assert type(net) is Net
    assert isinstance(found.module, Net)


def test_graphs_and_programs_get_copies_too() -> None:
    net = fx.symbolic_trace(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, SIDE)))
    net.graph.lint()
    whole = fx.symbolic_trace(nn.Sequential(net, nn.Flatten())).eval()
    images = torch.randn(2, 3, SIDE, SIDE)
    found = pure(whole, noise(), "net").module
    before = images.clone()
    found(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4, track_running_stats=False), Training(4)])
def test_one_whose_images_meet_gets_one_at_a_time(layer: nn.Module) -> None:
    net = Net(layer=layer)
    images = torch.randn(3, 3, SIDE, SIDE)
    found = pure(net, noise(), "net")
    alone = torch.cat([net(image) for image in images.split(1)])
    torch.testing.assert_close(found.module(images), alone)
    (note,) = found.notes
    assert f"layer 'layer' ({type(layer).__name__})" in note
    assert "test_purity.py, line " in note
    found.module.train()
    assert not torch.allclose(found.module(images), alone, atol=1e-3)  # of the batch, in training


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (lambda: Net(after=lambda net, y: F.dropout(y)), "draws random numbers, in the network"),
        (lambda: Net(layer=nn.Dropout().train()), "draws random numbers"),
        (lambda: Net(before=random_crop), "return x[..., i : i + 8, i : i + 8]"),
        (lambda: Net(before=lambda net, x: x + torch.randn_like(x)), "torch.randn_like(x)"),
        (lambda: Net(after=remember), "net.memory.mul_(0.5)"),
        (lambda: Net(after=lambda net, y: y * net.calls), "y * net.calls"),
    ],
    ids=["dropout", "module", "crop", "noise", "buffer", "attribute"],
)
def test_one_that_is_never_the_same_is_refused_with_the_line(
    net: Callable[[], Net], words: str
) -> None:
    made = net()
    if isinstance(made.layer, nn.Dropout):
        made.layer.train()
        words += ", in layer 'layer' (Dropout), "
    state, of_python = torch.random.get_rng_state(), random.getstate()
    with pytest.raises(ModelError) as refused:
        pure(made, noise(), "mine:net")
    assert str(refused.value).startswith("'mine:net' gives other scores each time")
    assert words in str(refused.value)
    assert "test_purity.py, line " in str(refused.value)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == of_python


@pytest.mark.parametrize("draw", [lambda: random.random(), lambda: np.random.rand()])
def test_what_falls_the_same_way_many_times_is_found(draw: Callable[[], float]) -> None:
    """A number is drawn in each run, and has an effect in one of ten."""
    for seed in range(5):
        random.seed(seed)
        np.random.seed(seed)
        net = Net(after=lambda net, y: y + (draw() < 0.1))
        with pytest.raises(ModelError, match=r"draw\(\) < 0\.1"):
            pure(net, noise(), "net")


def test_one_that_draws_without_effect_is_itself() -> None:
    net = Net(after=lambda net, y: F.dropout(y, 0.0) + 0 * random.random())
    assert pure(net, noise(), "net").module is net


SELDOM = {
    "mask": lambda net, y: y * (torch.rand(len(y), 1) > 1e-6),
    "middle": lambda net, y: y + ((torch.rand(()) - 0.3).abs() < 1e-7),
    "dropout": lambda net, y: F.dropout(y, 1e-7),
    "in place": lambda net, y: y.mul_(torch.empty(4).uniform_() > 1e-7),
    "parts": lambda net, y: torch.cat([y[:, :2], y[:, 2:] + (torch.randint(10**9, (1,)) == 0)], 1),
    "branch": lambda net, y: y * 0 if torch.rand(()) < 1e-7 else y,
    "number": lambda net, y: y * (torch.rand(()).item() < 1 - 1e-6),
    "own": lambda net, y: y * (torch.rand(4, generator=net.generator) > 1e-7),
}


@pytest.mark.parametrize("after", SELDOM.values(), ids=SELDOM)
def test_what_chance_changes_seldom_is_refused_with_the_line(
    after: Callable[[Net, Tensor], Tensor],
) -> None:
    net = Net(after=after)
    net.generator = torch.Generator()  # type: ignore[assignment]
    with pytest.raises(ModelError, match="scores that depend on random numbers, drawn in") as told:
        pure(net, noise(), "mine:net")
    assert "the network itself (Net), " in str(told.value)
    assert "test_purity.py, line " in str(told.value)


UNUSED = {
    "nothing is done with it": lambda net, y: (torch.rand(3), y)[1],
    "only in training": lambda net, y: y * (torch.rand(4) > 0.5 if net.training else 1),
    "its shape": lambda net, y: y + torch.zeros_like(torch.rand(4)),
    "no strength": lambda net, y: y + net.count.new_zeros(()) * torch.randn_like(y),
    "no chance": lambda net, y: F.dropout(y, 0.0) + 0 * torch.rand(1),
    "a branch": lambda net, y: y if torch.rand(()).item() < 2 else -y,
    "a layer": lambda net, y: nn.Dropout()(y) if torch.rand(()) < 0.5 and net.training else y,
}


@pytest.mark.parametrize("after", UNUSED.values(), ids=UNUSED)
def test_one_that_draws_and_does_not_depend_on_it_is_itself(
    after: Callable[[Net, Tensor], Tensor],
) -> None:
    net = Net(after=after)
    assert pure(net, noise(), "net").module is net


def test_one_of_no_use_for_one_image_is_refused_with_the_line() -> None:
    with pytest.raises(ModelError, match=r"depend on the other images.*y - y\.mean\(0\)"):
        pure(Net(after=lambda net, y: y - y.mean(0)), noise(), "net")


def test_one_that_takes_no_second_image_is_refused() -> None:
    with pytest.raises(ModelError, match="for any number of them"):
        pure(Net(after=lambda net, y: y[:1]), noise(), "net")


@pytest.mark.parametrize(
    "grow",
    [
        lambda y: torch.sin(1e4 * y),
        lambda y: torch.sin(1e12 * y),  # in float64, too
        lambda y: torch.sin(1e4 * y.float()),
    ],
)
def test_rounding_that_grows_is_taken_for_neither_chance_nor_batches(
    grow: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of other sizes a network rounds otherwise, which nothing is to blame for."""

    def rounds(net: Net, y: Tensor) -> Tensor:
        return grow(y * (1 + 1e-7 * (len(y) > 1 and y.dtype == torch.float32)))

    net = Net(after=rounds)
    found = pure(net, noise(), "net")
    assert found.module is net
    assert found.notes == ()
