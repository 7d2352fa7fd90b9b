"""How far outputs are from those of a network that is followed, for each task's objective."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgekit.models.source import open_model
from edgekit.tasks import task_of

SMALL = "mobilenetv3-small@0.25"


@pytest.mark.parametrize(
    "head", ["ssdlite", "ssdlite-softmax", "yolo", "yolov2", "lraspp", "embed"]
)
def test_equal_outputs_are_not_apart_and_others_are_pulled_together(head: str) -> None:
    model = open_model(f"{SMALL}+{head}", classes=3, resolution=64)
    objective = task_of(model).objective(model)
    with torch.no_grad():
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        outputs = model.module(images)
    parts = (outputs,) if isinstance(outputs, Tensor) else outputs
    rows = torch.cat([part.flatten(1) for part in parts], 1)
    nothing = float(objective.apart(rows, rows))
    assert nothing == pytest.approx(0, abs=1e-4)
    # Fresh networks give nearly the same for all images.
    others = (0.5 * rows).requires_grad_(True)
    apart = objective.apart(others, rows)
    assert float(apart) > nothing
    apart.backward()
    assert others.grad is not None
    assert torch.isfinite(others.grad).all()
    assert bool(others.grad.any())
