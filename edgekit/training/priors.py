"""Anchors that are found by a training itself: shapes of its own boxes, by k-means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.models.heads.yolo import YOLONetwork
from edgekit.training.images import SplitImages

MOST_BOXES = 20_000
"""Boxes that k-means looks at; of more a sample is drawn. Shapes of nine anchors need no more."""


PRIORS = "priors"
"""Name of the tensor of anchors."""


def fit_priors(
    network: nn.Module,
    images: SplitImages,
    seed: int,
    note: Callable[[str], None],
    *,
    learned: bool,
) -> bool:
    """Gives a network with anchors those that fit the training's boxes (arXiv:1612.08242).

    Anchors that came with weights of another training stay: its boxes are differences from them.

    Args:
        images: of the training, with boxes, loaded.
        note: is told which anchors there are.
        learned: whether the anchors came with weights, which may have kept the published ones.

    Returns:
        Whether the anchors are other ones now.
    """
    if not isinstance(network, YOLONetwork) or not network.row.priors:
        return False
    published = network.priors.new_tensor(network.row.priors)
    if learned or not torch.equal(network.priors, published):
        note("anchors are those that came with the weights")
        return False
    sides = _sides(images, seed)
    count = len(network.priors)
    if len(np.unique(sides, axis=0)) < count:
        note(f"anchors stay those that are published: the data have fewer than {count} shapes")
        return False
    network.fit(torch.from_numpy(sides), seed)
    height, width = network.size
    shapes = (network.priors.numpy() * (width, height)).round().astype(int).tolist()
    listed = ", ".join(f"{across}x{down}" for across, down in shapes)
    note(f"anchors that fit the boxes, by k-means, in pixels: {listed}")
    return True


def take_priors(network: nn.Module, state: Mapping[str, Any]) -> None:
    """Gives a network the anchors of a training that is resumed.

    Args:
        state: of the trained network; what does not fit is left to whoever loads the rest.
    """
    if isinstance(network, YOLONetwork):
        found = state.get(PRIORS)
        if isinstance(found, Tensor) and found.shape == network.priors.shape:
            network.load_state_dict({PRIORS: found}, strict=False)


def _sides(images: SplitImages, seed: int) -> Any:
    """Widths and heights of objects as shares of the image, float32 (n, 2)."""
    height, width = images.preprocessing.size
    found = []
    for rows in images.labels():
        own = rows[rows[:, 5] == 0]
        found.append((own[:, 2:4] - own[:, :2]) / (width, height))
    sides = np.concatenate(found).astype(np.float32) if found else np.zeros((0, 2), np.float32)
    sides = sides[(sides > 0).all(1)]
    if len(sides) > MOST_BOXES:
        rng = np.random.default_rng(seed)
        sides = sides[rng.choice(len(sides), MOST_BOXES, replace=False)]
    return sides
