"""Networks that do what networks should not, for ``package.module:callable``."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

CALLS = 40  # behind the warm-up of most


class Acting(nn.Module):
    """Small and fast; acts at its n-th call."""

    def __init__(self, act: Callable[[], object], calls: int = CALLS) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 10)
        self.act, self.left = act, calls

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.act()
        scores: Tensor = self.linear(x.mean((2, 3)))
        return scores


class Interrupting(Acting):
    """Acts once, ten seconds behind the first of all calls."""

    first: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def forward(self, x: Tensor) -> Tensor:
        now = time.monotonic()
        if Interrupting.first is None:
            Interrupting.first = now
        elif now - Interrupting.first > 10:
            Interrupting.first = float("inf")
            os.kill(os.getppid(), signal.SIGINT)
        return super().forward(x)


class Products(nn.Module):
    """As slow as it is told to be."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.square = nn.Linear(256, 256)
        self.linear = nn.Linear(256, 10)
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))[:, :1].expand(-1, 256)
        for _ in range(self.count):
            y = torch.relu(self.square(y))
        scores: Tensor = self.linear(y)
        return scores


def quick() -> nn.Module:
    return Products(10)


def slow() -> nn.Module:
    return Products(100)


def crashes() -> nn.Module:
    return Acting(lambda: ctypes.string_at(0))


def aborts() -> nn.Module:
    return Acting(os.abort)


def hangs() -> nn.Module:
    return Acting(lambda: time.sleep(3600))


def interrupts() -> nn.Module:
    """Presses Ctrl-C for the command that measures it, when it has measured for a while."""
    return Interrupting()


def greedy() -> nn.Module:
    return Acting(lambda: torch.zeros(1 << 45))


def killed_for_memory() -> nn.Module:
    return Acting(lambda: os.kill(os.getpid(), signal.SIGKILL))


def removes_the_artifact() -> nn.Module:
    def remove() -> None:
        for path in Path.cwd().glob("*.tflite"):
            path.unlink()

    return Acting(remove)
