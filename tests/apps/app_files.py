"""Files that apps are made of, and what apps say of images, for every platform."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from damage.contracts import sign

from edgekit.contract import contract_path


class FileOf(Protocol):
    """What the fixture ``file_of`` gives."""

    def __call__(self, target: str, kind: str, baked: str = "int8") -> Path:
        """A file of a target. Read-only.

        Args:
            kind: fp32; float or int8 for one of integers, by the type of its inputs and outputs;
                or baked for one that takes bytes of pixels.
            baked: precision of such a one.
        """


def edited(path: Path, **values: object) -> None:
    """Changes a contract, and makes it whole again."""
    sign(path, {**json.loads(contract_path(path).read_text()), **values})


def check_labels(
    found: Sequence[Sequence[Mapping[str, Any]]],
    predictions: Sequence[Mapping[str, Any]],
    within: float = 1e-4,
) -> None:
    """Checks what an app says of images against what ``predict`` does, probabilities included."""
    for mine, known in zip(found, predictions, strict=True):
        for one, other in zip(mine, known["labels"], strict=True):
            assert (one["index"], one["label"]) == (other["index"], other["label"])
            assert abs(one["probability"] - other["probability"]) < within
