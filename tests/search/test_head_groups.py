"""Groups of channels through heads: concatenated maps, gates, transposed convolutions, sums."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit.models.model import Model
from edgekit.models.rows import together
from edgekit.models.source import open_model
from edgekit.search.groups import EXACTNESS, groups_of, shrunk, zeroed

pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed")

from edgekit.search.discovery import discovered

BACKBONE, SIDE = "mobilenetv3-small@0.25", 32

# Layers of each head whose channels have to go, with those of other layers.
GOING = {
    "lraspp": {"reduce.conv", "attend"},
    "deeplabv3": {"pyramid.point.conv", "pyramid.pooled.conv", "pyramid.project.conv", "mix.conv"},
    "unet": {"ups.0.up", "ups.3.up", "ups.3.mix.pointwise.conv"},
    "embed": {"backbone.head.conv"},
    "ssdlite": {"extra.0.expand.conv", "extra.3.expand.conv"},
}


def opened(head: str) -> Model:
    """A network of fresh weights, its norms with statistics of noise, and its groups."""
    model = open_model(f"{BACKBONE}+{head}", resolution=SIDE, classes=3)
    torch.manual_seed(0)
    for norm in model.module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            norm.momentum = None
    with torch.no_grad():
        model.module.train()(torch.randn(4, 3, SIDE, SIDE))
    model.module.eval()
    return discovered(model)


@pytest.mark.parametrize(
    "head",
    [one if one == "lraspp" else pytest.param(one, marks=pytest.mark.slow) for one in GOING],
)
def test_channels_go_through_the_head(head: str) -> None:
    """Of all groups at once, taking out is the same as zeroing."""
    model = opened(head)
    assert model.spec is not None
    assert model.signature is not None
    module = model.module.double()
    groups = groups_of(model.spec, module)
    assert [(group.name, group.frozen) for group in groups if group.frozen] == []
    assert {layer for group in groups for layer in group.layers} >= GOING[head]
    order = torch.Generator().manual_seed(3)
    kept = {
        group.name: sorted(torch.randperm(group.channels, generator=order)[::2].tolist())
        for group in groups
    }
    rows = torch.from_numpy(model.noise_rows(2)).double()
    with torch.no_grad():
        expected = together(zeroed(module, kept), rows, model.signature)
        spec, smaller = shrunk(model.spec, module, kept)
        found = together(smaller.double(), rows, model.signature)
    assert found.shape == expected.shape
    assert (found - expected).norm() <= EXACTNESS * expected.norm()
    count = [sum(p.numel() for p in one.parameters()) for one in (module, smaller)]
    assert count[1] < 0.5 * count[0]
    assert spec.source == f"{BACKBONE}+{head}"
