"""A network that changes its input gets the same one in each inference that is timed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.measure.networks import Network

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, whole):
        super().__init__()
        self.conv, self.whole = nn.Conv2d(3, 4, 3), whole

    def forward(self, x):
        x = x.mul_(3) if self.whole else x[:, :2].mul_(3).new_ones(1) * x
        return self.conv(x).mean((2, 3))

def whole(): return Net(True).eval()
def part(): return Net(False).eval()
"""


@pytest.mark.parametrize("name", ["whole", "part"])
def test_every_inference_gets_the_same_input(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "changing.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    loaded: Any = Network(source=f"changing:{name}", resolution=16)
    infer = loaded.prepare(loaded.load())
    first = infer()
    assert all(torch.equal(infer(), first) for _ in range(3))
    sys.modules.pop("changing")
