"""Networks of other kinds through edgekit's converter, and those of timm where it is installed."""

from __future__ import annotations

import pytest
import torch
from plain_networks import NETWORKS
from test_tflite_converter import check
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

TIMM = (
    "convnext_atto", "cspresnet50", "darknet53", "densenet121", "efficientnet_lite0", "fbnetc_100",
    "gernet_s", "ghostnet_100", "ghostnetv2_100", "hardcorenas_a", "lcnet_050", "mixnet_s",
    "mobilenetv4_conv_small", "mobileone_s0", "nf_resnet50", "poolformer_s12", "regnetx_002",
    "repvgg_a0", "res2net50_14w_8s", "resnet26d", "resnetv2_50", "rexnet_100", "semnasnet_075",
    "skresnet18", "starnet_s1", "tinynet_e",
)  # fmt: skip


# Its last maps are smaller than the 7x7 pixels that it pools to: two products with a matrix on the
# left, each of which lies between two transpositions at most.
TURNED = {"vgg16": 4}


def prepared(network: nn.Module, side: int) -> nn.Module:
    """With statistics under which scores differ between images."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not isinstance(network, _BatchNorm):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, _BatchNorm):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        network.train()(torch.randn(4, 3, side, side))
    return network.eval()


@pytest.mark.parametrize("side", [64, 97])
@pytest.mark.parametrize("name", NETWORKS)
def test_plain_networks(name: str, side: int) -> None:
    found = check(prepared(NETWORKS[name](), side), (side, side))
    assert found.count("TRANSPOSE") <= TURNED.get(name, 0)


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm(name: str) -> None:
    timm = pytest.importorskip("timm")
    check(prepared(timm.create_model(name), 129), (129, 129))
