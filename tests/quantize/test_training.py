"""Quantization-aware training, on a network that was trained."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from dark_network import Dark
from torch import Tensor, nn

from edgekit.errors import ModelError
from edgekit.models.model import Model
from edgekit.models.source import open_model
from edgekit.quantize.calibration import Calibration, calibration_images
from edgekit.quantize.training import _quantized, fine_tune
from edgekit.tasks.losses import divergence


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Model:
    return open_model(str(trained_run))


@pytest.fixture(scope="module")
def calibration(model: Model) -> Calibration:
    assert model.preprocessing is not None
    return calibration_images("digits", model.preprocessing, 64)


def cost_of_rounding(network: Model, teacher: nn.Module, calibration: Calibration) -> float:
    rounded = _quantized(copy.deepcopy(network.module), calibration, network.source)
    with torch.no_grad():
        images = torch.from_numpy(calibration.images)
        return float(divergence(rounded(images), teacher(images), ("logits", "logits")))


def with_outliers(model: Model) -> Model:
    """The same function, with four channels whose values leave few steps to the others."""
    module = copy.deepcopy(model.module)
    norm = module.get_submodule("blocks.1.expand.norm")
    depthwise = module.get_submodule("blocks.1.depthwise.conv")
    with torch.no_grad():
        norm.weight[:4] *= 300  # ReLU keeps factors
        norm.bias[:4] *= 300
        depthwise.weight[:4] /= 300
    return dataclasses.replace(model, module=module)


def test_the_network_learns_to_be_rounded(model: Model, calibration: Calibration) -> None:
    model = with_outliers(model)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    stages: list[str] = []
    tuned = fine_tune(model, "digits", calibration, epochs=1, notify=stages.append)
    steps = len(stages)
    assert stages == [f"quantization-aware training, {i} of {steps}" for i in range(steps)]
    assert all(torch.equal(before[name], v) for name, v in model.module.state_dict().items())
    assert list(tuned.module.state_dict()) == list(before)
    old, new = (cost_of_rounding(m, model.module, calibration) for m in (model, tuned))
    assert new < 0.8 * old, (old, new)


@pytest.mark.parametrize("limit", [127, 63])
def test_rounding_is_that_of_integers(model: Model, calibration: Calibration, limit: int) -> None:
    rounded = _quantized(copy.deepcopy(model.module), calibration, model.source, limit)
    layer = next(m for m in rounded.modules() if isinstance(m, nn.Conv2d))
    weight = layer.weight.detach()
    for channel in weight:
        steps = limit * channel / channel.abs().max()
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    seen: list[Tensor] = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    rounded(torch.from_numpy(calibration.images[:1]))
    assert len(seen[0].unique()) <= 256


def test_what_cannot_be_trained_is_refused(model: Model, calibration: Calibration) -> None:
    flat = dataclasses.replace(model, module=nn.Sequential(nn.Flatten(), nn.Softmax(1)))
    with pytest.raises(ModelError, match=r"expected torch\.nn\.Conv2d or torch\.nn\.Linear"):
        fine_tune(flat, "digits", calibration, epochs=1)


def test_a_network_that_gives_no_numbers_is_named(model: Model, calibration: Calibration) -> None:
    dark = dataclasses.replace(model, module=Dark(), source="mine:dark")
    black = dataclasses.replace(calibration, images=calibration.images * 0)
    with pytest.raises(ModelError, match="'mine:dark' gives nan for image") as told:
        fine_tune(dark, "digits", black, epochs=1)
    assert "of split 'train', as it is augmented, output 0" in str(told.value)
