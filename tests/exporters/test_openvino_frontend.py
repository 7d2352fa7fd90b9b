"""What OpenVINO's own frontend gets wrong: the file computes what PyTorch does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_examples import singly
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import (
    FLOAT_SCHEMES,
    INT8,
    Example,
    Interface,
    TensorSpec,
    of_image,
    silent_import,
)
from edgekit.native_output import captured

SIDE = 17
Forward = Callable[["Part", Tensor], Tensor]


class Part(nn.Module):
    """A function of an image of 8 channels, with convolutions."""

    def __init__(self, function: Forward, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x).mean((2, 3))


class Side(nn.Module):
    """Parts side by side, each behind a convolution of its own."""

    def __init__(self, parts: list[Part]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stems = nn.ModuleList([nn.Conv2d(3, 8, 3, padding=1) for _ in parts])
        self.parts = nn.ModuleList(parts)

    def forward(self, image: Tensor) -> Tensor:
        pairs = zip(self.stems, self.parts, strict=True)
        return torch.cat([part(stem(image).relu()) for stem, part in pairs], 1)


def point(stride: object = 2, padding: object = 0, **options: int) -> nn.Conv2d:
    return nn.Conv2d(8, 8, 1, stride, padding, **options)  # type: ignore[arg-type]


def chain(*layers: nn.Module) -> Part:
    return Part(lambda own, x: own.layers(x), layers=nn.Sequential(*layers))


def both(one: nn.Module, other: nn.Module) -> Part:
    """Two that read the same."""
    return Part(
        lambda own, x: torch.cat([own.one(x).flatten(2), own.other(x).flatten(2)], 2)[..., None],
        one=one,
        other=other,
    )


STRIDED = {
    "stride": [chain(point(s)) for s in (2, 3)],
    "stride and padding": [chain(point(s, p)) for s in (2, 3) for p in (1, 2)],
    "one axis": [chain(point((2, 1), (1, 0))), chain(point((2, 1), (0, 1)))],
    "groups": [chain(point(2, 1, groups=8)), chain(point(2, 1, groups=2))],
    "padded by hand": [
        Part(lambda own, x, p=pads: own.c(F.pad(x, p)), c=point())
        for pads in ((1, 1, 1, 1), (1, 0, 0, 2), (3, 3, 3, 3))
    ],
    "two in a row": [chain(point(), nn.ReLU(), point()), chain(point(2, 1), point(2, 1))],
    "several readers": [
        both(point(), point()),
        both(point(2, 1), point(2, 1)),
        both(point(), point(2, 1)),
        both(point(), point(3)),
        both(point(2, 1), nn.Conv2d(8, 8, 3, 2, 1)),
        both(point(2, 1), nn.Identity()),
    ],
    "sums and products": [
        Part(lambda own, x: own.c((own.a(x) + x).relu()), a=point(1), c=point(2, 1)),
        Part(lambda own, x: own.c(own.a(x) * x.mean((2, 3), True)), a=point(1), c=point(2, 1)),
        Part(lambda own, x: own.c(own.a(x) + torch.arange(17.0)), a=point(1), c=point(2)),
    ],
    "pools": [
        chain(nn.MaxPool2d(3, 1, 1), point(2, 1)),
        chain(nn.MaxPool2d(1, 2), point()),
        chain(nn.MaxPool2d(2, 2), point(2, 1)),
        chain(nn.AvgPool2d(3, 1, 1), point(2, 1)),
    ],
    "other convolutions": [
        chain(nn.Conv2d(8, 8, 3, 2), point(3, 1)),
        chain(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(), point(2, 1)),
        chain(nn.Conv2d(8, 8, 3, padding=2, dilation=2), point(2, 1)),
        chain(nn.ConvTranspose2d(8, 8, 3, 2, 1), point(2, 1)),
        chain(nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"), point(2, 1)),
        chain(nn.Hardswish(), point(2, 1), nn.SiLU(), point(2, 1)),
    ],
    "small images": [chain(nn.AdaptiveAvgPool2d(2), point(2, 1)), chain(nn.AvgPool2d(9), point())],
}

NEAREST: dict[str, dict[str, object]] = {
    "sizes": {"size": (23, 31)},
    "smaller": {"size": (5, 31)},
    "a factor": {"scale_factor": 2},
    "factors": {"scale_factor": (1.7, 0.6)},
    "a factor of sizes": {"scale_factor": 1.3, "recompute_scale_factor": True},
}


def difference(model: nn.Module, path: Path, precision: str = "fp32") -> float:
    """Largest difference, relative to the largest number."""
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    target = registry.target("openvino")
    ones = [np.ascontiguousarray(image[None]) for image in images.numpy()]
    scheme = FLOAT_SCHEMES["fp32"] if precision == "fp32" else replace(INT8, calibration="minmax")
    with torch.no_grad(), captured():
        model.eval()
        expected = torch.cat([model(image[None]) for image in images]).numpy()
        target.export(
            model, of_image(images[:1]), path, scheme, singly(None if precision == "fp32" else ones)
        )
        runner = target.open(path, 1)
        found = np.concatenate([np.array(runner.run([one])[0]) for one in ones])
    return float(np.abs(expected - found).max() / np.abs(expected).max())


@pytest.mark.parametrize("kind", STRIDED)
def test_convolutions_of_one_pixel_with_stride(kind: str, tmp_path: Path) -> None:
    assert difference(Side(STRIDED[kind]), tmp_path / "net.xml") < 1e-5


@pytest.mark.parametrize("kind", NEAREST)
def test_nearest_exact(kind: str, tmp_path: Path) -> None:
    part = Part(lambda _, x: F.interpolate(x, mode="nearest-exact", **NEAREST[kind]).square())  # type: ignore[arg-type]
    assert difference(Side([part]), tmp_path / "net.xml") < 1e-5


def _one_channel(_: Part, x: Tensor) -> Tensor:
    x[:, 3].add_(1.0)
    return x


def test_one_channel_that_is_changed_in_place(tmp_path: Path) -> None:
    assert difference(Side([Part(_one_channel)]), tmp_path / "net.xml") < 1e-5


def test_products_of_vectors(tmp_path: Path) -> None:
    part = Part(lambda _, x: x * torch.vdot(x.flatten(), x.flatten()).rsqrt())
    assert difference(Side([part]), tmp_path / "net.xml") < 1e-5


@pytest.mark.parametrize("shape", [(5, 289), (1, 5, 289), (1, 8, 289)])
def test_constants_on_the_left_of_a_product_in_integers(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)) / 17
    part = Part(lambda _, x: (weight @ x.flatten(2).transpose(1, 2)).relu()[..., None].square())
    assert difference(Side([part]), tmp_path / "net.xml", "int8") < 0.05


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_softplus_with_its_numbers(precision: str, tmp_path: Path) -> None:
    parts = [
        Part(lambda _, x, b=beta, t=threshold: 3 * F.softplus(4 * x - 2, b, t))  # type: ignore[misc]
        for beta, threshold in ((1, 20), (0.5, 20), (3.0, 20), (1, 0.5), (2.5, 1.0), (0.5, 5.0))
    ]
    least = 1e-5 if precision == "fp32" else 0.1
    assert difference(Side(parts), tmp_path / "net.xml", precision) < least


class Turned(nn.Module):
    """Takes images with channels last, and adds a number to each channel."""

    def __init__(self, shift: Tensor, twice: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.twice = nn.Conv2d(3, 8, 3, 2, 1), twice
        self.register_buffer("shift", shift)

    def forward(self, pixels: Tensor) -> Tensor:
        image = pixels.permute(0, 3, 1, 2).float()
        shifted = image - self.shift
        if self.twice:
            shifted = torch.cat([shifted[:, :2], image[:, :1]], 1)
        return self.first(shifted).relu().mean((2, 3))


@pytest.mark.parametrize(
    ("shape", "twice", "moved"),
    [
        ((3, 1, 1), False, True),
        ((1, 3, SIDE, 1), False, True),
        ((1,), False, True),
        ((3, 1, 1), True, False),
    ],
)
def test_a_mean_is_subtracted_before_axes_are_turned(
    shape: tuple[int, ...], twice: bool, moved: bool, tmp_path: Path
) -> None:
    openvino = silent_import("openvino")
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    model = Turned(100 * torch.rand(shape, generator=generator), twice).eval()
    image = TensorSpec("image", (1, SIDE, SIDE, 3), "uint8", "NHWC")
    scores = TensorSpec("scores", (1, 8), "float32", "NC")
    example = Example((pixels,), Interface((image,), (scores,)))
    target, path = registry.target("openvino"), tmp_path / "net.xml"
    with torch.no_grad(), captured():
        expected = model(pixels).numpy()
        target.export(model, example, path, FLOAT_SCHEMES["fp32"])
        (found,) = target.open(path, 1).run([pixels.numpy()])
        ops = openvino.Core().read_model(path).get_ordered_ops()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    order = [op.get_type_name() for op in ops if op.get_type_name() in ("Add", "Transpose")]
    assert (order[0] == "Add") == moved
