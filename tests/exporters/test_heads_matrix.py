"""Heads for pixels and embeddings through every target, in floats, each verified in its runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import tables
from edgekit.conversion import Exported, export
from edgekit.tasks.agreement import TOLERANCES

BACKBONE = "mobilenetv3-small@0.25"
SIZE = (40, 72)  # whose map of stride 16 is twice that of stride 32, less a row and a column
QUICK = {("unet", "tflite")}
CELLS = [
    pytest.param(head, target, marks=[] if (head, target) in QUICK else pytest.mark.slow)
    for head, entry in tables.HEADS.items()
    if entry.task in ("segment", "embed")
    for target in tables.TARGETS
]


@pytest.mark.parametrize(("head", "target"), CELLS)
def test_files_follow_networks_with_a_head(head: str, target: str, tmp_path: Path) -> None:
    (result,) = export(f"{BACKBONE}+{head}", [target], ["fp32"], out=tmp_path, resolution=SIZE)
    assert isinstance(result, Exported), result
    agreement = result.artifact.agreement
    assert agreement is not None
    assert agreement.passed
    assert agreement.sqnr_db >= TOLERANCES["fp32"]["sqnr_db"]
    assert result.artifact.task == tables.HEADS[head].task
    assert result.artifact.outputs[0].name in ("scores", "embedding")
