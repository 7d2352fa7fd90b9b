"""Networks and weights of odd kinds through the command line: they work, or the cause is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import CommandLine
from small_networks import network
from torch import nn

from edgekit import tables

Module = Callable[[str], str]
TARGETS = sorted(tables.TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_weight_beyond_float16_is_named(target: str, run: CommandLine, module: Module) -> None:
    text = network() + "\ndef net():\n    n = Net()\n    n.second.weight.data[3, 0] = -1e5\n"
    name = module(text + "    return n\n")
    arguments = ("export", f"{name}:net", "--resolution", "32", "-t", target, "-o", "out")
    result = run(*arguments, "-p", "fp16")
    assert result.code == 3
    assert "weight 'second.weight' reaches 1e+05, beyond float16's 65504" in result.message
    assert "--precision fp32" in result.message


IN_PLACE = {
    "chunks": "a, b = x.chunk(2, 1); a.add_(1.0); b.mul_(a)",
    "a slice": "x[:, :3] *= 2.0",
    "a view": "x.flatten(1).mul_(0.5)",
    "a part of a part": "x[:, 1:][:, :, 2:].clamp_(max=0.3)",
}


@pytest.mark.parametrize("kind", IN_PLACE)
def test_parts_that_are_changed_in_place(kind: str, run: CommandLine, module: Module) -> None:
    name = module(network(IN_PLACE[kind]))
    result = run("export", f"{name}:Net", "--resolution", "32", "-t", ",".join(TARGETS), "--json")
    assert result.code == 0, result.err
    assert min(a["agreement"]["sqnr_db"] for a in result.json["artifacts"]) > 90


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.scores = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.scores(self.norm(self.conv(image)).relu().mean((2, 3)))
        return scores


OWN = """
class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.scores = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, image):
        return self.scores(self.norm(self.conv(image)).relu().mean((2, 3)))
"""


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.pt2", "net.torchscript"])
@pytest.mark.parametrize("place", ["MODEL", "--weights"])
def test_torchscript_is_called_that(
    name: str, place: str, run: CommandLine, module: Module, tmp_path: Path
) -> None:
    torch.jit.trace(Small().eval(), torch.zeros(1, 3, 16, 16)).save(str(tmp_path / name))
    words = (name,) if place == "MODEL" else (f"{module(OWN)}:Small", "--weights", name)
    result = run("export", *words, "--resolution", "16", "-t", "onnx")
    assert result.code == 3
    assert f"{name} is a TorchScript archive" in result.message
    assert f"torch.save(torch.jit.load('{name}').state_dict(), 'weights.pth')" in result.message


def counterless(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def test_counters_of_batches_may_be_missing(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    torch.save(counterless(Small().state_dict()), tmp_path / "own.pth")
    words = f"{module(OWN)}:Small"
    assert run("describe", words, "--weights", "own.pth", "--resolution", "16").code == 0
    assert run("describe", f"{words}=own.pth", "--resolution", "16").code == 0
    full = Small().state_dict()
    del full["norm.running_mean"]
    torch.save(full, tmp_path / "less.pth")
    result = run("describe", words, "--weights", "less.pth", "--resolution", "16")
    assert result.code == 3
    assert "tensor 'norm.running_mean' (8) is missing" in result.message


def test_counters_of_a_zoo_network_may_be_missing(run: CommandLine, tmp_path: Path) -> None:
    from edgekit.models import build, find_spec

    state = build(find_spec("mobilenetv1@0.25", classes=10)).state_dict()
    torch.save(counterless(state), tmp_path / "zoo.pth")
    assert run("describe", "mobilenetv1@0.25", "--weights", "zoo.pth").code == 0
    torch.save(counterless(state) | {"more": torch.zeros(1)}, tmp_path / "more.pth")
    result = run("describe", "mobilenetv1@0.5", "--weights", "zoo.pth")
    assert result.code == 3
    assert "the tensors are those of mobilenetv1@0.25" in result.message
    result = run("describe", "mobilenetv1@0.25", "--weights", "more.pth")
    assert result.code == 3
    assert "tensor 'more' (1) of the file has no place" in result.message
    train = ("train", "mobilenetv1@0.25", "--data", "digits", "--resolution", "32")
    result = run(*train, "--epochs", "1", "--init", "zoo.pth", "-o", "run")
    assert result.code == 0, result.err


UNREAD = """
import torch
from any_networks import IMAGE, Body, settled
from torch import nn

class Unread(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.out = Body(), nn.Linear(16, 3)

    def forward(self, image, mask):
        return self.out(self.body(image).mean((2, 3)))

def unread():
    return settled(Unread, IMAGE, (4,))

def example():
    return torch.randn(1, *IMAGE), torch.randn(1, 4)
"""


def test_inputs_that_nothing_reads_are_integers_as_others_are(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "unreading.py").write_text(UNREAD, encoding="utf-8")
    Path("pairs").mkdir()
    for i in range(20):
        rng = np.random.default_rng(i)
        image, mask = (rng.standard_normal(s).astype(np.float32) for s in ((1, 3, 32, 32), (1, 4)))
        np.savez(f"pairs/{i:02}.npz", image=image, mask=mask)
    line = ("export", "unreading:unread", "--example", "unreading:example", "-t", "all")
    more = ("-p", "int8", "--io", "int8", "--calibration", "pairs", "-o", "out", "--json")
    result = run(*line, *more)
    assert result.code == 0, result.err
    for one in result.json["artifacts"]:
        contract = run("describe", one["path"], "--json").json["artifact"]
        kinds = {spec["name"]: spec["dtype"] for spec in contract["inputs"]}
        assert set(kinds) == {"image", "mask"}
        assert set(kinds.values()) < {"int8", "uint8"}
        scales = {spec["name"]: spec["scale"] for spec in contract["inputs"]}
        assert 0.005 < scales["mask"] < 0.05
