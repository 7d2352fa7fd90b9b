"""Networks that are made fit for training compute what they did before."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from edgekit.models import build
from edgekit.training.layout import _is_slow, fit_for_training


def gradients(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Of all parameters and the images, by the sum of the scores' squares."""
    images = images.clone().requires_grad_()
    model.zero_grad()
    torch.autograd.backward(model(images).square().sum())
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert images.grad is not None
    return {**found, "images": images.grad}


CASES = [
    (sides, kernel, padding, stride, bias)
    for sides in ((1, 1), (2, 2), (4, 4), (5, 3))
    for kernel in ((3, 3), (5, 5), (3, 5))
    for padding in (0, 1, 2)
    for stride in (1, 2)
    for bias in (False, True)
    if all(side + 2 * padding >= k for side, k in zip(sides, kernel, strict=True))
]


@pytest.mark.parametrize(("sides", "kernel", "padding", "stride", "bias"), CASES)
def test_gradients_stay(
    sides: tuple[int, int], kernel: tuple[int, int], padding: int, stride: int, bias: bool
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=bias)
    fit = copy.deepcopy(plain)
    fit_for_training(fit)
    images = torch.randn(3, 6, *sides)
    assert torch.allclose(fit(images), plain(images), atol=1e-6)
    expected, found = gradients(plain, images), gradients(fit, images)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


def test_a_copy_trains_itself() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4))
    fit_for_training(model)
    other = copy.deepcopy(model)
    torch.autograd.backward(other(torch.ones(1, 4, 1, 1)).sum())
    assert other[0].weight.grad is not None
    assert model[0].weight.grad is None


def test_a_whole_network_learns_the_same() -> None:
    torch.manual_seed(0)
    plain = build("mobilenetv3-small@0.5", classes=5, resolution=32).train()
    fit = copy.deepcopy(plain)
    fit_for_training(fit)
    slow = []
    for layer in fit.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            layer.register_forward_hook(lambda m, x, _: slow.append(_is_slow(m, x[0])))
    for model in (plain, fit):
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
    images = torch.randn(8, 3, 32, 32)
    expected, found = gradients(plain, images), gradients(fit, images)
    assert sum(slow) >= 5
    largest = max(float(value.norm()) for value in expected.values())
    for name, value in expected.items():  # norms of shifts behind which another norm comes are 0
        error = float((found[name] - value).norm())
        assert error < 1e-4 * max(float(value.norm()), 0.01 * largest), name
