"""Networks that are no classifiers, wide enough to lose channels."""

from __future__ import annotations

from typing import Any

import torch
from any_networks import conv, settled
from torch import Tensor, nn
from torch.nn import functional as F

HEIGHT, WIDTH = 16, 24


class UNet(nn.Module):
    """A map of scores as large as the image, which is no square."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 16), conv(16, 32, 2)
        self.up, self.c = nn.ConvTranspose2d(32, 16, 2, 2), conv(32, 24)
        self.out = nn.Conv2d(24, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        return self.out(self.c(torch.cat([self.up(self.b(a)), a], 1)))


class Siamese(nn.Module):
    """The distance of two images, by one network for both."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 24, 2), conv(24, 32, 2))
        self.out = nn.Linear(32, 16)

    def of_one(self, x: Tensor) -> Tensor:
        return F.normalize(self.out(self.body(x).mean((2, 3))), dim=1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (self.of_one(left) - self.of_one(right)).square().sum(1, keepdim=True)


class Detector(nn.Module):
    """Boxes in pixels and class scores of each cell, in a dictionary with a list in it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 24, 2), conv(24, 32, 2))
        self.boxes, self.scores = nn.Conv2d(32, 8, 1), nn.Conv2d(32, 6, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.body(x)
        boxes = 100 * self.boxes(y).flatten(2).transpose(1, 2).reshape(len(x), -1, 4)
        scores = self.scores(y).flatten(2).transpose(1, 2).reshape(len(x), -1, 3)
        return {"boxes": boxes, "of": [scores.sigmoid(), scores.argmax(2)]}


class Plain(nn.Module):
    """Scores of ten digits for images with any number of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, 24, 2), conv(24, 32, 2))
        self.out = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x).mean((2, 3)))


class Words(nn.Module):
    """Numbers of words in, scores of each and the likeliest one out."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner = nn.Embedding(20, 16), nn.Linear(16, 48)
        self.out = nn.Linear(48, 3)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.out(F.relu(self.inner(self.table(ids))))
        return scores, scores.argmax(2)


class Nan(nn.Module):
    """Of its two outputs one is not a number where a pixel is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = conv(3, 32, 2), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.out(self.body(x)).mean((2, 3))
        return y, y * (x.amin((2, 3)) + 1).log().sum(1, keepdim=True)


class Nothing(nn.Module):
    """No layer has channels that nobody sees."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)


IMAGE = (3, HEIGHT, WIDTH)


def unet() -> nn.Module:
    return settled(UNet, IMAGE)


def siamese() -> nn.Module:
    return settled(Siamese, IMAGE, IMAGE)


def detector() -> nn.Module:
    return settled(Detector, IMAGE)


def grey() -> nn.Module:
    return settled(lambda: Plain(1), (1, HEIGHT, WIDTH))


def four() -> nn.Module:
    return settled(lambda: Plain(4), (4, HEIGHT, WIDTH))


def number() -> nn.Module:
    torch.manual_seed(0)
    layers = (conv(3, 24, 2), conv(24, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return settled(lambda: nn.Sequential(*layers, nn.Linear(32, 1)), IMAGE)


def words() -> nn.Module:
    torch.manual_seed(0)
    return Words().eval()


def nan() -> nn.Module:
    return settled(Nan, IMAGE)


def nothing() -> nn.Module:
    torch.manual_seed(0)
    return Nothing().eval()


def image() -> Tensor:
    return torch.randn(1, *IMAGE, generator=torch.Generator().manual_seed(1))


def large_image() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def two_images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, *IMAGE, generator=generator), torch.randn(1, *IMAGE, generator=generator)


def grey_image() -> Tensor:
    return torch.rand(1, 1, HEIGHT, WIDTH)


def image_of_four() -> Tensor:
    return torch.rand(1, 4, HEIGHT, WIDTH)


def numbers_of_words() -> dict[str, Tensor]:
    return {"ids": torch.tensor([[3, 19, 0, 7, 7, 12]])}
