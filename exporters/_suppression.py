"""What all targets with non-maximum suppression share."""

from __future__ import annotations

from typing import Any

import numpy as np

PREFIX = "suppression/"
"""Of the names of what is added to a file, and of the outputs that were there before."""

LEAST = float(np.finfo(np.float32).tiny)
"""Score of an object at least, whatever the threshold is: places without any have none."""

THIN = 1e-9
"""Pixels of a side below which a box has no area; it is put where `far` says then."""


def far(count: int) -> Any:
    """Boxes of a pixel each, far from any image and from each other, (count, 4), float32.

    They stand for boxes without area, which overlap nothing, also where their edges are the wrong
    way round.
    """
    places = 1e6 + 4 * np.arange(count, dtype=np.float32)[:, None]
    return np.concatenate([places, places, places + 1, places + 1], 1)
