"""When exports train networks for integers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit import registry
from edgekit.conversion.choosing import retraining
from edgekit.models.model import Model
from edgekit.models.source import open_model
from edgekit.quantize import training
from edgekit.quantize.integers import Integers


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The largest integers that networks were trained for."""
    found: list[int] = []

    def fine_tune(model: Model, *_: object, limit: int, **__: object) -> Model:
        found.append(limit)
        return dataclasses.replace(model)

    monkeypatch.setattr(training, "fine_tune", fine_tune)
    return found


def test_it_is_done_once_for_weights_of_as_many_bits(trained_run: Path, limits: list[int]) -> None:
    model, calibration = open_model(str(trained_run)), SimpleNamespace(images=[0], about="x")
    integers = Integers(processor="x86")
    retrain = retraining(model, integers, calibration, False, lambda text: None)  # type: ignore[arg-type]
    assert retrain is not None
    found: dict[str, Any] = {
        name: retrain(integers.scheme(registry.target(name), "int8", None))
        for name in ("onnx", "openvino", "tflite")
    }
    # Without dot products of integers, sums of 8-bit weights overflow in the first two.
    assert limits == [63, 127]
    assert found["onnx"] is found["openvino"] is not found["tflite"]


def test_there_is_none_without_epochs_or_weights(trained_run: Path, limits: list[int]) -> None:
    trained, calibration = open_model(str(trained_run)), SimpleNamespace(images=[0], about="x")
    for model, integers in (
        (trained, Integers(epochs=0)),
        (open_model("mobilenetv3-small"), Integers("digits")),
    ):
        assert retraining(model, integers, calibration, False, print) is None  # type: ignore[arg-type]
    assert not limits
