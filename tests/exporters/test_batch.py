"""Several images in one inference, on every target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit import registry, tables
from edgekit.conversion import export
from edgekit.core import of_image
from edgekit.errors import InputError
from edgekit.native_output import captured

BATCH = 4


class Mixing(nn.Module):
    """Takes the axis of channels for one of images, of which there are three."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.scores(images.reshape(3, 64)).relu().mean(0, keepdim=True)


def check_batch(target: str, path: Path) -> None:
    """Scores of four images at once are those of each by itself."""
    with captured():
        alone = registry.target(target).open(path, 1)
        together = registry.target(target).open(path, 1, batch=BATCH)
    (image,), (scores,) = together.tensors()
    assert image.shape == (BATCH, *alone.tensors()[0][0].shape[1:])
    assert scores.shape == (BATCH, *alone.tensors()[1][0].shape[1:])
    images = np.random.default_rng(0).standard_normal(image.shape).astype(np.float32)
    expected = np.concatenate([alone.run([one[None]])[0] for one in images])
    (found,) = together.run([images])
    assert np.ptp(expected, axis=0).max() > 1e-3, "images that cannot be told apart"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    infer = together.prepare([images])
    infer()
    assert np.array_equal(together.outputs()[0], found)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", tables.TARGETS)
def test_a_batch_gives_what_single_images_give(
    target: str, precision: str, artifacts: Mapping[tuple[str, str], Path]
) -> None:
    check_batch(target, artifacts[target, precision])


# Its channel shuffles reshape to shapes that are written into the file.
@pytest.mark.parametrize(
    "target", ["onnx", "openvino", pytest.param("tflite", marks=pytest.mark.slow)]
)
def test_reshapes_of_the_file_follow_the_batch(target: str, tmp_path: Path) -> None:
    (result,) = export("shufflenetv2@0.5", [target], ["fp32"], out=tmp_path, resolution=32)
    check_batch(target, result.path)


@pytest.mark.parametrize("target", tables.TARGETS)
def test_a_file_that_takes_no_batch_says_so(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = registry.target(target)
    path = tmp_path / f"mixing{found.suffix}"
    with captured():
        found.export(
            Mixing().eval(), of_image(torch.randn(1, 3, 8, 8)), path, found.schemes["fp32"]
        )
        found.open(path)
        with pytest.raises(InputError, match=r"mixing.* cannot take 4 images at once.* batch 1"):
            found.open(path, batch=BATCH)


@pytest.mark.parametrize("target", tables.TARGETS)
def test_a_batch_of_a_damaged_file_fails_by_its_damage(target: str, tmp_path: Path) -> None:
    found = registry.target(target)
    path = tmp_path / f"broken{found.suffix}"
    path.write_bytes(b"this is no network")
    with pytest.raises(InputError, match="broken") as caught, captured():
        found.open(path, batch=BATCH)
    assert "at once" not in str(caught.value)


@pytest.mark.parametrize("target", tables.TARGETS)
def test_opening_for_a_batch_leaves_the_file_as_it_is(
    target: str, artifacts: Mapping[tuple[str, str], Path]
) -> None:
    files = registry.target(target).files(artifacts[target, "fp32"])
    before = [file.read_bytes() for file in files]
    with captured():
        registry.target(target).open(artifacts[target, "fp32"], batch=2)
    assert [file.read_bytes() for file in files] == before
