"""Short trainings and scores in a search."""

from __future__ import annotations

import torch

from edgekit.data import open_source
from edgekit.data.preprocess import for_source
from edgekit.models import build, find_spec
from edgekit.search.learning import SELECTION, Learner


def test_scores_are_of_a_part_of_the_split_or_of_all() -> None:
    source = open_source("digits")
    torch.manual_seed(0)
    module = build(find_spec("mobilenetv1@0.25", classes=10, resolution=32))
    count = source.size(SELECTION)
    part = Learner(source, for_source(source, 32), 0, None, selection=7)
    every = Learner(source, for_source(source, 32), 0, None, selection=count)
    assert part.score(module, thorough=True) == every.score(module) != part.score(module)
    top1, _ = part.score(module)
    assert round(7 * top1, 9).is_integer()
    top1, _ = every.score(module)
    assert round(count * top1, 9).is_integer()
