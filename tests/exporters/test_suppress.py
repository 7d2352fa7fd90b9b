"""Suppression in files against that of NumPy, on boxes that make it hard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit import boxes, registry, tables
from edgekit.core import (
    FLOAT_SCHEMES,
    SUPPRESSED,
    Example,
    Interface,
    Suppressing,
    Suppression,
    TensorSpec,
)

ANCHORS, CLASSES = 120, 3


class Parts(nn.Module):
    """The first four columns as boxes, the others as scores."""

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        given = given * 1.0 + 0.0
        return given[..., :4], given[..., 4:]


def drawn(rng: np.random.Generator, classes: int) -> np.ndarray:
    """Whole pixels and few scores, so that much is equal; boxes without area, and turned ones."""
    corners = rng.integers(0, 60, (ANCHORS, 2))
    sides = rng.integers(-2, 40, (ANCHORS, 2))
    scores = rng.integers(0, 40, (ANCHORS, classes)) / 40
    found = np.concatenate([corners, corners + sides, scores], axis=1)[None]
    return found.astype(np.float32)


@pytest.mark.parametrize("target", sorted(tables.TARGETS))
@pytest.mark.parametrize(
    "about",
    [
        Suppression(CLASSES, 0.3, 0.5, 100, 400),
        Suppression(CLASSES, 0.0, 0.0, 30, 400),
        Suppression(CLASSES, 0.5, 1.0, 200, 90),
        Suppression(1, 1.0, 0.45, 5, 400),
    ],
    ids=["usual", "least", "most", "one-class"],
)
def test_a_file_suppresses_as_numpy_does(target: str, about: Suppression, tmp_path: Path) -> None:
    format_ = registry.target(target)
    assert isinstance(format_, Suppressing)
    wide = 4 + about.classes
    shapes = {"boxes": (1, ANCHORS, 4), "scores": (1, ANCHORS, about.classes)}
    given = TensorSpec("given", (1, ANCHORS, wide), "float32", "")
    bare = tuple(TensorSpec(name, shape, "float32", "") for name, shape in shapes.items())
    example = Example((torch.rand(1, ANCHORS, wide),), Interface((given,), bare))
    path = tmp_path / f"a{format_.suffix}"
    format_.export(Parts().eval(), example, path, FLOAT_SCHEMES["fp32"])
    format_.embed(path, "a contract")
    with pytest.raises(LookupError):
        format_.unsuppress(path, tmp_path / f"none{format_.suffix}")
    format_.suppress(path, about)
    assert format_.extract(path) == "a contract"
    (tmp_path / "bare").mkdir()
    before = tmp_path / "bare" / path.name
    format_.unsuppress(path, before)
    whole, front = format_.open(path, 1), format_.open(before, 1)
    most = about.max_detections
    assert [(one.name, one.shape, one.dtype) for one in whole.tensors()[1]] == [
        (name, shape, "float32")
        for name, shape in zip(SUPPRESSED, ((1, most, 4), (1, most), (1, most), (1,)), strict=True)
    ]
    assert {one.name: one.shape for one in front.tensors()[1]} == shapes
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = drawn(rng, about.classes)
        corners, scores = front.run([values])
        np.testing.assert_array_equal(np.concatenate([corners, scores], -1), values)
        wanted = boxes.select(
            corners[0], scores[0], score_threshold=about.score_threshold,
            overlap=about.nms_iou, most=most, candidates=about.candidates,
        )  # fmt: skip
        there = wanted.scores > 0
        found = whole.run([values])
        count = int(found[3].item())
        assert count == there.sum()
        np.testing.assert_array_equal(found[0][0, :count], wanted.corners[there])
        np.testing.assert_array_equal(found[1][0, :count], wanted.scores[there])
        np.testing.assert_array_equal(found[2][0, :count], wanted.classes[there])
        assert not any(one[0, count:].any() for one in found[:3])
