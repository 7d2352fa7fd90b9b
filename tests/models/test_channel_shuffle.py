"""The channel shuffle in both memory layouts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit.models import build
from edgekit.models.blocks import ChannelShuffle


@pytest.mark.parametrize("groups", [1, 2, 3, 8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_shuffle_interleaves_groups_and_keeps_the_layout(
    groups: int, layout: torch.memory_format
) -> None:
    x = torch.arange(2 * 24 * 3 * 5.0).reshape(2, 24, 3, 5).contiguous(memory_format=layout)
    y = ChannelShuffle(groups)(x)
    size = 24 // groups
    for group in range(groups):
        for i in range(size):
            assert torch.equal(y[:, i * groups + group], x[:, group * size + i])
    assert y.is_contiguous(memory_format=layout)


def test_a_network_with_shuffles_scores_alike_in_both_layouts() -> None:
    torch.manual_seed(0)
    model = build("shufflenetv1", resolution=64).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain = model(x)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.data = layer.weight.contiguous(memory_format=torch.channels_last)
        last = model(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)
