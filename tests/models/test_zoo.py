"""Every registered network: shapes, gradients, published counts, specs."""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import json
from pathlib import Path

import pytest
import torch
from zoo_networks import KINDS, NAMES, affordable, certain, images, laid_out, small

from edgekit.cli.list import zoo
from edgekit.core import ModelSpec, from_json, to_json
from edgekit.errors import ModelError, UnknownNameError, UsageError
from edgekit.models import (
    MAX_RESOLUTION,
    build,
    efficientnet,
    family_of,
    find_spec,
    with_resolution,
)
from edgekit.models.count import Layer, layers
from edgekit.models.pretrained import PUBLISHED
from edgekit.models.size import check_size

WIDTHS = ("0.35", "0.75", "1.4")

# What is printed with few digits, at 224 px: millions of parameters and of multiply-accumulates.
# The ShuffleNet-Series README cuts digits off in places (5.68 M are 5.6M there), and has 138M for
# 137.46 M.
SERIES = "megvii-model/ShuffleNet-Series, README of the network"
PRINTED = (
    ("shufflenetv1-g3@0.5", 0.7, 38),
    ("shufflenetv1-g3", 1.9, 138),
    ("shufflenetv1-g3@1.5", 3.4, 292),
    ("shufflenetv1-g3@2", 5.4, 524),
    ("shufflenetv1-g8@0.5", 1.0, 40),
    ("shufflenetv1-g8", 2.4, 138),
    ("shufflenetv1-g8@1.5", 4.3, 290),
    ("shufflenetv1-g8@2", 6.5, 522),
    ("shufflenetv2plus-small", 5.1, 156),
    ("shufflenetv2plus-medium", 5.6, 222),
    ("shufflenetv2plus-large", 6.7, 360),
)

# arXiv:1707.01083, table 1, "Complexity": all five are met to the digit without the classifier.
COMPLEXITY = {
    "shufflenetv1-g1": 143,
    "shufflenetv1-g2": 140,
    "shufflenetv1-g3": 137,
    "shufflenetv1-g4": 133,
    "shufflenetv1-g8": 137,
}


def reference_rows() -> list[dict[str, str]]:
    text = Path(__file__).parents[1].joinpath("reference_zoo.csv").read_text()
    return list(csv.DictReader(text.splitlines()[1:]))


@functools.cache
def counted(words: str, resolution: int) -> list[Layer]:
    """The layers of a network, without computing anything. Read-only."""
    with torch.device("meta"):
        return layers(laid_out(words, resolution), resolution)


