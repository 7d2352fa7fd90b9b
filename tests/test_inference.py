"""What `evaluate` does where nobody has said how images are prepared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from edgekit.inference import evaluate, open_classifier
from edgekit.models import build, find_spec


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = build(find_spec("mobilenetv1@0.25", classes=2, resolution=32)).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize(("side", "resize"), [(16, 32), (200, 37)])
def test_the_size_of_the_images_decides_whether_they_are_cropped(
    side: int, resize: int, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        Image.new("RGB", (side, side), "red").save(tmp_path / "images" / kind / "a.png")
    classifier = open_classifier("mobilenetv1@0.25", weights=weights, resolution=32)
    seen = []
    from edgekit import inference

    prepare = inference.preprocess.prepare
    monkeypatch.setattr(
        inference.preprocess,
        "prepare",
        lambda image, preprocessing: seen.append(preprocessing) or prepare(image, preprocessing),
    )
    assert evaluate(classifier, str(tmp_path / "images")).n == 2
    assert {(preprocessing.resize, preprocessing.crop) for preprocessing in seen} == {(resize, 32)}
