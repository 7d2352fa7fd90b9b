"""Networks that are no classifiers of colour images, as people write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 32


def conv(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out), nn.ReLU())


class Body(nn.Sequential):
    def __init__(self, channels: int = 3) -> None:
        super().__init__(conv(channels, 8, 2), conv(8, 16, 2))


class Detector(nn.Module):
    """Boxes and class scores of each cell, in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.boxes, self.scores = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 6, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(x)
        boxes = self.boxes(y).flatten(2).transpose(1, 2).reshape(len(x), -1, 4)
        scores = self.scores(y).flatten(2).transpose(1, 2).reshape(len(x), -1, 3)
        return boxes, scores.sigmoid()


class UNet(nn.Module):
    """A map of scores as large as the image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), conv(8, 16, 2)
        self.up, self.c = nn.ConvTranspose2d(16, 8, 2, 2), conv(16, 8)
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        return self.out(self.c(torch.cat([self.up(self.b(a)), a], 1)))


class Embedding(nn.Module):
    """A vector of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = Body(), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.out(self.body(x).mean((2, 3))), dim=1)


class Siamese(nn.Module):
    """The distance of two images, by one network for both."""

    def __init__(self) -> None:
        super().__init__()
        self.of_one = Embedding()

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (self.of_one(left) - self.of_one(right)).square().sum(1, keepdim=True)


class Keypoints(nn.Module):
    """Heat maps, and two figures of each in a dictionary inside of a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.heat = Body(), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        heat = self.heat(self.body(x))
        return {"heat": heat, "of": {"mean": heat.mean((2, 3)), "most": heat.amax((2, 3))}}


class Larger(nn.Module):
    """An image of twice the size."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.b(F.relu(self.a(x))), 2)


class Plain(nn.Module):
    """Scores of images with any number of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body, self.out = Body(channels), nn.Linear(16, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x).mean((2, 3)))


class Features(nn.Module):
    """A table of numbers in, one number out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, row: Tensor) -> Tensor:
        return self.layers(row)


class Words(nn.Module):
    """Numbers of words in, scores and the likeliest one out."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.out(self.table(ids).mean(1))
        return scores, scores.argmax(1)


@dataclass
class Found:
    boxes: Tensor
    more: list[Tensor]


class Records(nn.Module):
    """A dataclass with a list in it."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = Detector()

    def forward(self, x: Tensor) -> Found:
        boxes, scores = self.detector(x)
        return Found(boxes, [scores, scores.amax(2)])


def settled(make: Callable[[], nn.Module], *shapes: tuple[int, ...]) -> nn.Module:
    """A network whose batch norms have seen a few images."""
    torch.manual_seed(0)
    network = make().train()
    with torch.no_grad():
        for _ in range(3):
            network(*(torch.randn(8, *shape) for shape in shapes))
    return network.eval()


IMAGE = (3, SIDE, SIDE)


def detector() -> nn.Module:
    return settled(Detector, IMAGE)


def unet() -> nn.Module:
    return settled(UNet, IMAGE)


def embedding() -> nn.Module:
    return settled(Embedding, IMAGE)


def siamese() -> nn.Module:
    return settled(Siamese, IMAGE, IMAGE)


def keypoints() -> nn.Module:
    return settled(Keypoints, IMAGE)


def larger() -> nn.Module:
    return settled(Larger, IMAGE)


def grey() -> nn.Module:
    return settled(lambda: Plain(1), (1, 24, 40))


def four() -> nn.Module:
    return settled(lambda: Plain(4), (4, 16, 48))


def features() -> nn.Module:
    return settled(Features, (13,))


def records() -> nn.Module:
    return settled(Records, IMAGE)


def words() -> nn.Module:
    torch.manual_seed(0)
    return Words().eval()


def of_digits() -> nn.Module:
    """A classifier of the ten digits."""
    torch.manual_seed(0)
    return nn.Sequential(*Body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def numbers_of_words() -> Tensor:
    return torch.tensor([[3, 19, 0, 7, 7, 12]])


def two_images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(1, *IMAGE), torch.randn(1, *IMAGE)


def grey_image() -> Tensor:
    return torch.rand(1, 1, 24, 40)


def image_of_four() -> Tensor:
    return torch.rand(1, 4, 16, 48)


def row() -> dict[str, Tensor]:
    return {"row": torch.randn(1, 13)}


EXAMPLES = {
    "detector": None,
    "unet": None,
    "embedding": None,
    "siamese": "two_images",
    "keypoints": None,
    "larger": None,
    "grey": "grey_image",
    "four": "image_of_four",
    "features": "row",
    "records": None,
    "words": "numbers_of_words",
}
"""By name of a network, the function that gives an example; ``None`` where an image is one."""
