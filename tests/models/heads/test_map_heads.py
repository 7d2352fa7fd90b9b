"""Heads for pixels and embeddings: what is theirs alone; `test_composed` has what all heads do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit import tables
from edgekit.models import build, find_spec
from edgekit.models.composed import compose
from edgekit.models.heads.layers import make_atrous, resized
from edgekit.models.heads.lraspp import LRASPP
from edgekit.models.heads.taps import Backbone
from edgekit.models.heads.unet import UNet

SMALL = "mobilenetv3-small@0.5"
BACKBONES = tuple(entry.variants[0] for entry in tables.FAMILIES.values())
OF_PIXELS = tuple(name for name, entry in tables.HEADS.items() if entry.task == "segment")


@pytest.mark.parametrize("head", OF_PIXELS)
@pytest.mark.parametrize("size", [(33, 47), (64, 96)])
def test_scores_lie_on_all_pixels(head: str, size: tuple[int, int]) -> None:
    network = compose(f"{SMALL}+{head}", 5, size)
    with torch.no_grad():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("name", BACKBONES)
def test_an_atrous_stage_sees_as_much_in_maps_of_twice_the_size(name: str) -> None:
    """On an image that is everywhere the same, the border aside, it computes the same."""
    plain, atrous = (Backbone(find_spec(name)).eval() for _ in range(2))
    atrous.load_state_dict(plain.state_dict())
    make_atrous(atrous)
    with torch.no_grad():
        one, other = (taps.maps(torch.zeros(1, 3, 64, 128))[32] for taps in (plain, atrous))
    assert one.shape[2:] == (2, 4)
    assert other.shape[2:] == (4, 8)
    convs = [m for m in list(atrous.modules()) if isinstance(m, nn.Conv2d)]
    assert any(conv.dilation == (2, 2) for conv in convs)
    strides = [m.stride for m in convs[-8:]]
    assert all(stride == (1, 1) for stride in strides)


def test_lraspp_tells_classes_before_it_resizes() -> None:
    """The same as the other way around, which is the published one."""
    torch.manual_seed(0)
    network = compose(f"{SMALL}+lraspp", 4, (64, 96))
    assert isinstance(network, LRASPP)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = network.backbone.maps(image, firsts=(8,))
        last = maps[network.last]
        x = network.reduce(last) * torch.sigmoid(network.attend(last.mean((2, 3), keepdim=True)))
        expected = network.low(maps[8]) + network.high(resized(x, (8, 12)))
        torch.testing.assert_close(network(image), resized(expected, (64, 96)))


def test_embeddings_have_length_1_and_cosines_in_training() -> None:
    network = compose(f"{SMALL}+embed", 7, 32)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        found, both = network(images), network.train()(images)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert both.shape == (3, found.shape[1] + 7)
    assert both[:, -7:].abs().max() <= 1


def test_the_published_unet_has_its_parameters() -> None:
    """arXiv:1505.04597, figure 1, counted by hand; with three channels in and two classes out."""
    c = (64, 128, 256, 512, 1024)
    down = sum(9 * (i * o + o * o) + 2 * o for i, o in zip((3, *c), c, strict=False))
    up = sum(4 * 2 * o * o + o + 9 * (2 * o * o + o * o) + 2 * o for o in c[:-1])
    with torch.device("meta"):
        network = UNet(2, (572, 572))
    assert sum(p.numel() for p in network.parameters()) == down + up + 2 * 64 + 2 == 31_031_810
    small = UNet(3, (37, 50), (4, 8, 16)).eval()
    assert small(torch.zeros(1, 3, 37, 50)).shape == (1, 3, 37, 50)


def test_the_plain_classifier_is_left_as_it_was() -> None:
    """Layers are made atrous in a backbone of its own."""
    compose(f"{SMALL}+lraspp", 4, 64)
    assert all(m.dilation == (1, 1) for m in build(SMALL).modules() if isinstance(m, nn.Conv2d))
