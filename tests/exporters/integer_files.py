"""Small networks as files of integers, run on the images that gave their ranges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from small_examples import singly
from torch import Tensor, nn

from edgekit.core import Scheme, Target, of_image
from edgekit.lowering import lower
from edgekit.native_output import captured

Scores = NDArray[Any]


def right_everywhere(scheme: Scheme, target: Target) -> Scheme:
    """With weights of seven bits, which every processor computes exactly, where they are a form."""
    return replace(scheme, forms={"weights": "7bit"}) if "weights" in target.forms else scheme


def scores_of(
    network: nn.Module, target: Target, scheme: Scheme, batch: Tensor, folder: Path, *, plain: bool
) -> tuple[Scores, Scores]:
    """What the network and its file give for each image (N, 3, H, W): both (N, classes).

    Args:
        plain: whether the network goes to the converter as it is, without edgekit's lowerings.
    """
    inputs = [one[None].numpy() for one in batch]
    if target.layout == "NHWC":
        inputs = [np.ascontiguousarray(one.transpose(0, 2, 3, 1)) for one in inputs]
    path = folder / f"net{target.suffix}"
    with torch.no_grad(), captured():
        exact = network(batch).numpy()
        made = network if plain else lower(network, (batch[:1],), target, scheme)[0]
        target.export(
            made, of_image(batch[:1]), path, scheme, singly(inputs if scheme.calibration else None)
        )
        runner = target.open(path, 1)
        found = np.concatenate([np.array(runner.run([one])[0]) for one in inputs])
    return exact, found
