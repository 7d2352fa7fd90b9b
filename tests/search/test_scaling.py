"""Networks that are scaled as a whole."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from edgekit.core import Preprocessing
from edgekit.models import build, find_spec
from edgekit.models.count import layers
from edgekit.search.groups import groups_of, resized
from edgekit.search.scaling import SIZES, Outline, least, on_grid, outlined, scaled

PREPROCESSING = Preprocessing(resize=64, crop=64)


def free(name: str) -> dict[str, int]:
    spec = find_spec(name, classes=5, resolution=64)
    groups = groups_of(spec, build(spec))
    return {group.name: group.channels for group in groups if group.frozen is None}


def macs(spec: object) -> int:
    module = build(spec).eval()  # type: ignore[arg-type]
    return sum(layer.macs for layer in layers(module, spec.resolution))  # type: ignore[attr-defined]


def test_widths_are_on_the_grid() -> None:
    assert on_grid(100, 1.0) == 100
    assert on_grid(100, 0.5) == 48
    assert on_grid(4, 0.1) == 4
    assert least(96) == 16
    assert least(1280) == 160


SMALL, SMALLER = SIZES // 3, SIZES * 2 // 3


@pytest.mark.parametrize("method", ["uniform", "random", "compound"])
@pytest.mark.parametrize("name", ["mobilenetv1@0.5", "mobilenetv3-small", "efficientnet-lite0"])
def test_sizes_go_down_from_the_network_as_it_is(method: str, name: str) -> None:
    spec, channels = find_spec(name, classes=5, resolution=64), free(name)
    plans = [
        scaled(method, spec, channels, size, (0, 1)) for size in (0, SMALL, SMALLER, SIZES - 1)
    ]
    assert macs(plans[0].spec) == macs(spec)
    counts = [macs(plan.spec) for plan in plans]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 0.2 * counts[0]


def test_random_widths_depend_on_the_seed_alone() -> None:
    spec, channels = find_spec("mobilenetv1", classes=5, resolution=64), free("mobilenetv1")
    one, again, other = (
        scaled("random", spec, channels, SMALLER, seed).sizes for seed in ((0, 1), (0, 1), (0, 2))
    )
    assert one == again != other
    shares = {round(n / channels[name], 1) for name, n in one.items()}
    assert len(shares) > 3


def test_compound_scaling_changes_depth_width_and_resolution() -> None:
    spec, channels = find_spec("efficientnet-b0", classes=5, resolution=64), free("efficientnet-b0")
    plan = scaled("compound", spec, channels, SMALL, (0,))
    assert plan.outline is not None
    assert len(plan.outline.rows) < len(spec.rows)
    assert plan.spec.resolution < 64
    assert plan.sizes
    phi = -12 * SMALL / (SIZES - 1)
    depth, width, side = 1.2**phi, 1.1**phi, 1.15**phi
    repeats = [1, 2, 2, 3, 3, 4, 1]  # of the stages of EfficientNet-B0
    assert len(plan.outline.rows) == sum(max(1, math.ceil(depth * n)) for n in repeats)
    assert abs(plan.spec.resolution - 64 * side) <= 2
    assert plan.sizes["stage5.out"] == round(192 * width / 8) * 8
    assert plan.sizes["head"] == round(1280 * width / 8) * 8


def test_what_is_left_out_was_only_added_to_the_rest() -> None:
    """Blocks whose branch gives zero can be left out without a change."""
    torch.manual_seed(0)
    spec = find_spec("mobilenetv2@0.35", classes=5, resolution=64)
    module = build(spec).eval()
    plan = scaled("compound", spec, free("mobilenetv2@0.35"), SMALL, (0,))
    assert plan.outline is not None
    gone = [i for i in range(len(spec.rows)) if i not in plan.outline.rows]
    assert gone
    with torch.no_grad():
        for i in gone:
            assert spec.rows[i]["residual"]
            for parameter in module.blocks[i].parameters():  # type: ignore[union-attr,index]
                parameter.zero_()
    outline = dataclasses.replace(plan.outline, resolution=64)
    smaller, cut, preprocessing = outlined(spec, module, PREPROCESSING, outline)
    assert len(smaller.rows) == len(outline.rows)
    assert preprocessing == PREPROCESSING
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(cut(x), module(x))


def test_images_shrink_with_the_network() -> None:
    spec = find_spec("mobilenetv1@0.25", classes=5, resolution=64)
    rows = tuple(range(len(spec.rows)))
    smaller, module, preprocessing = outlined(spec, build(spec), PREPROCESSING, Outline(rows, 48))
    assert (smaller.resolution, preprocessing.crop, preprocessing.resize) == (48, 48, 48)
    assert module(torch.randn(1, 3, 48, 48)).shape == (1, 5)
    assert resized(smaller, {}) == smaller
