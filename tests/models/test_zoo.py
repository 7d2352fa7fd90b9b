"""Every registered network: shapes, gradients, published counts, named widths."""

from __future__ import annotations

import copy
import csv
import json
import operator
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.optim.swa_utils import update_bn

from edgekit import registry
from edgekit.core import ModelSpec, from_json, to_json
from edgekit.errors import ModelError, UnknownNameError, UsageError
from edgekit.models import MAX_RESOLUTION, build, family_of, find_spec, with_resolution
from edgekit.models.blocks import Axes, BatchNorm2d, Conv2d, Linear, named_axes
from edgekit.models.count import layers

NAMES = registry.model_names()
WIDTHS = ("0.35", "0.75", "1.4")
FIXED = ("image", "classes")


def reference_rows() -> list[dict[str, str]]:
    text = Path(__file__).parents[1].joinpath("reference_zoo.csv").read_text()
    return list(csv.DictReader(text.splitlines()[1:]))


@cache
def small(name: str) -> nn.Module:
    """A narrow network that tells images apart, in float64 and eval mode. Read-only."""
    torch.manual_seed(7)
    model = build(f"{name}@0.25", classes=5, resolution=32)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, 0, 0.2)
    # Statistics that fit the weights; with others the signal dies on its way, and nothing that
    # is done to a channel would show.
    update_bn([images(64)], model)
    return model.double().eval()


