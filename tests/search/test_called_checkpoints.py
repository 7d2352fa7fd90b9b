"""Checkpoints of networks of any tensors: read back as they were, and refused where damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.errors import InputError
from edgekit.models.arguments import arguments, read, written
from edgekit.models.model import Model
from edgekit.models.source import open_model
from edgekit.models.weights import Checkpoint, save_checkpoint

pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed")

from edgekit.search.discovery import discovered

WORDS = "wide_networks:detector"


@pytest.fixture(scope="module")
def model() -> Model:
    return discovered(open_model(WORDS, example="wide_networks:image"))


@pytest.fixture
def file(model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    state = model.module.state_dict()
    save_checkpoint(
        path, Checkpoint("detector", model.spec, state, (), None, "frames", task="tensors")
    )
    return path


def test_it_is_opened_without_an_example(model: Model, file: Path) -> None:
    again = open_model(WORDS, weights=file)
    assert again.interface == model.interface
    assert again.noise == model.noise
    for a, b in zip(again.module(*model.example), model.module(*model.example), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"inputs": []}, "takes no inputs"),
        ({"outputs": [], "kept": []}, "has other outputs"),
        ({"arguments": "[]"}, "is damaged"),
        ({"arguments": '[["tuple","x"],["dict"],[]]'}, "its arguments are not what edgekit writes"),
        ({"arguments": '[["tuple",0,0],["dict"],[]]'}, "do not take its inputs"),
        ({"kept": [0, 1, 7]}, "index out of range"),
        ({"kept": [0, 1]}, "which outputs are kept"),
        ({"classes": -1}, "-1 classes"),
    ],
    ids=str,
)
def test_a_damaged_call_is_refused(change: dict[str, Any], told: str, file: Path) -> None:
    data = torch.load(file, weights_only=True)
    data["spec"]["call"] |= change
    torch.save(data, file)
    with pytest.raises(InputError, match=told):
        open_model(WORDS, weights=file)


def test_arguments_are_written_without_their_tensors() -> None:
    x = torch.ones(1)
    given = arguments((x, [x, None, {"a": (x,)}]))
    text = written(given)
    assert text is not None
    again = read(text)
    assert written(again) == text
    assert again.args[1][1] is None
    assert isinstance(again.args[1][2]["a"], tuple)
    assert written(arguments({"x": [object()]})) is None
