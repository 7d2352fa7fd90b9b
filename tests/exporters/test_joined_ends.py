"""One output of several units: boxes in pixels, and scores from 0 to 1."""

from __future__ import annotations

from pathlib import Path

import any_networks
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit import registry
from edgekit.conversion import export
from edgekit.quantize.integers import Integers
from edgekit.tables import TARGETS


class Joined(nn.Module):
    """The detector with boxes in pixels and scores in one tensor, as YOLO's exports have them."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = any_networks.detector()

    def forward(self, x: Tensor) -> Tensor:
        boxes, scores = self.detector(x)
        return torch.cat([boxes * 400, scores], 2).transpose(1, 2)


class One(Joined):
    """The same without an axis for the batch, and without the last score."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[0, :6]


class Silent(nn.Module):
    """An output that is 0 whatever the input is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return y, y - torch.relu(y) + torch.relu(-y)


def test_outputs_of_zeros_do_not_end_the_runtime(tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((20, 1, 3, 16, 16)).astype(np.float32)
    for i, image in enumerate(images):
        np.savez(tmp_path / f"{i}.npz", x=image)
    (made,) = export(
        Silent().eval(), "tflite", "int8", example=torch.from_numpy(images[0]),
        out=tmp_path / "out", data=str(tmp_path), integers=Integers(data=str(tmp_path)),
    )  # fmt: skip
    agreement = made.artifact.agreement
    assert agreement is not None
    assert agreement.passed


@pytest.mark.parametrize("kind", [Joined, One])
@pytest.mark.parametrize("target", TARGETS.built_in)
def test_integers_keep_the_scores_beside_boxes(
    target: str, kind: type[Joined], tmp_path: Path
) -> None:
    network, rng = kind().eval(), np.random.default_rng(0)
    images = rng.standard_normal((24, 1, 3, 32, 32)).astype(np.float32)
    for i, image in enumerate(images):
        np.savez(tmp_path / f"{i}.npz", x=image)
    (made,) = export(
        network, target, "int8", example=torch.from_numpy(images[0]), out=tmp_path / "out",
        data=str(tmp_path), integers=Integers(data=str(tmp_path)),
    )  # fmt: skip
    agreement = made.artifact.agreement
    assert agreement is not None
    assert agreement.outputs[0].part in ("1 of 2", "2 of 2")
    known = registry.target(target)
    runner = known.open(made.path, 1)
    axes = (0, 1, 2, 3) if known.layout == "NCHW" else (0, 2, 3, 1)
    found = [runner.run([np.ascontiguousarray(x.transpose(axes))])[0] for x in images[:8]]
    with torch.no_grad():
        expected = [network(torch.from_numpy(x)).numpy() for x in images[:8]]
    got, wanted = np.concatenate(found), np.concatenate(expected)
    got, wanted = got.reshape(8, -1, 128), wanted.reshape(8, -1, 128)
    scores = np.abs(got[:, 4:] - wanted[:, 4:]).max()
    assert wanted[:, :4].std() > 50
    assert scores < 0.1
