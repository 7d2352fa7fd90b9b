"""Groups of channels: found by name, taken out, and the spec that is left."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit import tables
from edgekit.core import ModelSpec
from edgekit.errors import ModelError
from edgekit.models import build, find_spec
from edgekit.search.groups import (
    CRITERIA,
    checked,
    groups_of,
    importances,
    most_important,
    resized,
    shrunk,
    widths_of,
    zeroed,
)

# One network of each family, and those with blocks of another kind.
NAMES = (
    "mobilenetv1", "mobilenetv2", "mobilenetv3-small", "mobilenetv3-large", "mnasnet-a1",
    "mobilenetv4-conv-small", "efficientnet-b0", "efficientnet-lite0", "efficientnetv2-b0",
    "shufflenetv2", "shufflenetv2plus-small",
)  # fmt: skip

# Their groups are like those of others; each is checked by itself, for up to ten seconds.
SIMILAR = (
    "mobilenetv3-large", "mnasnet-a1", "efficientnet-b0", "efficientnet-lite0",
    "shufflenetv2plus-small",
)  # fmt: skip


def small(name: str) -> tuple[ModelSpec, nn.Module]:
    """A narrow network whose batch norms do something."""
    torch.manual_seed(0)
    spec = find_spec(f"{name}@0.35", classes=5, resolution=32)
    module = build(spec)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            norm.momentum = None
    with torch.no_grad():  # or else few channels would reach the scores
        module.train()(torch.randn(16, 3, 32, 32))
    return spec, module.eval()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SIMILAR else n for n in NAMES]
)
def test_every_free_group_is_exact(name: str) -> None:
    spec, module = small(name)
    groups = checked(spec, module, torch.randn(2, 3, 32, 32))
    why = {group.name: group.frozen for group in groups if group.frozen is not None}
    if name.startswith("shufflenetv2"):
        positions, derived = "mixes its channels by position", {"head", "neck.squeeze"}
        assert all(positions in reason or name in derived for name, reason in why.items())
    else:
        assert why == {}
    assert any(group.frozen is None for group in groups)


def test_a_network_of_shuffled_groups_has_none() -> None:
    spec, module = small("shufflenetv1-g3")
    assert all(group.frozen is not None for group in groups_of(spec, module))


@pytest.mark.parametrize("name", NAMES)
def test_a_shrunk_network_is_a_spec_like_any_other(name: str) -> None:
    spec, module = small(name)
    kept = {
        group.name: range(0, group.channels, 2)
        for group in groups_of(spec, module)
        if group.frozen is None
    }
    smaller, network = shrunk(spec, module, kept)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            network(images), zeroed(module, kept)(images), rtol=1e-4, atol=1e-5
        )
    build(smaller).load_state_dict(network.state_dict())
    found = widths_of(smaller)
    assert {name: found[name] for name in kept} == {n: len(stay) for n, stay in kept.items()}


def test_every_registered_family_is_among_them() -> None:
    families = {find_spec(name).family for name in (*NAMES, "shufflenetv1-g3")}
    assert families == set(tables.FAMILIES)


def test_a_group_that_is_not_exact_is_frozen_and_says_so() -> None:
    spec, module = small("mobilenetv1")

    class Peeking(nn.Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.sum(1, keepdim=True) + x.shape[1]

    module.blocks[2].append(Peeking())
    groups = {group.name: group for group in groups_of(spec, module)}
    assert groups["block2.out"].frozen is None
    found = {group.name: group.frozen for group in checked(spec, module, torch.randn(1, 3, 32, 32))}
    # What is built from the spec has no such layer.
    assert found["block2.out"] is not None


def test_names_without_a_place_change_nothing() -> None:
    spec = find_spec("mobilenetv2@0.35")
    assert resized(spec, {"block99.expand": 3, "block0.nothing": 4, "hidden": 2}) == spec


def test_channels_of_another_network_are_refused() -> None:
    spec, module = small("mobilenetv1")
    other = dataclasses.replace(spec, stem=spec.stem + 8)
    with pytest.raises(ModelError, match=r"has no place for block0\.out"):
        shrunk(other, module, {"block0.out": [0, 1]})


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_channel_without_effect_goes_first(criterion: str) -> None:
    spec, module = small("mobilenetv3-small")
    idle = 5
    with torch.no_grad():
        for path in ("blocks.1.expand", "blocks.1.depthwise"):
            block = module.get_submodule(path)
            block.conv.weight[idle] = 0
            block.norm.weight[idle] = 0
            block.norm.bias[idle] = 0
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    values = importances(module, criterion, lambda net: F.cross_entropy(net(images), labels))
    expand = values["block1.expand"]
    assert expand[idle] == expand.min() == 0
    assert idle not in most_important(expand, int((expand > 0).sum()))
    groups = {group.name: group.channels for group in groups_of(spec, module)}
    for name, n in groups.items():
        assert values[name].shape == (n,)
        assert torch.isfinite(values[name]).all()


def test_of_equal_channels_the_first_stay() -> None:
    assert most_important(torch.tensor([1.0, 2.0, 1.0, 2.0]), 3) == [0, 1, 3]
