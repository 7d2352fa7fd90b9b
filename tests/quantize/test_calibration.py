from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekit.agent.hardware import isa_family as isa
from edgekit.core import PROCESSORS, Preprocessing, Quantizing, TensorSpec
from edgekit.core.forms import chosen_forms
from edgekit.data import open_source
from edgekit.data.stored import real_values, stored_values
from edgekit.devices.device import HOST
from edgekit.errors import ContractError, DataError, UsageError
from edgekit.inference import default_split
from edgekit.lowering.choices import checked_forms
from edgekit.quantize import calibration
from edgekit.quantize.calibration import calibration_images
from edgekit.quantize.integers import Integers
from edgekit.registry import target
from edgekit.tables import TARGETS

PREPROCESSING = Preprocessing(resize=16, crop=16)


def test_classes_take_turns_and_nothing_is_drawn_from_the_test_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = open_source("digits")
    drawn = []
    fetch = source.image

    def image(split: str, index: int) -> np.ndarray:
        drawn.append((split, source.label(split, index)))
        return fetch(split, index)

    monkeypatch.setattr(source, "image", image)
    monkeypatch.setattr(calibration, "open_source", lambda *_, **__: source)
    found = calibration_images("digits", PREPROCESSING, 40)
    assert found.images.shape == (40, 3, 16, 16)
    assert found.about == "digits, train"
    assert {split for split, _ in drawn} == {"train"}
    counts = np.bincount([label for _, label in drawn])
    assert counts.tolist() == [4] * 10


def test_a_draw_is_told_by_its_seed() -> None:
    one, same, other = (
        calibration_images("digits", PREPROCESSING, 32, seed=s).images for s in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_what_is_not_finite_is_refused() -> None:
    preprocessing = dataclasses.replace(PREPROCESSING, std=(1e-40, 1.0, 1.0))
    with pytest.raises(ContractError, match="expected numbers that leave pixels finite"):
        calibration_images("digits", preprocessing, 32)


def test_few_images_are_refused() -> None:
    with pytest.raises(UsageError, match="expected at least 16"):
        calibration_images("digits", PREPROCESSING, 15)


@pytest.mark.parametrize(("dtype", "zero"), [("int8", -14), ("uint8", 128), ("int16", 0)])
def test_integers_stand_for_what_they_came_from(dtype: str, zero: int) -> None:
    spec = TensorSpec("image", (1, 4), dtype, "NC", 0.02, zero)
    values = np.array([[-1.0, -0.011, 0.0, 1.5]], np.float32)
    stored = stored_values(values, spec)
    assert stored.dtype == dtype
    np.testing.assert_allclose(real_values(stored, spec), values, atol=0.0101)
    wide = stored_values(np.array([[-1e6, 1e6]], np.float32), spec)
    assert wide.tolist() == [[np.iinfo(dtype).min, np.iinfo(dtype).max]]


def test_floats_pass_as_they_are() -> None:
    spec = TensorSpec("image", (1, 4), "float32", "NC")
    values = np.ones((1, 4), np.float32)
    assert stored_values(values, spec) is values
    assert real_values(values, spec) is values


def chosen(name: str, precision: str, processor: str) -> Mapping[str, str]:
    found = target(name)
    assert isinstance(found, Quantizing)
    return chosen_forms(found.choices, precision, processor)


@pytest.mark.parametrize("name", TARGETS)
def test_targets_choose_forms_that_they_have_and_say_why(name: str) -> None:
    found = target(name)
    assert isinstance(found, Quantizing)
    for choice in found.choices:
        assert choice.precision in found.schemes
        assert set(choice.isa) <= set(PROCESSORS)
        assert checked_forms(found.forms, choice.forms)
        assert len(choice.because) > 20


def test_the_processor_decides() -> None:
    assert isa("x86_64", ["avx2", "f16c"]) == isa("AMD64", []) == "x86"
    assert isa("x86_64", ["avx2", "avx_vnni"]) == isa("AMD64", ["avx512_vnni"]) == "x86-vnni"
    assert HOST.isa() in ("x86", "x86-vnni", "arm")
    assert isa("aarch64", ()) == isa("arm64", ()) == isa("armv7l", ()) == "arm"
    assert isa("riscv64", ()) == "riscv64"
    assert chosen("onnx", "int8", "x86")["activations"] == "uint8"
    assert chosen("onnx", "int8", "x86-vnni")["activations"] == "uint8"
    assert chosen("onnx", "int8", "arm")["activations"] == "int8"
    assert chosen("tflite", "fp32", "x86") == {}


@pytest.mark.parametrize("precision", ["int8", "int8-mixed"])
@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_weights_leave_room_where_sums_overflow(name: str, precision: str) -> None:
    assert chosen(name, precision, "x86")["weights"] == "7bit"
    assert "weights" not in chosen(name, precision, "x86-vnni")
    assert "weights" not in chosen(name, precision, "arm")


def test_files_can_be_for_other_processors() -> None:
    for processor, activations, weights in (
        ("x86", "uint8", "7bit"),
        ("x86-vnni", "uint8", "8bit"),
        ("arm", "int8", "8bit"),
    ):
        forms = Integers(processor=processor).scheme(target("onnx"), "int8", None).forms
        assert (forms["activations"], forms["weights"]) == (activations, weights)


def test_forms_that_there_are_not_are_named() -> None:
    with pytest.raises(UsageError, match="expected hardswish=native, hardswish=clamp"):
        checked_forms({"hardswish": ("native", "clamp")}, {"hardswish": "fast"})


def test_few_images_of_many_classes_are_of_all_sorts() -> None:
    class Many:
        name = "many"

        def size(self, split: str) -> int:
            return 5000

        def label(self, split: str, index: int) -> int:
            return index % 1000

    source: Any = Many()
    labels = [source.label("all", i) for i in calibration._balanced(source, "all", 128, 0)]
    assert len(set(labels)) == 128
    assert min(labels) < 100
    assert max(labels) > 900


def pictures(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return folder


def test_folders_in_one_another_are_compared_image_by_image(tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "train", 200)
    pictures(tmp_path / "data" / "test", 20)
    found = calibration_images(str(tmp_path / "data" / "train"), PREPROCESSING, 128)
    source = open_source(str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"images of '.*data' \(split 'validation'\) are among the"):
        found.check_apart(source, "validation")
    calibration_images(str(tmp_path / "data"), PREPROCESSING, 128).check_apart(source, "validation")
    other = open_source(str(pictures(tmp_path / "other", 100)))
    found.check_apart(other, "validation")


def test_what_ranges_came_from_is_evaluated_on_its_test_images(tmp_path: Path) -> None:
    folder = str(pictures(tmp_path / "data", 100))
    source = open_source(folder)
    assert default_split(source, None) == "all"
    assert default_split(source, "digits", folder) == "test"
