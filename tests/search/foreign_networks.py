"""Networks that are not of the zoo, with channels that depend on each other in several ways."""

import torch
from torch import nn
from torch.nn import functional as F


class SE(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.b(F.relu(self.a(x.mean((2, 3), keepdim=True)))))


class Block(nn.Module):
    def __init__(self, c, e):
        super().__init__()
        self.expand, self.n1 = nn.Conv2d(c, e, 1, bias=False), nn.BatchNorm2d(e)
        self.dw, self.n2 = nn.Conv2d(e, e, 3, 1, 1, groups=e, bias=False), nn.BatchNorm2d(e)
        self.se = SE(e)
        self.project, self.n3 = nn.Conv2d(e, c, 1, bias=False), nn.BatchNorm2d(c)

    def forward(self, x):
        y = F.relu(self.n1(self.expand(x)))
        y = self.se(F.hardswish(self.n2(self.dw(y))))
        return x + self.n3(self.project(y))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Block(16, 32), Block(16, 48))
        self.head = nn.Linear(16 * 16, 32)
        self.scores = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = self.blocks(x)
        x = F.adaptive_avg_pool2d(x, 4).flatten(1)
        return self.scores(F.relu(self.head(x)))


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(3, 24, 5, 2, 2)
        self.norm = nn.BatchNorm2d(40)
        self.mix = nn.Conv2d(40, 40, 3, 2, 1)
        self.act = nn.PReLU(40)
        self.scores = nn.Linear(40, 10)

    def forward(self, x):
        x = F.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1)))
        x = self.act(self.mix(x)) + F.avg_pool2d(x, 2)
        return self.scores(x.mean((2, 3)))


def shuffle(x, g):
    n, c, h, w = x.shape
    return x.view(n, g, c // g, h, w).transpose(1, 2).reshape(n, c, h, w)


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.one = nn.Conv2d(16, 32, 3, 1, 1, groups=4)
        self.two = nn.Conv2d(32, 32, 1)
        self.free = nn.Conv2d(32, 24, 1)
        self.last = nn.Conv2d(24, 32, 1)
        self.scores = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = shuffle(F.relu(self.one(x)), 4)
        x = shuffle(F.relu(self.two(x)), 2)
        x = self.last(F.relu(self.free(x)))
        return self.scores(F.relu(x).mean((2, 3)))


class Shuffled(nn.Module):
    """As ShuffleNetV2."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.a, self.b = nn.Conv2d(16, 24, 1), nn.Conv2d(24, 16, 1)
        self.head = nn.Conv2d(32, 48, 1)
        self.scores = nn.Linear(48, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        left, right = x.chunk(2, 1)
        x = shuffle(torch.cat([left, F.relu(self.b(F.relu(self.a(right))))], 1), 2)
        return self.scores(F.relu(self.head(x)).mean((2, 3)))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.gate = nn.Conv2d(16, 48, 1)
        self.plus = nn.Conv2d(24, 32, 1)
        self.norm = nn.GroupNorm(4, 32)
        self.scores = nn.Linear(32, 10)

    def forward(self, x):
        a, b = self.gate(F.relu(self.stem(x))).chunk(2, 1)
        x = self.plus(a * torch.sigmoid(b))
        return self.scores(F.relu(self.norm(x)).mean((2, 3)))


class Untraceable(nn.Module):
    """It leaves autograd, which is what Torch-Pruning follows."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.norm = nn.BatchNorm2d(16)
        self.scores = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x))).mean((2, 3))
        return self.scores(x if self.training else torch.from_numpy(x.numpy()))


def mobilenetv2():
    """A zoo network, as if it were other people's."""
    from edgekit.models import build

    return build("mobilenetv2@0.35", classes=5, resolution=32)


class Parts(nn.Module):
    """Two parts of a layer's channels: one goes through a layer, and gates the other."""

    def __init__(self, parts, first, all_):
        super().__init__()
        self.stem, self.wide = _norm_relu(3, 16, 3), _norm_relu(16, all_, 1)
        self.own = nn.Conv2d(first, first, 3, 1, 1, groups=first, bias=False)
        self.join = _norm_relu(first + all_ - first, 16, 1)
        self.scores = nn.Linear(16, 10)
        self.parts = parts

    def forward(self, x):
        one, other = self.parts(self.wide(self.stem(x)))
        gate = torch.sigmoid(one.mean(1, keepdim=True))
        both = torch.cat([self.own(one), other * gate], 1)
        return self.scores(self.join(both).mean((2, 3)))


def _norm_relu(channels, out, kernel):
    conv = nn.Conv2d(channels, out, kernel, 1, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())


def split_equally():
    return Parts(lambda x: torch.split(x, [16, 16], 1), 16, 32)


def split_unequally():
    return Parts(lambda x: torch.split(x, [8, 24], 1), 8, 32)


def split_negative_dimension():
    return Parts(lambda x: x.chunk(2, -3), 16, 32)


def split_by_slices():
    return Parts(lambda x: (x[:, :12], x[:, 12:]), 12, 32)


def split_by_narrow():
    return Parts(lambda x: (x.narrow(1, 0, 16), x.narrow(1, 16, 16)), 16, 32)
