from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from edgekit.models import build
from edgekit.training import TrainingOptions
from edgekit.training.optimization import make_average, make_optimizer, make_schedule

ADAMW = TrainingOptions(lr=0.1, weight_decay=0.5)


@pytest.mark.parametrize("name", ["adamw", "rmsprop", "sgd"])
def test_norms_and_biases_do_not_decay_and_all_other_weights_do(name: str) -> None:
    model = build("mobilenetv3-small", classes=10, resolution=32)
    options = TrainingOptions(optimizer=name, lr=0.1, weight_decay=0.5)
    decayed = {
        id(p)
        for group in make_optimizer(model, options).param_groups
        for p in group["params"]
        if group["weight_decay"] > 0
    }
    for module in model.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            is_norm = isinstance(module, nn.BatchNorm2d)
            assert (id(parameter) in decayed) == (kind == "weight" and not is_norm)


def _rates(options: TrainingOptions, steps: int) -> list[float]:
    optimizer = make_optimizer(nn.Linear(2, 2), options)
    schedule = make_schedule(optimizer, options, steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


def test_the_rate_rises_linearly_then_falls_to_almost_nothing() -> None:
    rates = _rates(TrainingOptions(lr=0.1, epochs=10, warmup_epochs=2, weight_decay=0), 100)
    assert rates[:20] == pytest.approx([0.1 * (i + 1) / 21 for i in range(20)])
    assert max(rates) == rates[20] == pytest.approx(0.1)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 1e-4


def test_the_stairs_of_efficientnet_are_2_4_epochs_long_behind_the_warm_up() -> None:
    options = TrainingOptions(lr=0.1, epochs=50, warmup_epochs=5, schedule="step", weight_decay=0)
    rates = _rates(options, 500)  # 10 steps an epoch: stairs of 24 steps, the third from step 48
    assert rates[:50] == pytest.approx([0.1 * (i + 1) / 51 for i in range(50)])
    assert rates[50:] == pytest.approx([0.1 * 0.97 ** (i // 24) for i in range(50, 500)])


def test_rmsprop_follows_tensorflows_rule() -> None:
    options = TrainingOptions(optimizer="rmsprop", lr=0.1, weight_decay=0.01)
    model = nn.Linear(1, 1, bias=False)
    optimizer = make_optimizer(model, options)
    weight = nn.init.constant_(model.weight, 2.0).item()
    square, momentum = 1.0, 0.0
    for gradient in (0.5, -3.0, 0.0, 40.0):
        model.weight.grad = torch.full_like(model.weight, gradient)
        optimizer.step()
        gradient += 0.01 * weight
        square = 0.9 * square + 0.1 * gradient**2
        momentum = 0.9 * momentum + 0.1 * gradient / (square + 1e-3) ** 0.5
        weight -= momentum
        assert model.weight.item() == pytest.approx(weight, rel=1e-5)


def test_rmsprop_goes_on_from_its_state_to_the_same_bits() -> None:
    options = TrainingOptions(optimizer="rmsprop", lr=0.1, weight_decay=0.01)
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    optimizers = [make_optimizer(model, options) for model in (first, second)]

    def step(number: int) -> None:
        model = (first, second)[number]
        model(torch.ones(1, 3)).square().sum().backward()
        optimizers[number].step()
        optimizers[number].zero_grad()

    step(0)
    step(0)
    second.load_state_dict(first.state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    step(0)
    step(1)
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_the_shortest_runs_have_a_usable_rate(steps: int) -> None:
    rates = _rates(TrainingOptions(lr=0.1, epochs=1, warmup_epochs=5, weight_decay=0), steps)
    assert all(0 < rate <= 0.1 for rate in rates)
    assert max(rates) >= 0.05


def test_the_average_follows_a_short_run_and_smooths_a_long_one() -> None:
    for steps, low, high in ((4, 1.0, 1.0), (2000, 0.94, 0.96)):
        model = nn.Linear(1, 1, bias=False)
        average = make_average(model, ADAMW, steps)
        for step in range(steps):
            nn.init.constant_(model.weight, (step + 1) / steps)
            average.update_parameters(model)
        assert low <= average.module.weight.item() <= high


def test_without_ema_the_kept_weights_are_the_current_ones() -> None:
    model = nn.Linear(3, 3)
    average = make_average(model, TrainingOptions(ema=False), 100)
    for _ in range(5):
        nn.init.normal_(model.weight)
        average.update_parameters(model)
    assert torch.equal(average.module.weight, model.weight)
