from __future__ import annotations

import numpy as np
import torch

from edgekit.models.source import open_model
from edgekit.verification.reference import make_reference


def test_chance_before_an_export_does_not_change_it() -> None:
    """EfficientNet leaves out blocks by chance while its statistics are taken."""
    scores = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.random.get_rng_state()
        scores.append(make_reference(open_model("efficientnet-b0@0.35", resolution=32)).scores)
        assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(*scores)


def test_a_fresh_backbone_with_a_head_is_as_fit_for_rounding_as_alone() -> None:
    model = make_reference(open_model("mobilenetv3-small@0.25+embed", resolution=32)).model
    norm = model.module.get_submodule("backbone.blocks.3.expand.norm")
    assert bool((norm.bias == 1).all())
    assert not bool((norm.running_mean == 0).any())