def images(count: int) -> Tensor:
    """Noise, (count, 3, 32, 32)."""
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("resolution", [32, 65])
@pytest.mark.parametrize("name", NAMES)
def test_images_become_class_scores(name: str, resolution: int) -> None:
    model = build(name, classes=7, resolution=resolution).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 3, resolution, resolution)).shape == (2, 7)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model = build(f"{name}@0.5", classes=6, resolution=64).train()
    scores = model(torch.randn(4, 3, 64, 64))
    (scores * torch.randn_like(scores)).sum().backward()
    still = [path for path, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize("row", reference_rows(), ids=lambda row: row["model"])
def test_parameters_and_macs_are_those_of_the_reference(row: dict[str, str]) -> None:
    spec = find_spec(row["model"])
    assert spec.resolution == int(row["resolution"])
    found = layers(build(spec).eval(), spec.resolution)
    assert sum(layer.params for layer in found) == int(row["params"])
    assert sum(layer.macs for layer in found) == int(row["macs"])


def test_every_network_has_a_reference() -> None:
    assert {row["model"] for row in reference_rows()} >= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_eval_mode_is_deterministic_and_keeps_samples_apart(name: str) -> None:
    model, batch = small(name), images(3).double()
    with torch.no_grad():
        scores = model(batch)
        assert torch.equal(model(batch), scores)
        assert torch.allclose(model(batch[1:2]), scores[1:2], rtol=1e-9)
    assert (scores.std(dim=0) > 1e-2 * scores.abs().max()).all()


@pytest.mark.parametrize("name", NAMES)
def test_specs_are_json_and_build_the_same_network(name: str) -> None:
    spec = find_spec(f"{name}@0.5", classes=5, resolution=64)
    again = from_json(ModelSpec, json.loads(json.dumps(to_json(spec))))
    assert again == spec
    one, other = build(spec), build(again)
    assert str(one) == str(other)
    other.load_state_dict(one.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(one.eval()(images(1)), other.eval()(images(1)))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_multiplied_networks_name_themselves_and_run(name: str, width: str) -> None:
    spec = find_spec(f"{name}@{width}", classes=3, resolution=32)
    assert (spec.name, spec.width) == (f"{name}@{width}", float(width))
    assert find_spec(spec.name, classes=3, resolution=32) == spec
    with torch.no_grad():
        assert build(spec).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_resolution_is_the_stride(name: str) -> None:
    spec = find_spec(name)
    stride = family_of(spec).stride(spec)
    assert stride == 32
    last = [f for f in layers(build(spec).eval(), 3 * stride) if len(f.output_shape) == 4]
    assert max(f.output_shape[-1] for f in last[-6:]) == 3
    with_resolution(spec, stride)
    for bad in (stride - 1, 0, -5, MAX_RESOLUTION + 1):
        with pytest.raises(UsageError, match=rf"resolution {bad} .*expected {stride}"):
            with_resolution(spec, bad)


@pytest.mark.parametrize("classes", [1, 0, -3])
def test_fewer_than_two_classes_are_refused(classes: int) -> None:
    with pytest.raises(UsageError, match=f"with {classes} classes: expected at least 2"):
        build(NAMES[0], classes=classes)


def test_foreign_families_and_rows_are_refused() -> None:
    spec = to_json(find_spec("mobilenetv1"))
    with pytest.raises(UnknownNameError, match="unknown family 'alexnet'"):
        build(from_json(ModelSpec, {**spec, "family": "alexnet"}))
    with pytest.raises(ModelError, match="rows of 'mobilenetv1' are not rows of family"):
        build(from_json(ModelSpec, {**spec, "family": "mobilenetv2"}))


@pytest.mark.parametrize("name", NAMES)
def test_every_axis_is_as_long_as_its_widths_and_every_name_has_one_size(name: str) -> None:
    model = build(f"{name}@0.35")
    sizes: dict[str, set[int]] = defaultdict(set)
    seen = set()
    for path, tensor, axes in named_axes(model):
        seen.add(path)
        assert len(axes) == tensor.ndim, path
        for length, widths in zip(tensor.shape, axes, strict=True):
            if widths is not None:
                assert length == sum(width.n for width in widths), path
                for width in widths:
                    sizes[width.name].add(width.n)
    assert {key: list(n) for key, n in sizes.items() if len(n) != 1} == {}
    assert sizes["image"] == {3}
    assert sizes["classes"] == {1000}
    tensors = {key for key, value in model.state_dict().items() if value.ndim}
    assert seen == tensors


def test_layers_that_do_not_know_their_widths_are_refused() -> None:
    model = nn.Sequential(build("mobilenetv1@0.25"), nn.Linear(1000, 2))
    with pytest.raises(TypeError, match=r"^1 \(Linear\) has tensors without named widths"):
        list(named_axes(model))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not list(m.children())


@pytest.mark.parametrize("name", NAMES)
def test_widths_agree_along_every_edge_and_additions_share_a_name(name: str) -> None:
    model = build(f"{name}@0.5")
    modules = dict(model.named_modules())
    width: dict[Any, Any] = {}
    additions = 0
    for node in _Tracer().trace(model).nodes:
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        before = [width[arg] for arg in node.args if isinstance(arg, fx.Node) and arg in width]
        if isinstance(layer, Conv2d | Linear):
            assert before in ([], [layer.inputs]), node  # [] behind the image
            width[node] = layer.outputs
        elif isinstance(layer, BatchNorm2d):
            assert before == [layer.width], node
            width[node] = layer.width
        elif before:
            if node.op == "call_function":
                assert len(set(before)) == 1, f"{node} joins {before}"
                additions += node.target is operator.add
            width[node] = before[0]
    blocks = [m for m in model.modules() if getattr(m, "residual", False)]
    assert additions == len(blocks)
    assert name == "mobilenetv1" or additions > 0


def kept_indices(axes: Axes, axis: int, name: str, kept: list[int]) -> list[int] | None:
    """Positions of an axis that stay when width ``name`` keeps ``kept``; None: all of them."""
    widths = axes[axis]
    if widths is None or all(width.name != name for width in widths):
        return None
    positions, offset = [], 0
    for width in widths:
        stay = kept if width.name == name else range(width.n)
        positions += [offset + i for i in stay]
        offset += width.n
    return positions


def zeroed(model: nn.Module, name: str, kept: list[int]) -> nn.Module:
    """A copy in which no layer gives anything on the channels that are not kept."""
    model = copy.deepcopy(model)
    for path, tensor, axes in named_axes(model):
        stay = kept_indices(axes, 0, name, kept)
        if stay is not None and path.endswith((".weight", ".bias")):
            mask = torch.zeros(len(tensor), dtype=torch.bool)
            mask[stay] = True
            tensor.data[~mask] = 0
    return model


def sliced(model: nn.Module, name: str, kept: list[int]) -> nn.Module:
    """A copy without those channels, by nothing but the names."""
    model = copy.deepcopy(model)
    for path, tensor, axes in list(named_axes(model)):
        value: Tensor = tensor.data
        for axis in range(tensor.ndim):
            stay = kept_indices(axes, axis, name, kept)
            if stay is not None:
                value = value.index_select(axis, torch.tensor(stay))
        owner, _, attribute = path.rpartition(".")
        layer = model.get_submodule(owner)
        is_parameter = isinstance(tensor, nn.Parameter)
        setattr(layer, attribute, nn.Parameter(value) if is_parameter else value)
        if isinstance(layer, Conv2d) and layer.depthwise:
            layer.groups = len(layer.weight)
    return model


def free_widths(model: nn.Module) -> dict[str, int]:
    """Channels of every width that may be changed."""
    every = {w.name: w.n for _, _, axes in named_axes(model) for axis in axes for w in axis or ()}
    return {name: n for name, n in every.items() if name not in FIXED}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_slicing_a_width_equals_zeroing_its_channels(name: str, data: st.DataObject) -> None:
    model = small(name)
    width, n = data.draw(st.sampled_from(sorted(free_widths(model).items())))
    kept = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n)))
    narrow = sliced(model, width, kept)
    with torch.no_grad():
        expected = zeroed(model, width, kept)(images(2).double())
        found = narrow(images(2).double())
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-11)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, narrow))
    assert after < before or len(kept) == n


@pytest.mark.parametrize("name", NAMES)
def test_channels_of_every_width_matter(name: str) -> None:
    """Or else slicing would equal zeroing for want of any effect."""
    model = small(name)
    with torch.no_grad():
        scores = model(images(8).double())
        idle = [
            width
            for width, n in free_widths(model).items()
            if torch.allclose(
                zeroed(model, width, list(range(n // 2)))(images(8).double()), scores, rtol=1e-4
            )
        ]
    assert not idle
