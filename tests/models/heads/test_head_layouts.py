"""torchvision's networks with a head, by the names and shapes that they have; see `heads.py` of the
benchmarks for their outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from library_layouts import state_of

from edgekit.errors import CheckpointError, PassedOverWarning
from edgekit.models import find_spec
from edgekit.models.composed import compose
from edgekit.models.heads.layouts import AUXILIARY, LAYOUTS, translated
from edgekit.models.source import open_model

CLASSES = 7  # of the networks that the layouts are of
NETWORKS = (
    ("torchvision-lraspp_mobilenet_v3_large", "mobilenetv3-large", "lraspp"),
    ("torchvision-deeplabv3_mobilenet_v3_large", "mobilenetv3-large", "deeplabv3-wide"),
    ("torchvision-ssdlite_mobilenet_v3_large", "mobilenetv3-large-reduced", "ssdlite-softmax"),
    ("torchvision-fasterrcnn_mobilenet_v3_large", "mobilenetv3-large", "fasterrcnn-fpn"),
)


def test_each_layout_is_tested() -> None:
    assert {head for _, _, head in NETWORKS} == set(LAYOUTS)


@pytest.mark.parametrize(("file", "backbone", "head"), NETWORKS)
def test_every_tensor_has_one_place(file: str, backbone: str, head: str) -> None:
    state = state_of(file)
    tensors, classes, left = translated(head, find_spec(backbone), state, file)
    ours = compose(f"{backbone}+{head}", CLASSES, 64).state_dict()
    assert classes == CLASSES
    assert {name: v.shape for name, v in tensors.items()} == {n: v.shape for n, v in ours.items()}
    assert all(name.startswith(AUXILIARY) for name in left)
    used = {float(v.flatten()[0]) for v in tensors.values()}
    assert len(used) == len(state) - len(left)
    counters = {key: v for key, v in state.items() if not key.endswith("num_batches_tracked")}
    assert set(translated(head, find_spec(backbone), counters, file)[0]) == set(ours)
    # Names of our own, and of anything else, are left alone.
    for own in (ours, {"conv.weight": torch.zeros(1)}):
        assert translated(head, find_spec(backbone), own, file)[0] is own


def test_names_of_earlier_versions_and_another_epsilon() -> None:
    file, backbone, head = NETWORKS[-1]
    state, spec = state_of(file), find_spec(backbone)
    today = translated(head, spec, state, file)[0]
    older = {new: old for old, new in LAYOUTS[head].older.items()}
    assert len(older) == 5
    published = {
        f"{older.get(layer, layer)}.{kind}": value
        for name, value in state.items()
        for layer, _, kind in [name.rpartition(".")]
    }
    assert published.keys() != state.keys()
    found = translated(head, spec, published, file)[0]
    assert all(torch.equal(found[name], value) for name, value in today.items())
    theirs, ours = torch.nn.BatchNorm2d(16, eps=1e-5), torch.nn.BatchNorm2d(16, eps=spec.norm_eps)
    state = {key: value.clone() for key, value in state.items()}
    norm = {key: 1e-4 * torch.rand(16) for key in ("weight", "bias", "running_mean", "running_var")}
    state |= {f"backbone.body.0.1.{key}": value for key, value in norm.items()}
    theirs.load_state_dict(norm, strict=False)
    tensors = translated(head, spec, state, file)[0]
    ours.load_state_dict({key: tensors[f"backbone.stem.norm.{key}"] for key in norm}, strict=False)
    images = torch.randn(2, 16, 3, 3)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_a_file_is_opened_under_the_name_of_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "weights.pth"
    reference = compose("mobilenetv3-large+deeplabv3-wide", CLASSES, 64)
    names = dict(LAYOUTS["deeplabv3-wide"].names(find_spec("mobilenetv3-large")))
    theirs = {
        f"{names[layer]}.{kind}": value
        for name, value in reference.state_dict().items()
        for layer, _, kind in [name.rpartition(".")]
    }
    torch.save({**theirs, f"{AUXILIARY}4.bias": torch.zeros(CLASSES)}, weights)
    with pytest.warns(PassedOverWarning, match="1 tensors of a second head"):
        opened = open_model("mobilenetv3-large+deeplabv3-wide", weights=weights, resolution=64)
    assert opened.trained
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(opened.module(image), reference(image))
    with pytest.raises(CheckpointError, match="'mobilenetv3-large\\+deeplabv3-wide'"):
        open_model("mobilenetv3-large+deeplabv3", weights=weights, resolution=64)
    with pytest.raises(CheckpointError, match="does not fit the network"):
        open_model("mobilenetv3-large+lraspp", weights=weights, resolution=64)
