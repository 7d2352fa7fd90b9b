"""Real sets of images, where they are: in the folder that ``EDGEKIT_TEST_DATA`` names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core import IGNORE
from edgekit.data import open_source


@pytest.fixture
def real(request: pytest.FixtureRequest) -> Any:
    place = os.environ.get("EDGEKIT_TEST_DATA")
    path = Path(place or "none") / request.param
    if place is None or not path.is_dir():
        pytest.skip(f"EDGEKIT_TEST_DATA names no folder with {request.param}")
    return open_source(str(path))


@pytest.mark.parametrize("real", ["BCCD"], indirect=True)
def test_blood_cells_are_read(real: Any) -> None:
    """364 photographs; two of its 4,888 boxes have no width, or no height."""
    assert real.classes == ("Platelets", "RBC", "WBC")
    assert {s: real.size(s) for s in ("train", "validation", "test", "all")} == {
        "train": 205, "validation": 87, "test": 72, "all": 364,
    }  # fmt: skip
    found = [real.boxes("all", i) for i in range(real.size("all"))]
    assert {boxes.size for boxes in found} == {(480, 640)}
    counts = np.bincount(np.concatenate([boxes.classes for boxes in found]))
    assert counts.tolist() == [361, 4153, 372]
    assert real.remarks[0].startswith("2 boxes without area were left out")
    assert not np.concatenate([boxes.crowd for boxes in found]).any()


@pytest.mark.parametrize("real", ["camvid"], indirect=True)
def test_road_scenes_are_read(real: Any) -> None:
    assert real.classes[:3] == ("Sky", "Building", "Pole")
    assert len(real.classes) == 11
    assert [real.size(s) for s in real.splits] == [367, 101, 233, 701]
    mask = real.mask("test", 0)
    assert mask.shape == real.image("test", 0).shape[:2] == (240, 320)
    assert set(np.unique(mask)) <= {*range(11), IGNORE}
