"""Searches of modules that have no name, and of programs, out of which no channels can be taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from any_networks import settled
from command_line import CommandLine
from wide_networks import IMAGE, UNet, image

import edgekit
from edgekit.errors import UsageError
from edgekit.models import adapted, callables
from edgekit.search import measuring
from edgekit.search.records import SearchResult

pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed")

QUICK: dict[str, Any] = {"tune_steps": 2, "reduction": 0.3, "finish_epochs": 1, "contest": False}


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of the network. Read-only."""
    folder, rng = tmp_path_factory.mktemp("waves"), np.random.default_rng(0)
    places = np.mgrid[: IMAGE[1], : IMAGE[2]] / IMAGE[1]
    for i in range(24):
        x = np.stack([np.sin(6 * (rng.random((2, 1, 1)) * places).sum(0)) for _ in range(3)])
        np.savez(folder / f"{i:02}.npz", x=x[None].astype(np.float32))
    return folder


class Own(UNet):
    """Of a class that is not given by a name."""


def test_a_module_is_searched_and_opened_again(
    run: CommandLine, waves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = settled(lambda: Own().eval(), IMAGE)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(3)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(3)

    def search(**more: Any) -> SearchResult:
        words = {"example": image(), "data": waves, "out": "s", "target": "onnx", **QUICK}
        return edgekit.search(module, "macs=0.7x", **{**words, **more})

    with pytest.raises(UsageError, match="executor=ray: 'own' is a module that was given in Pyt"):
        search(executor="ray")
    found = search()
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert found.final.costs["macs"] <= 0.7 * found.steps[0].costs["macs"]
    assert found.model is not None
    again = search(resume=True)
    assert [step.checkpoint for step in again.steps] == [step.checkpoint for step in found.steps]
    smaller = edgekit.open_model(module, weights=found.model)
    assert sum(p.numel() for p in smaller.module.parameters()) == found.final.params
    (file,) = edgekit.export(smaller, "onnx", out="out")
    assert edgekit.verify(file, against=smaller, data=waves).agreement.passed

    # Another process was not given the module.
    monkeypatch.setattr(callables, "_given", {})
    monkeypatch.setattr(callables, "_named", set())
    adapted._whole.cache_clear()
    refused = run("describe", "s/model.pt")
    assert refused.code == 3
    assert "of a module that was given in Python: give that module again" in refused.message
    named = run("describe", "wide_networks:unet=s/model.pt", "--json")
    assert named.json["params"] == found.final.params


def test_programs_are_refused_with_what_can_be_done(run: CommandLine, waves: Path) -> None:
    torch.export.save(torch.export.export(settled(UNet, IMAGE), (image(),)), "net.pt2")
    result = run("search", "net.pt2", "--data", waves, "--budget", "macs=0.7x", "-o", "s")
    assert result.code == 3
    assert "'net.pt2' cannot be searched: an exported program has operators" in result.message
    assert "package.module:callable" in result.message
    assert not Path("s").exists()


@pytest.mark.usefixtures("inline")
def test_a_budget_of_latency_is_kept(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MEASURING_SECONDS", 0.3)
    rng = np.random.default_rng(0)
    for i in range(16):
        (tmp_path / "large").mkdir(exist_ok=True)
        x = rng.standard_normal((1, 3, 64, 64)).astype(np.float32)
        np.savez(tmp_path / "large" / f"{i:02}.npz", x=x)
    words = ("--example", "wide_networks:large_image", "--data", "large")
    more = ("-t", "onnx", "--reduction", 0.4, "--tune-steps", 1, "--finish-epochs", 0)
    budget = ("--budget", "latency=0.8x")
    done = run("search", "wide_networks:unet", *words, *budget, *more, "-o", "s", "--json")
    if done.code == 4:  # what else runs on the machine may have made the last one slow
        assert "does not keep the budget when measured" in done.message
        return
    assert done.code == 0, done.err
    last, start = done.json["final"], done.json["baseline"]
    assert last["ci95"][1] <= 0.8
    assert last["latency_ms"] <= 0.8 * start["latency_ms"]
    assert Path(last["artifact"]).exists()
    assert Path(last["checkpoint"]).exists()
    assert Path("s/model.pt").exists()
    assert done.json["choice"]["within"] >= 1
