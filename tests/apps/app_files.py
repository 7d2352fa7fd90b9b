"""Files that apps are made of, and what apps say of images, for every platform."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from damage.contracts import sign
from object_networks import UNCHANGED
from small_artifacts import once

from edgekit import registry
from edgekit.contract import contract_path

NETWORKS = {"detect": "Cells", "segment": "Pixels", "embed": "Likeness"}
"""Of `object_networks`, by task; they need no training."""

_CLASSES = {"detect": ("red", "green"), "segment": ("dark", "red", "green")}


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


class TaskFiles:
    """Exported files by task and target, which are made when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, task: str, target: str) -> Path:
        from edgekit.cli import run

        folder = self._folder / f"{task}-{target}"
        with once(folder) as mine:
            if mine:
                staged = folder.with_suffix(".part")
                staged.mkdir()
                words = [f"object_networks:{NETWORKS[task]}", "--task", task, *UNCHANGED]
                if task in _CLASSES:
                    names = staged / "names.txt"
                    names.write_text("\n".join(_CLASSES[task]), encoding="utf-8")
                    words += ["--labels", str(names)]
                out = ["-t", target, "--resolution", "32", "-o", str(staged)]
                assert run(["export", *words, *out]) == 0
                staged.rename(folder)
        (path,) = folder.glob(f"*{registry.target(target).suffix}")
        return path
