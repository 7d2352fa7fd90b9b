"""Channels of backbones with heads can be taken out, those of heads as well."""

from __future__ import annotations

import pytest
import torch

from edgekit.models.adapted import _whole, build
from edgekit.models.size import without_values
from edgekit.models.source import open_model
from edgekit.search.discovery import discovered, makeable
from edgekit.search.groups import checked
from edgekit.search.inputs import Running

pytest.importorskip("torch_pruning")


@pytest.mark.parametrize("head", ["ssdlite", "yolo"])
def test_groups_of_a_detector_are_found_and_can_be_taken_out(head: str) -> None:
    model = open_model(f"mobilenetv3-small@0.35+{head}", resolution=64, classes=3)
    found = discovered(makeable(model))
    assert found.spec is not None
    inputs = torch.from_numpy(model.noise_rows(2))
    groups = checked(found.spec, found.module, inputs, Running(model.interface))
    free = [group for group in groups if group.frozen is None]
    assert len(free) > 20
    assert any(not layer.startswith("backbone.") for g in free for layer in g.layers)
    assert not [group.frozen for group in groups if group.frozen]


def test_a_network_that_is_laid_out_first_has_weights_later() -> None:
    model = open_model("mobilenetv3-small@0.35+ssdlite", resolution=64, classes=3)
    spec = discovered(makeable(model)).spec
    assert spec is not None
    _whole.cache_clear()
    with without_values():
        build(spec)
    weights = build(spec).state_dict()
    again = open_model("mobilenetv3-small@0.35+ssdlite", resolution=64, classes=3)
    scales = [float(v.std()) for k, v in weights.items() if k.endswith("weight") and v.ndim == 4]
    assert 0 < min(scales) < max(scales) < 10
    assert weights.keys() == again.module.state_dict().keys()
