"""A network that keeps what it computes, and all that there is to a network, to be compared."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

SOURCE = """
import torch
from torch import nn
from torch.nn import functional as F

class Keeping(nn.Module):
    '''Biases by place, kept by device in eval mode as LeViT's are (arXiv:2104.01136).'''

    def __init__(self):
        super().__init__()
        self.norm = nn.Linear(16, 16)
        self.biases = nn.Parameter(torch.randn(1, 16))
        self.register_buffer('places', torch.arange(15, -1, -1), persistent=False)
        self.kept = {}

    def bias(self, x):
        if self.training:
            return self.biases[:, self.places]
        key = str(x.device)
        if key not in self.kept:
            self.kept[key] = self.biases[:, self.places]
        return self.kept[key]

    def forward(self, x):
        return self.norm(x) + self.bias(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.keeping = Keeping()
        self.skip = nn.Identity()
        self.point = nn.Conv2d(32, 16, 1)
        self.fc = nn.Linear(16, 10)
        self.fc.register_forward_hook(lambda module, inputs, output: output * 1.5)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        x = self.point(torch.cat([x, self.skip(x)], 1)).mean((2, 3))
        return self.fc(F.relu(self.keeping(x)))

torch.manual_seed(0)
NET = Net()
with torch.no_grad():
    NET.bn.momentum = None
    NET.train()(torch.rand(64, 3, 16, 16))
NET.eval()
"""
"""``NET`` is one object, which every command would see in the state that the last one left."""


def everything(module: nn.Module) -> dict[str, Any]:
    """Every attribute, parameter, buffer and hook of a network and of all that is in it."""
    return {
        f"{path}.{name}": _plain(value)
        for path, part in module.named_modules(remove_duplicate=False)
        for name, value in vars(part).items()
    }


def _plain(value: Any) -> Any:
    """The object itself, and what is in it as values."""
    if isinstance(value, Tensor):
        values = value.detach().clone()
        held = (value.requires_grad, value.stride(), value.is_inference(), type(value).__name__)
        return id(value), held, values.dtype, values.flatten().tolist(), value.grad is None
    if isinstance(value, dict):
        return id(value), type(value), [(key, _plain(one)) for key, one in value.items()]
    if isinstance(value, list | tuple | set):
        return id(value), type(value), [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else id(value)
