"""Networks that float32 does not give exactly: what a file is held against then."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import ModelError
from edgekit.models.model import Model
from edgekit.verification.artifact import held_against
from edgekit.verification.exactness import Exactness
from edgekit.verification.reference import Reference
from edgekit.verification.samples import reference_scores


class Chaotic(nn.Module):
    """Computes plain scores of bright images, and of dark ones such that rounding grows to all."""

    def __init__(self, always: bool = False, narrow: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(12, 4)
        self.always, self.narrow = always, narrow
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.narrow and x.dtype == torch.float64:
            raise RuntimeError("float32 only")
        plain = self.layer(x)
        wild = torch.sin(1e9 * plain.double()).to(plain.dtype) if self.narrow else plain * 1e9
        wild = torch.sin(wild)
        dark = (x.mean(1, keepdim=True) < 0) | torch.tensor(self.always)
        return torch.where(dark, wild, plain)


def reference(module: nn.Module, dark: int, bright: int = 6, *, trained: bool = True) -> Reference:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((dark + bright, 3, 2, 2)).astype(np.float32)
    means = images.mean((1, 2, 3), keepdims=True)
    level = np.where(np.arange(dark + bright) < dark, -1, 1).reshape(-1, 1, 1, 1)
    images = (images - means + level).astype(np.float32)
    model = Model("mine:net", "net", module, 2, 4, trained=trained)
    return Reference(model, images, reference_scores(module, images), "noise")


def disturbed(scores: np.ndarray, dark: int) -> np.ndarray:
    """As a file computes it: what is chaotic is something else altogether."""
    return np.concatenate([-scores[:dark], scores[dark:] * np.float32(1 + 1e-6)])


def test_images_that_float32_cannot_tell_are_left_out_and_counted() -> None:
    found = reference(Chaotic(), dark=5)
    agreement = held_against(found, disturbed(found.scores, 5), "fp32")
    assert agreement.passed
    assert (agreement.n, agreement.left_out, agreement.inexact) == (6, 5, None)


def test_what_float32_can_tell_still_fails() -> None:
    found = reference(Chaotic(), dark=5)
    outputs = disturbed(found.scores, 5)
    outputs[-1] *= -1
    agreement = held_against(found, outputs, "fp32")
    assert not agreement.passed
    assert (agreement.n, agreement.left_out) == (6, 5)


def test_a_file_that_passes_costs_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exactness, "_others", lambda *_: pytest.fail("float64 was computed"))
    found = reference(Chaotic(), dark=5)
    agreement = held_against(found, found.scores, "fp32")
    assert (agreement.n, agreement.left_out) == (11, 0)


@pytest.mark.parametrize("trained", [True, False])
def test_where_none_is_left_it_is_the_network_that_is_refused(trained: bool) -> None:
    found = reference(Chaotic(always=True), dark=5, trained=trained)
    with pytest.raises(ModelError, match="PyTorch itself computes 'mine:net' in float32") as error:
        held_against(found, -found.scores, "int8")
    assert "otherwise than in float64 on 11 of 11 images (noise; " in str(error.value)
    assert ("train it first" in str(error.value)) is not trained


@pytest.mark.parametrize("bright", [1, 2, 3])
def test_a_few_steady_images_are_no_verdict(bright: int) -> None:
    found = reference(Chaotic(), dark=30, bright=bright)
    with pytest.raises(ModelError, match="are too few for a verdict: give images") as error:
        held_against(found, disturbed(found.scores, 30), "fp32")
    assert f"on 30 of {30 + bright} images (noise; " in str(error.value)
    assert f"; the other {bright} " in str(error.value)


def test_steady_images_of_equal_scores_are_no_verdict() -> None:
    found = reference(Chaotic(), dark=5)
    flat = Reference(found.model, found.images.copy(), found.scores.copy(), "noise")
    flat.images[5:] = flat.images[5]
    flat.scores[5:] = flat.scores[5]
    told = r"on 5 of 11 images .*; the other 6 get \(nearly\) the same scores: give images"
    for outputs in (disturbed(flat.scores, 5), -flat.scores):
        with pytest.raises(ModelError, match=told):
            held_against(flat, outputs, "fp32")


def test_a_network_that_cannot_run_in_float64_is_told_by_its_last_bits() -> None:
    found = reference(Chaotic(narrow=True), dark=5)
    agreement = held_against(found, disturbed(found.scores, 5), "fp32")
    assert (agreement.n, agreement.left_out) == (6, 5)
    assert agreement.inexact == "RuntimeError: float32 only"


def test_the_default_type_is_left_as_it_was() -> None:
    found = reference(Chaotic(), dark=2)
    found.exactness.steady([0, 3])
    assert torch.get_default_dtype() == torch.float32
    assert all(p.dtype == torch.float32 for p in found.model.module.parameters())
