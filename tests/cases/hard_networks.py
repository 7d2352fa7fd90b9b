"""Small networks, each with one thing in it that an export can get wrong.

Each is a function without arguments: ``edgekit export hard_networks:NAME --resolution 32``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 10


def _convolved(given: int, wide: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(given, wide, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU(),
    )


def _blurred(count: int) -> Tensor:
    """Normalized images (count, 3, 32, 32) of patches of 4x4 pixels."""
    coarse = torch.rand(count, 3, 8, 8)
    return (F.interpolate(coarse, scale_factor=4.0) - 0.45) / 0.225


def backbone() -> nn.Module:
    """(N, 3, H, W) -> (N, 32, H / 2, W / 2), with statistics in its batch norms."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        _convolved(3, 16, 3, 2), _convolved(16, 16, 3, groups=16), _convolved(16, 32, 1)
    )
    for layer in layers.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        layers.train()(_blurred(64))
    return layers.eval()


class Hard(nn.Module):
    """A backbone, a function of its features and some layers, and a classifier."""

    def __init__(self, middle: Callable[..., Tensor], wide: int, *layers: nn.Module) -> None:
        super().__init__()
        self.backbone, self.layers = backbone(), nn.ModuleList(layers)
        self.middle, self.classifier = middle, nn.Linear(wide, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.middle(self.backbone(x), *self.layers))


def _pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def _made(
    middle: Callable[..., Tensor], wide: int = 32, *layers: Callable[[], nn.Module]
) -> nn.Module:
    torch.manual_seed(1)
    return Hard(middle, wide, *(make() for make in layers)).eval()


def plain() -> nn.Module:
    return _made(_pooled)


def faint_class() -> nn.Module:
    """The weights of one class are zero, and its bias is not."""
    network = plain()
    assert isinstance(network, Hard)
    network.classifier.weight.data[4] = 0
    network.classifier.bias.data[4] = -2
    return network


def uneven_pool() -> nn.Module:
    """Windows of several sizes: a product with a constant matrix."""
    return _made(lambda x: F.adaptive_avg_pool2d(x, (3, 5)).flatten(1), 480)


class _MixedTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone()
        self.left = nn.Parameter(torch.randn(8, 256) / 16)
        self.classifier = nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.backbone(x).flatten(2).transpose(1, 2)
        return self.classifier(torch.matmul(self.left, tokens).flatten(1))


def mix_tokens() -> nn.Module:
    torch.manual_seed(3)
    return _MixedTokens().eval()


def l2() -> nn.Module:
    return _made(lambda x: F.normalize(_pooled(x), dim=1))


def _halved(x: Tensor, narrow: nn.Module) -> Tensor:
    maps = narrow(x)[..., :15, :15]
    return F.interpolate(maps, scale_factor=0.5, mode="bilinear").flatten(1)


def bilinear() -> nn.Module:
    """15 pixels by a factor of 0.5: no whole number of pixels."""
    return _made(_halved, 4 * 49, lambda: nn.Conv2d(32, 4, 1))


class _InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = plain()

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.2).div_(0.5)
        return self.network(x)


def inplace() -> nn.Module:
    """Changes the images that it is given."""
    return _InPlace().eval()


def dropout() -> nn.Module:
    """Drops features by chance, in eval mode too."""
    return _made(lambda x: F.dropout(_pooled(x), 0.5))


def _chunked(x: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    first.add_(1.0)
    second.mul_(first)
    return _pooled(x)


def chunk_inplace() -> nn.Module:
    """Changes parts of a tensor, and goes on with the whole."""
    return _made(_chunked)


class _Probabilities(nn.Module):
    def __init__(self, columns: int) -> None:
        super().__init__()
        self.network, self.columns = plain(), columns

    def forward(self, x: Tensor) -> Tensor:
        scores = self.network(x) * 40
        return scores.softmax(1) if self.columns > 1 else scores[:, :1].sigmoid()


def softmax() -> nn.Module:
    return _Probabilities(CLASSES).eval()


def sigmoid1() -> nn.Module:
    return _Probabilities(1).eval()


def conv1x1_pad() -> nn.Module:
    return _made(
        lambda x, layer: _pooled(layer(x)), 16, lambda: nn.Conv2d(32, 16, 1, stride=2, padding=1)
    )


def wnorm() -> nn.Module:
    """A weight that is computed from another one."""
    return _made(
        lambda x, layer: _pooled(layer(x)),
        32,
        lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(32, 32, 3)),
    )


def nearest_exact() -> nn.Module:
    return _made(lambda x: _pooled(F.interpolate(x, (23, 31), mode="nearest-exact") ** 2))


def big_weight() -> nn.Module:
    """One weight is beyond what float16 holds."""
    network = plain()
    assert isinstance(network, Hard)
    network.backbone.get_submodule("2.0").weight.data[3, 0] = 1e5
    return network


def group_norm() -> nn.Module:
    return _made(lambda x, norm: _pooled(norm(x).relu()), 32, lambda: nn.GroupNorm(4, 32))


class Split(nn.Module):
    """Halves of one convolution go different ways."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem, self.wide = _convolved(3, 16, 3, 2), _convolved(16, 64, 1)
        self.depthwise = _convolved(32, 32, 3, groups=32)
        self.narrow, self.classifier = _convolved(64, 32, 1), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.split(self.wide(self.stem(x)), [32, 32], 1)
        joined = torch.cat([self.depthwise(first), second * torch.sigmoid(first)], 1)
        return self.classifier(_pooled(self.narrow(joined)))
