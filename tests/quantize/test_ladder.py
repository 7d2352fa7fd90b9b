"""Which rungs the ladder has, and what ends it early."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit import registry
from edgekit.core import Scheme
from edgekit.devices.device import HOST
from edgekit.errors import EdgekitError, ModelError, OutputError, UnavailableError
from edgekit.quantize import ladder
from edgekit.quantize.ladder import Built, HeldOut, climb


class Judge:
    """Gives files scores by their scheme."""

    title, headline, where = "top-1", 0.9, "'images', validation"
    device = HOST

    def __init__(self, score: Callable[[Scheme], float]) -> None:
        self._score = score

    def score(self, built: Built, target: object) -> float:
        return self._score(built.artifact.scheme)


@pytest.fixture
def climbed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, list[Scheme]]]:
    """Climbs with files that are only records; gives the best one and the schemes tried."""
    monkeypatch.setattr(ladder, "_latency_ms", lambda path, device: 1.0)

    def climb_(
        target: str,
        scheme: Scheme,
        score: Callable[[Scheme], float] = lambda scheme: 0.5,
        fails: Callable[[Scheme], EdgekitError | None] = lambda scheme: None,
        agrees: bool = True,
        retrain: Any = None,
    ) -> tuple[Any, list[Scheme]]:
        tried = []

        def build(name: str, scheme: Scheme, model: object = None) -> Built:
            tried.append(scheme)
            error = fails(scheme)
            if error is not None:
                raise error
            agreement = SimpleNamespace(passed=agrees)
            artifact: Any = SimpleNamespace(scheme=scheme, size_bytes=1, agreement=agreement)
            return Built(
                Path("x"), scheme, artifact, "", 0.0, lambda: [f"layer{i}" for i in range(8)]
            )

        judge: Any = Judge(score)
        found = climb(
            registry.target(target), scheme, build, judge, 0.5, retrain, lambda text: None
        )
        return found, tried

    return climb_


def int8(target: str, **changes: Any) -> Scheme:
    return dataclasses.replace(registry.target(target).schemes["int8"], **changes)


def test_all_rungs_in_order(climbed: Callable[..., Any]) -> None:
    (best, rungs), tried = climbed("onnx", int8("onnx"), retrain=lambda scheme: None)
    assert [rung.name for rung in rungs] == [
        "int8, minmax", "percentile ranges", "entropy ranges", "2 layers in float",
        "4 layers in float", "8 layers in float", "w8a16", "quantization-aware training",
    ]  # fmt: skip
    assert best is not None
    assert [scheme.precision for scheme in tried] == [*["int8"] * 6, "w8a16", "int8"]


def test_integers_without_calibration_have_no_ranges_to_change(climbed: Callable[..., Any]) -> None:
    scheme = registry.target("onnx").schemes["int8-dynamic"]
    (_, rungs), _ = climbed("onnx", scheme)
    assert [rung.name for rung in rungs] == [
        "int8-dynamic", "2 layers in float", "4 layers in float", "8 layers in float",
    ]  # fmt: skip


def test_an_interface_of_8_bits_has_no_activations_of_16(climbed: Callable[..., Any]) -> None:
    (_, rungs), tried = climbed("tflite", int8("tflite", interface="int8"))
    assert "w8a16" not in [rung.name for rung in rungs]
    assert {scheme.interface for scheme in tried} == {"int8"}


def test_training_for_8_bits_ends_with_8_bits(climbed: Callable[..., Any]) -> None:
    wide = {"w8a16": 0.88, "int8": 0.6}
    (best, rungs), tried = climbed(
        "tflite", int8("tflite"), lambda s: wide[s.precision], retrain=lambda scheme: None
    )
    assert rungs[-1].name == "quantization-aware training"
    assert tried[-1].precision == "int8"
    assert best.artifact.scheme.precision == "w8a16"


def test_an_accurate_file_that_does_not_agree_is_none(climbed: Callable[..., Any]) -> None:
    (_, rungs), _ = climbed("onnx", int8("onnx"), lambda scheme: 0.9, agrees=False)
    assert not any(rung.passed for rung in rungs)


def test_a_rung_that_cannot_be_built_is_noted(climbed: Callable[..., Any]) -> None:
    (best, rungs), _ = climbed(
        "onnx",
        int8("onnx"),
        lambda scheme: 0.9,
        lambda s: ModelError("no") if s.calibration == "minmax" else None,
    )
    assert [(rung.passed, rung.error) for rung in rungs] == [(False, "no"), (True, None)]
    assert best.artifact.scheme.calibration == "percentile"


@pytest.mark.parametrize("error", [OutputError("full"), UnavailableError("no runtime")])
def test_what_no_other_rung_would_mend_ends_it(
    error: EdgekitError, climbed: Callable[..., Any]
) -> None:
    with pytest.raises(type(error)):
        climbed("onnx", int8("onnx"), fails=lambda scheme: error)


def test_a_measurement_that_is_cut_short_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = SimpleNamespace(interrupted=True, measurements=[])
    monkeypatch.setattr(ladder, "profile", lambda *_, **__: cut)
    with pytest.raises(KeyboardInterrupt):
        ladder._latency_ms(Path("x"), HOST)


def test_the_judge_is_a_record() -> None:
    names = {field.name for field in dataclasses.fields(HeldOut)}
    assert names == {"source", "split", "headline", "figure", "title", "device"}
