"""The public functions with what notebooks have: modules, arrays, paths, single names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from any_networks import SIDE, detector, siamese, two_images
from torch import nn

import edgekit
from edgekit.contract import load
from edgekit.errors import UsageError


def test_a_module_is_exported_as_it_is(tmp_path: Path) -> None:
    network = siamese().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = tuple(one.numpy() for one in two_images())
    (file,) = edgekit.export(network, "tflite", out=tmp_path, example=images, name="pair")
    assert file.path == tmp_path / "pair-fp32.tflite"
    contract = load(file.path)
    assert [one.name for one in contract.inputs] == ["left", "right"]
    assert contract.task == "tensors"
    assert contract.trained
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_names_may_stand_alone_or_with_commas(tmp_path: Path) -> None:
    files = edgekit.export(
        detector(), "onnx,tflite", "fp32", out=str(tmp_path), resolution=SIDE, outputs="output_1"
    )
    assert [file.path.name for file in files] == ["detector-fp32.onnx", "detector-fp32.tflite"]
    assert [one.name for one in load(files[0].path).outputs] == ["output_1"]


def test_a_classifier_in_a_module_has_scores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    (file,) = edgekit.export(network, "tflite", out=tmp_path, resolution=SIDE)
    contract = load(file.path)
    assert (contract.task, contract.scores) == ("classify", "logits")
    assert edgekit.open_classifier(file.path).classes == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": 3}, "targets=3: expected a name, or several of them in a list"),
        ({"targets": ["onnx", 3]}, "expected a name, or several of them in a list"),
        ({"precisions": []}, r"precisions=\[\]: expected a name"),
        ({"model": 3}, "model=3: expected a name, a path, a torch.nn.Module"),
        ({"weights": "w.pt"}, "weights goes with names of networks, and this is a module"),
        ({"scores": "logits"}, "--scores goes with scores of classes: 'detector' is of the task"),
        ({"example": np.ones((1, 3, 8, 8), np.float32)}, "--resolution: the sizes of inputs are"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given = {"model": detector(), "targets": "onnx", "resolution": SIDE, "out": tmp_path}
    with pytest.raises(UsageError, match=message):
        edgekit.export(**{**given, **arguments})
    assert not list(tmp_path.iterdir())
