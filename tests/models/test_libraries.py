"""Networks of timm and torchvision, where they are installed."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image

from edgekit.core import Preprocessing
from edgekit.data.preprocess import check, resize_and_crop
from edgekit.models.libraries import of_timm, of_torchvision, open_library

LIBRARIES = ("timm", "torchvision")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_is_missing_is_named_with_its_install_line(
    library: str, cli: CommandLine
) -> None:
    if importlib.util.find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    result = cli("describe", f"{library}:resnet18")
    assert (result.code, result.out) == (5, "")
    assert f"'{library}:resnet18' needs the package '{library}'" in result.message
    assert f"pip install {library}" in result.message


def test_a_library_that_does_not_work_here_is_named(cli: CommandLine, tmp_path: Path) -> None:
    """As torchvision built for another PyTorch, which fails on import."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator nms does not exist')")
    result = cli("describe", "torchvision:resnet18")
    assert (result.code, result.out) == (5, "")
    assert "torchvision is installed, but does not work with this PyTorch" in result.message
    assert "operator nms does not exist" in result.message


@pytest.mark.parametrize("library", LIBRARIES)
def test_networks_of_a_library_are_described_and_exported(library: str, cli: CommandLine) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed", exc_type=Exception)
    words = f"{library}:resnet18"
    assert cli("describe", words, "--json").json["params"] == 11_689_512
    done = cli("export", words, "-t", "openvino", "--resolution", "64", "-o", "out", "--json")
    assert done.code == 0, done.err
    unknown = cli("describe", f"{library}:resnet81")
    assert unknown.code == 2
    assert "resnet18" in unknown.message


HALVES = (0.5, 0.5, 0.5)
TIMM: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "mean": HALVES,
    "std": (0.25, 0.25, 0.25),
    "crop_pct": 0.95,
    "crop_mode": "center",
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"resize": 235}),
        ({"crop_pct": 0.875}, {"resize": 256}),
        ({"crop_pct": 1.0}, {"resize": 224}),
        ({"crop_mode": None}, {"resize": 235}),
        ({"crop_mode": "squash"}, {"resize": 235, "fit": "stretch"}),
        ({"crop_mode": "border", "crop_pct": 1.0}, {"fit": "letterbox", "pad": 128}),
        ({"input_size": (3, 96, 160)}, {"resize": (101, 168), "crop": (96, 160)}),
        ({"interpolation": "bilinear"}, {"resize": 235, "interpolation": "bilinear"}),
    ],
    ids=str,
)
def test_what_timm_says_of_images_is_read(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = of_timm({**TIMM, **changes})
    usual = {"resize": None, "crop": 224, "interpolation": "bicubic", **expected}
    assert found == Preprocessing(mean=HALVES, std=(0.25,) * 3, **usual)
    check(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"interpolation": "lanczos"},
        {"crop_mode": "tiles"},
        {"crop_mode": "border"},  # of 95 %
        {"crop_mode": "border", "crop_pct": 1.0, "mean": (0.485, 0.456, 0.406)},
    ],
    ids=str,
)
def test_what_edgekit_cannot_repeat_is_left_unsaid(changes: dict[str, Any]) -> None:
    assert of_timm({**TIMM, **changes}) is None


def test_what_torchvision_says_of_images_is_read() -> None:
    transforms = SimpleNamespace(
        crop_size=[240], resize_size=[255], mean=HALVES, std=(0.25,) * 3,
        interpolation=SimpleNamespace(value="bilinear"),
    )  # fmt: skip
    assert of_torchvision(transforms) == Preprocessing(255, 240, mean=HALVES, std=(0.25,) * 3)
    transforms.interpolation.value = "lanczos"
    assert of_torchvision(transforms) is None


@pytest.mark.parametrize(
    ("words", "transform"),
    [
        ("timm:mobilenetv2_100", "timm"),
        ("timm:mobilenetv3_small_100", "timm"),
        ("torchvision:mobilenet_v3_small", "torchvision"),
        ("torchvision:efficientnet_b0", "torchvision"),
    ],
)
def test_images_are_prepared_as_the_library_does(words: str, transform: str) -> None:
    """Where it rounds alike: sizes down, and the place of the crop half to even."""
    pytest.importorskip(transform, reason=f"{transform} is not installed", exc_type=Exception)
    found = open_library(words, None)
    assert found.preprocessing is not None
    name = words.partition(":")[2]
    if transform == "timm":
        import timm

        config = timm.data.resolve_data_config({}, model=found.module)
        theirs = timm.data.create_transform(**config, is_training=False, normalize=False)
    else:
        from torchvision import models

        transforms = models.get_model_weights(name).DEFAULT.transforms()
        theirs = _without_values(transforms)
    rng = np.random.default_rng(0)
    compared = 0
    while compared < 5:
        height, width = (int(side) for side in rng.integers(200, 900, 2))
        short, resize = min(height, width), found.preprocessing.resize
        assert isinstance(resize, int)
        exact = max(height, width) * resize / short
        side = found.preprocessing.side
        rests = (resize - side, math.floor(exact) - side)
        if exact % 1 >= 0.5 or any(round(rest / 2) != rest // 2 for rest in rests):
            continue
        compared += 1
        small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        image = np.array(small.resize((width, height), Image.Resampling.BICUBIC))
        expected = np.asarray(theirs(Image.fromarray(image))).transpose(1, 2, 0).astype(int)
        own = resize_and_crop(image, found.preprocessing).astype(int)
        assert np.abs(own - expected).max() <= 2  # Pillow may take the height first
        assert np.abs(own - expected).mean() < 0.05


def _without_values(transforms: Any) -> Any:
    """The transform's integer half."""
    from torchvision.transforms import functional

    def prepared(image: Image.Image) -> Any:
        resized = functional.resize(
            image, transforms.resize_size, transforms.interpolation, antialias=True
        )
        return functional.pil_to_tensor(functional.center_crop(resized, transforms.crop_size))

    return prepared