@pytest.mark.parametrize("name", NAMES)
def test_images_become_class_scores(name: str) -> None:
    model = build(affordable(name), classes=7).eval()
    with torch.no_grad():
        for side in (32, 65):
            assert model(torch.zeros(2, 3, side, side)).shape == (2, 7)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model = build(certain(find_spec(affordable(name, "0.5"), classes=6, resolution=64))).train()
    scores = model(torch.randn(4, 3, 64, 64))
    (scores * torch.randn_like(scores)).sum().backward()
    still = [path for path, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize("row", reference_rows(), ids=lambda row: row["model"])
def test_parameters_and_macs_are_those_of_the_reference(row: dict[str, str]) -> None:
    spec = find_spec(row["model"])
    assert spec.resolution == int(row["resolution"])
    found = counted(row["model"], spec.resolution)
    assert sum(layer.params for layer in found) == int(row["params"])
    assert sum(layer.macs for layer in found) == int(row["macs"])


@pytest.mark.parametrize(("name", "params_m", "macs_m"), PRINTED, ids=[p[0] for p in PRINTED])
def test_parameters_and_macs_are_those_that_are_printed(
    name: str, params_m: float, macs_m: int
) -> None:
    found = counted(name, 224)
    assert abs(sum(layer.params for layer in found) / 1e6 - params_m) < 0.1
    assert sum(layer.macs for layer in found) / 1e6 == pytest.approx(macs_m, rel=5e-3, abs=0.5)


@pytest.mark.parametrize(("name", "macs_m"), COMPLEXITY.items(), ids=COMPLEXITY)
def test_shufflenets_have_the_complexity_of_the_paper(name: str, macs_m: int) -> None:
    convolutions = sum(f.macs for f in counted(name, 224) if f.op != "Linear")
    assert round(convolutions / 1e6) == macs_m


@pytest.mark.parametrize("name", COMPLEXITY)
def test_quarter_shufflenets_have_the_complexity_of_the_paper(name: str) -> None:
    """arXiv:1707.01083, table 2: 13 MFLOPs, one figure for all groups."""
    convolutions = sum(f.macs for f in counted(f"{name}@0.25", 224) if f.op != "Linear")
    assert convolutions / 1e6 == pytest.approx(13, abs=1)


def published_scales() -> dict[str, tuple[float, float, int]]:
    """Width, depth and resolution in tensorflow/tpu, efficientnet_builder.py."""
    return {
        "b0": (1.0, 1.0, 224),
        "b1": (1.0, 1.1, 240),
        "b2": (1.1, 1.2, 260),
        "b3": (1.2, 1.4, 300),
        "b4": (1.4, 1.8, 380),
        "b5": (1.6, 2.2, 456),
        "b6": (1.8, 2.6, 528),
        "b7": (2.0, 3.1, 600),
    }


def test_efficientnets_are_computed_wherever_the_rule_gives_them() -> None:
    by_rule = {
        (scale.width, scale.depth)
        for scale in (efficientnet.compound(phi / 100, 0.0) for phi in range(900))
    }
    for name, (width, depth, resolution) in published_scales().items():
        scale = efficientnet.SCALES[name]
        assert (scale.width, scale.depth, scale.resolution) == (width, depth, resolution)
        assert ((width, depth) in by_rule) == (name <= "b4"), name


@pytest.mark.parametrize("row", zoo().values(), ids=lambda row: row["model"])
def test_the_listed_figures_are_counted(row: dict[str, str]) -> None:
    spec = find_spec(row["model"])
    found = counted(row["model"], spec.resolution)
    assert spec.resolution == int(row["resolution"])
    assert sum(layer.params for layer in found) == int(row["params"])
    assert sum(layer.macs for layer in found) == int(row["macs"])
    published = PUBLISHED.get(row["model"])
    assert row["weights"] == ("torchvision" if published else "")
    if published:
        assert (float(row["top1"]), row["source"].partition(" at ")[0]) == (
            round(published.top1, 1),
            "torchvision 0.29",
        )


def test_every_network_is_listed() -> None:
    assert set(zoo()) == {*NAMES, *PUBLISHED}


def test_every_network_has_a_reference() -> None:
    known = {row["model"] for row in reference_rows()} | {name for name, _, _ in PRINTED}
    assert known | set(COMPLEXITY) >= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_eval_mode_is_deterministic_and_keeps_samples_apart(name: str) -> None:
    model, batch = small(name), images(16).double()
    with torch.no_grad():
        scores = model(batch)
        assert torch.equal(model(batch), scores)
        assert torch.allclose(model(batch[1:2]), scores[1:2], rtol=1e-9)
    assert (scores.std(dim=0) > 1e-2 * scores.abs().max()).all()


@pytest.mark.parametrize("name", NAMES)
def test_specs_are_json_and_build_the_same_network(name: str) -> None:
    spec = find_spec(f"{name}@0.25", classes=5, resolution=64)
    again = from_json(ModelSpec, json.loads(json.dumps(to_json(spec))))
    assert again == spec
    one, other = build(spec), build(again)
    assert str(one) == str(other)
    other.load_state_dict(one.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(one.eval()(images(1)), other.eval()(images(1)))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_multiplied_networks_name_themselves(name: str, width: str) -> None:
    spec = find_spec(f"{name}@{width}", classes=3, resolution=32)
    assert (spec.name, spec.width) == (f"{name}@{width}", float(width))
    assert find_spec(spec.name, classes=3, resolution=32) == spec


@pytest.mark.parametrize("name", KINDS)
def test_wider_networks_run_and_have_more_of_everything(name: str) -> None:
    sizes = []
    for width in ("0.1", "0.75", "2"):
        found = counted(f"{name}@{width}", 32)
        assert found[-1].output_shape == (1, 1000)
        sizes.append((sum(f.params for f in found), sum(f.macs for f in found)))
    for one, other in itertools.pairwise(sizes):
        assert one[0] < other[0]
        assert one[1] < other[1]


@pytest.mark.parametrize("name", KINDS)
def test_the_smallest_resolution_is_the_stride(name: str) -> None:
    spec = find_spec(name)
    stride = family_of(spec).stride(spec)
    assert stride == 32
    found = counted(name, 3 * stride)
    pooled = [layer.name for layer in found].index("pool")
    assert found[pooled - 1].output_shape[2:] == (3, 3)
    with_resolution(spec, stride)
    for bad in (stride - 1, 0, -5, MAX_RESOLUTION + 1):
        with pytest.raises(UsageError, match=rf"resolution {bad} .*expected {stride}"):
            with_resolution(spec, bad)


@pytest.mark.parametrize("classes", [1, 0, -3])
def test_fewer_than_two_classes_are_refused(classes: int) -> None:
    with pytest.raises(UsageError, match=f"with {classes} classes: expected at least 2"):
        build(NAMES[0], classes=classes)


def test_networks_of_more_than_a_billion_parameters_are_refused_before_they_take_memory() -> None:
    with pytest.raises(UsageError, match=r"efficientnet-b7@20 would have 24,904,304,680 param.*GB"):
        find_spec("efficientnet-b7@20")
    spec = dataclasses.replace(find_spec("mobilenetv2"), head=(10**6,))
    with pytest.raises(UsageError, match=r"mobilenetv2 would have 1,\d{3},\d{3},\d{3} parameters"):
        build(spec)


@pytest.mark.parametrize("name", ["efficientnet-b7@1.1", "shufflenetv2plus-large@10"])
def test_sizes_are_counted_as_networks_are_built(name: str) -> None:
    """And counting takes nothing of the random numbers that the weights are drawn from."""
    spec = find_spec(name)
    with torch.device("meta"):
        expected = sum(p.numel() for p in build(spec).parameters())
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    with pytest.raises(UsageError, match=f"would have {expected:,} parameters"):
        check_size(spec, family_of(spec).build, most=expected - 1)
    check_size(spec, family_of(spec).build, most=expected)
    assert torch.equal(torch.rand(1), first)


def test_foreign_families_and_rows_are_refused() -> None:
    spec = to_json(find_spec("mobilenetv1"))
    with pytest.raises(UnknownNameError, match="unknown family 'alexnet'"):
        build(from_json(ModelSpec, {**spec, "family": "alexnet"}))
    with pytest.raises(ModelError, match="rows of 'mobilenetv1' are not rows of family"):
        build(from_json(ModelSpec, {**spec, "family": "mobilenetv2"}))


@pytest.mark.parametrize("name", ["mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2"])
def test_a_padding_that_there_is_not_is_refused(name: str) -> None:
    spec = dataclasses.replace(find_spec(name), padding="reflect")
    with pytest.raises(ModelError, match=f"'reflect' of '{spec.name}': expected symmetric or same"):
        build(spec)


TOO_NARROW = {"g1": ("0.06", "0.08"), "g2": ("0.05",), "g3": ("0.06",), "g8": ("0.05", "0.06")}


@pytest.mark.parametrize("width", ["0.1", "0.15"])
@pytest.mark.parametrize("groups", ["g1", "g2", "g3", "g4", "g8"])
def test_narrow_shufflenets_run_with_channels_of_their_own(groups: str, width: str) -> None:
    model = build(f"shufflenetv1-{groups}@{width}", resolution=32).eval()
    assert all(p.numel() for p in model.parameters())
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("groups", "width"), [(groups, width) for groups in TOO_NARROW for width in TOO_NARROW[groups]]
)
def test_shufflenets_are_refused_where_a_stage_would_add_nothing(groups: str, width: str) -> None:
    with pytest.raises(UsageError, match=r"each has to add some: expected a larger multiplier"):
        find_spec(f"shufflenetv1-{groups}@{width}")


def test_the_compound_rule_gives_the_published_networks() -> None:
    """arXiv:1905.11946, section 3.3 and the authors' code: width, depth, resolution, dropout."""
    published = {
        "b0": (1.0, 1.0, 224, 0.2),
        "b1": (1.0, 1.1, 240, 0.2),
        "b2": (1.1, 1.2, 260, 0.3),
        "b3": (1.2, 1.4, 300, 0.3),
        "b4": (1.4, 1.8, 380, 0.4),
        "b5": (1.6, 2.2, 456, 0.4),
        "b6": (1.8, 2.6, 528, 0.5),
        "b7": (2.0, 3.1, 600, 0.5),
    }
    from edgekit.models.efficientnet import SCALES

    assert {name: dataclasses.astuple(scale) for name, scale in SCALES.items()} == published
