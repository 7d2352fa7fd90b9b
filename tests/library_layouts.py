"""State dicts of other libraries' networks, by names and shapes alone.

``models/layouts/LIBRARY-NETWORK.txt`` lists the layers of a network in the order of its state dict:
path, kind (``norm``, ``plain`` without and ``biased`` with a bias) and shape of the weight.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

LAYOUTS = Path(__file__).parent / "models" / "layouts"
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def state_of(file: str) -> dict[str, Tensor]:
    """The state dict of a library's network, every tensor full of a number of its own."""
    shapes: dict[str, tuple[int, ...]] = {}
    for line in (LAYOUTS / f"{file}.txt").read_text().splitlines()[1:]:
        path, kind, numbers = line.split()
        shape = tuple(map(int, numbers.split("x")))
        if kind == "norm":
            shapes |= {f"{path}.{part}": shape for part in NORM[:-1]}
            shapes[f"{path}.{NORM[-1]}"] = ()
        else:
            shapes[f"{path}.weight"] = shape
            if kind == "biased":
                shapes[f"{path}.bias"] = shape[:1]
    return {
        key: torch.tensor(float(number)).expand(shape)
        for number, (key, shape) in enumerate(shapes.items())
    }
