"""Networks with a head, as they are opened to learn from a source."""

from __future__ import annotations

import pytest

from edgekit.data import open_source
from edgekit.errors import DataError
from edgekit.training.initial import open_own
from edgekit.training.options import TrainingOptions

SMALL = "mobilenetv3-small@0.25"


def test_a_head_tells_apart_what_the_source_says_to_its_task() -> None:
    """Scenes of ten digits, whose masks have the background besides."""
    source, options = open_source("digit-scenes"), TrainingOptions(resolution=64)
    pixels = open_own(f"{SMALL}+lraspp", options, source)
    boxes = open_own(f"{SMALL}+ssdlite", options, source)
    assert pixels.interface.outputs[0].shape == (1, 11, 64, 64)
    assert boxes.interface.outputs[1].shape[2] == 10
    assert (len(pixels.labels or ()), len(boxes.labels or ())) == (11, 10)
    with pytest.raises(DataError, match="needs masks"):
        open_own(f"{SMALL}+lraspp", options, open_source("digits"))
