from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit import registry, tables
from edgekit.core import Inspectable, of_image
from edgekit.lowering import lower
from edgekit.native_output import captured
from edgekit.verification.divergence import (
    Divergence,
    LayerAgreement,
    averaged,
    comparable,
    first_divergence,
    layer_agreements,
    layer_outputs,
    worst_layers,
)

SIDE = 16


class Residual(nn.Module):
    """A bottleneck, so that the graph has a branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, 24, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(24)
        self.act = nn.ReLU6()
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False)
        self.norm2 = nn.BatchNorm2d(24)
        self.swish = nn.Hardswish()
        self.project = nn.Conv2d(24, width, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.expand(x)))
        y = self.norm3(self.project(self.swish(self.norm2(self.depthwise(y)))))
        return x + y


def network() -> nn.Module:
    """Layers that converters fuse (norms, activations, biases), and some that they do not."""
    torch.manual_seed(6)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False),
        norm=nn.BatchNorm2d(12),
        relu=nn.ReLU(),
        block=Residual(12),
        dropout=nn.Dropout(0.5),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(1),
        hidden=nn.Linear(12, 20),
        act=nn.Hardswish(),
        scores=nn.Linear(20, 6),
    )
    model = nn.Sequential(layers)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.5)
    with torch.no_grad():
        model.train()(torch.randn(64, 3, SIDE, SIDE))
    return model.eval()


def image() -> Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9))


def altered(model: nn.Module, path: str) -> nn.Module:
    """A copy in which one layer has other weights."""
    model = copy.deepcopy(model)
    weight = model.get_submodule(path).weight
    assert isinstance(weight, nn.Parameter)
    with torch.no_grad():
        weight.copy_(weight.flip(0))
    return model


def divergence_of(
    exported: nn.Module, name: str, folder: Path, precision: str = "fp32"
) -> Divergence | None:
    """What is found when ``exported`` was written to a file in place of `network`."""
    target = registry.target(name)
    assert isinstance(target, Inspectable)
    path = folder / f"net{target.suffix}"
    with captured():
        scheme = target.schemes[precision]
        lowered, _ = lower(exported, (image(),), target, scheme)
        target.export(lowered, of_image(image()), path, scheme)
        array = image().numpy()
        if target.layout == "NHWC":
            array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
        tensors = list(target.activations(path, [array]))
    return first_divergence(network(), image(), tensors, LEAST_DB)


LEAST_DB = 30.0


# The layers before them that are in every file: what is fused into another layer is not.
BEFORE = {
    "block.expand": "relu",
    "block.project": "block.swish",
    "hidden": "flatten",
    "scores": "act",
}
CASES = [
    (name, layer)
    for name in tables.TARGETS
    for layer in (("block.project",) if name == "tflite" else BEFORE)
]


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_the_altered_layer_is_named(name: str, layer: str, tmp_path: Path) -> None:
    found = divergence_of(altered(network(), layer), name, tmp_path)
    assert found is not None
    assert (found.layer, found.last_agreeing) == (layer, BEFORE[layer])
    assert found.sqnr_db < 30
    kind = "Linear" if layer in ("hidden", "scores") else "Conv2d"
    assert found.describe() == f"first diverging layer: {layer} ({kind}) (after {BEFORE[layer]})"


@pytest.mark.parametrize("name", tables.TARGETS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_faithful_file_has_no_divergence(name: str, precision: str, tmp_path: Path) -> None:
    assert divergence_of(network(), name, tmp_path, precision) is None


@pytest.mark.parametrize("name", [name for name in tables.TARGETS if name != "tflite"])
def test_the_first_layer_can_diverge(name: str, tmp_path: Path) -> None:
    found = divergence_of(altered(network(), "stem"), name, tmp_path)
    assert found is not None
    assert (found.layer, found.last_agreeing) == ("stem", None)
    assert found.describe() == "first diverging layer: stem (Conv2d)"


def tensors_of(model: nn.Module) -> list[tuple[str, Any]]:
    return [(f"t{i}", out) for i, (_, _, out) in enumerate(layer_outputs(model, image()))]


def test_layers_are_listed_in_order_without_those_that_do_nothing() -> None:
    paths = [path for path, _, _ in layer_outputs(network(), image())]
    assert paths[:4] == ["stem", "norm", "relu", "block.expand"]
    assert paths[-5:] == ["pool", "flatten", "hidden", "act", "scores"]
    assert "dropout" not in paths
    assert not any(module._forward_hooks for module in network().modules())


def test_the_layout_and_the_order_of_tensors_do_not_matter() -> None:
    tensors = [
        (name, value.transpose(0, 2, 3, 1) if value.ndim == 4 else value)
        for name, value in reversed(tensors_of(network()))
    ]
    assert first_divergence(network(), image(), tensors, LEAST_DB) is None


def test_the_closest_tensor_is_named_with_its_agreement() -> None:
    tensors = dict(tensors_of(network()))
    last = list(tensors)[-1]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=tensors[last].shape) * np.sqrt((tensors[last] ** 2).mean())
    tensors[last] = tensors[last] + 0.1 * noise
    found = first_divergence(network(), image(), list(tensors.items()), LEAST_DB)
    assert found is not None
    assert (found.layer, found.closest, found.last_agreeing) == ("scores", last, "act")
    assert 10 < found.sqnr_db < 30


@pytest.mark.parametrize(("least_db", "layer"), [(30.0, None), (60.0, "block.project")])
def test_a_layer_that_misses_the_bound_is_found_however_close_it_is(
    least_db: float, layer: str | None
) -> None:
    rng = np.random.default_rng(0)
    outputs = layer_outputs(network(), image())
    start = [path for path, _, _ in outputs].index("block.project")
    tensors = [
        (path, value if i < start else value * (1 + 0.01 * rng.normal(size=value.shape)))
        for i, (path, _, value) in enumerate(outputs)
    ]  # 40 dB
    found = first_divergence(network(), image(), tensors, least_db)
    assert (None if found is None else found.layer) == layer


def test_a_file_that_shows_nothing_diverges_at_the_first_layer() -> None:
    found = first_divergence(network(), image(), [], LEAST_DB)
    assert found is not None
    assert (found.layer, found.closest, found.last_agreeing) == ("stem", None, None)


def test_values_that_are_not_finite_are_found_nowhere() -> None:
    outputs = layer_outputs(network(), image())
    start = [path for path, _, _ in outputs].index("block.project")
    tensors = [
        (path, np.full_like(value, np.nan) if i >= start else value)
        for i, (path, _, value) in enumerate(outputs)
    ]
    found = first_divergence(network(), image(), tensors, LEAST_DB)
    assert found is not None
    assert found.layer == "block.project"


def test_layers_are_judged_by_the_noise_of_all_images() -> None:
    def seen(*sqnrs: float | None) -> list[LayerAgreement]:
        return [
            LayerAgreement(path, "Conv2d", sqnr, None if sqnr is None else f"t{path}")
            for path, sqnr in zip("abc", sqnrs, strict=True)
        ]

    found = averaged([seen(40.0, None, 20.0), seen(20.0, 30.0, 20.0)])
    # One part in 10,000 and one in 100 are 50.5 in 10,000.
    assert [one.sqnr_db for one in found] == [pytest.approx(22.967, abs=1e-3), 30.0, 20.0]
    assert [one.closest for one in found] == ["ta", "tb", "tc"]
    assert worst_layers(found)[0] == "c"


def noisy(value: Any, db: float) -> Any:
    noise = np.random.default_rng(1).standard_normal(value.shape)
    return value + noise * np.sqrt((value**2).mean()) * 10 ** (-db / 20)


def test_channels_in_another_order_are_not_held_against_those_of_the_network() -> None:
    """As integers have them behind a lowering: far from the layer, and nothing wrong with them."""
    model = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.Sigmoid(), nn.Conv2d(12, 6, 1))
    values = {path: value for path, _, value in layer_outputs(model, image())}
    other = np.random.default_rng(0).permutation(12)
    tensors = [
        ("conv", noisy(values["0"], 25.0)),
        ("act", noisy(values["1"], 25.0)[:, other].transpose(0, 2, 3, 1)),
        ("scores", noisy(values["2"], 8.0)),
    ]
    first, act, last = layer_agreements(model, image(), tensors)
    assert first.sqnr_db == pytest.approx(25, abs=1)
    assert (act.sqnr_db, act.closest) == (None, None)
    assert last.sqnr_db == pytest.approx(8, abs=1)  # noise alone is no other order


def test_a_tensor_belongs_to_the_layer_that_is_closest_to_it() -> None:
    layers = [
        LayerAgreement("a", "Conv2d", 8.0, "x"),
        LayerAgreement("b", "ReLU", 27.0, "x"),
        LayerAgreement("c", "Conv2d", 24.0, "x"),
        LayerAgreement("d", "Conv2d", 9.0, "y"),
    ]
    assert [one.sqnr_db for one in comparable(layers, ())] == [None, 27.0, 24.0, 9.0]
