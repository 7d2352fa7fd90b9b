"""Scales of weights whose bias fits: what quantizers of every target have to keep to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.core import Array

MOST = 2**30
"""Steps that a bias may take of the 2**31 that an int32 has; products are added to it, and 33,000
of 8 bits fit into the rest."""


def smallest_scales(bias: Array, input_scale: float, most: int = MOST) -> Array:
    """What the scale of each channel's weights has to be at least.

    A bias is counted in steps of input scale times weight scale. Where the weights of a channel are
    nearly zero so is that step, and the bias saturates.

    Args:
        bias: in float, one for each channel.
        most: steps that a bias may take.
    """
    return np.asarray(np.abs(bias.astype(np.float64)) / (float(input_scale) * most))
