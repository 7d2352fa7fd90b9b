"""Integers in OpenVINO keep the mean of each channel, also where a layer sees some places only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_examples import singly
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import INT8, of_image
from edgekit.native_output import captured

LEAST_DB = 20.0
FORMS = {"weights": "7bit"}
"""Right on every processor."""


class Sided(nn.Module):
    """Layers of few places, whose inputs differ from place to place."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, 4, 1)
        self.slope = nn.Parameter(torch.linspace(1, 3, 4).reshape(4, 1) * torch.ones(16, 1, 1))
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(16, 10)
        for layer in layers:
            for name, values in layer.named_parameters():
                with torch.no_grad():
                    values.normal_(0, 0.3) if name == "weight" else values.uniform_(1, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.layers(self.stem(image).relu() * self.slope)
        return self.fc(x.mean((2, 3)))


NETWORKS = {
    "one of four places": lambda: [nn.Conv2d(16, 16, 1, 2), nn.ReLU(), nn.Conv2d(16, 16, 1, 2)],
    "each channel by itself": lambda: [nn.Conv2d(16, 16, 1, 2, groups=16), nn.ReLU()],
    "few places and padding": lambda: [nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()],
    "groups": lambda: [nn.Conv2d(16, 16, 2, 2, groups=4), nn.ReLU()],
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_layers_that_see_some_places_only(kind: str, tmp_path: Path) -> None:
    model = Sided(*NETWORKS[kind]()).eval()
    target = registry.target("openvino")
    scheme = replace(INT8, activations="uint8", calibration="minmax", forms=FORMS)
    images = torch.rand(48, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    images = images + torch.randn(48, 3, 1, 1, generator=torch.Generator().manual_seed(2))
    ones = [image[None] for image in images.numpy()]
    path = tmp_path / "net.xml"
    with torch.no_grad(), captured():
        expected = model(images).numpy()
        target.export(model, of_image(images[:1]), path, scheme, singly(ones[:32]))
        runner = target.open(path, 1)
        found = np.concatenate([np.array(runner.run([one])[0]) for one in ones])
    signal = ((expected - expected.mean(0)) ** 2).mean()
    noise = ((found - expected) ** 2).mean()
    assert 10 * np.log10(signal / noise) > LEAST_DB
