"""Short trainings and scores in a search."""

from __future__ import annotations

import pytest
import torch
from dark_network import Dark

from edgekit.data import open_source
from edgekit.data.preprocess import for_source
from edgekit.errors import ModelError
from edgekit.models import build, find_spec
from edgekit.search.inputs import SELECTION, ImageInputs
from edgekit.search.learning import Learner
from edgekit.tasks.objectives import OF_LOGITS


def test_scores_are_of_a_part_of_the_split_or_of_all() -> None:
    source = open_source("digits")
    torch.manual_seed(0)
    module = build(find_spec("mobilenetv1@0.25", classes=10, resolution=32))
    count = source.size(SELECTION)
    inputs = ImageInputs(source, for_source(source, 32))
    part = Learner(inputs, OF_LOGITS, 0, None, selection=7)
    every = Learner(inputs, OF_LOGITS, 0, None, selection=count)
    assert part.score(module, thorough=True) == every.score(module) != part.score(module)
    top1, _ = part.score(module)
    assert round(7 * top1, 9).is_integer()
    top1, _ = every.score(module)
    assert round(count * top1, 9).is_integer()


def test_a_network_that_is_learned_from_and_gives_no_numbers_is_named() -> None:
    source = open_source("digits")
    learner = Learner(ImageInputs(source, for_source(source, 32)), OF_LOGITS, 0, Dark())
    net = build(find_spec("mobilenetv1@0.25", classes=10, resolution=32))
    told = "the network that is searched gives nan for image .* of split 'train', as it is aug"
    with pytest.raises(ModelError, match=told):
        learner.tune(net, 2, 1e-3)
