"""Files of detectors with non-maximum suppression inside: what is compared of them, and how.

Tensors in front of the suppression are compared with PyTorch's as those of any file, by the same
file without it. The objects of the whole file are then held against those that NumPy finds in these
tensors.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit import boxes
from edgekit.boxes import Selected
from edgekit.core import BARE, Artifact, Suppressing, Suppression, Target
from edgekit.devices.device import HOST, Device
from edgekit.devices.runner import open_file
from edgekit.errors import ContractError, EdgekitError
from edgekit.native_output import captured
from edgekit.verification.reference import inputs_of

if TYPE_CHECKING:
    from edgekit.tasks import Rows
    from edgekit.verification.reference import Reference

LEAST_ALIKE = 0.99
"""Share of the images with the same objects, at least. Where an overlap is the threshold but for
rounding, or two scores are equal but for it, a runtime may decide otherwise."""

NEAR = 1e-3
"""Pixels, and points of a score, by which objects may differ that are the same: the runtime may
compute the same layers with other kernels where something stands behind them."""

SLACK = 1e-5
"""Of an overlap, by which the threshold may be meant otherwise."""


@dataclass(frozen=True, slots=True)
class SameObjects:
    """The objects that a file gives, against those that NumPy finds in what is suppressed.

    Attributes:
        objects: that NumPy finds, in all images.
        match: share of the images with the same ones in the same order.
    """

    images: int
    objects: int
    match: float

    @property
    def passed(self) -> bool:
        """Whether the file suppresses as it should."""
        return self.match >= LEAST_ALIKE

    @property
    def failure(self) -> str:
        """Why not, for a message; empty where it does."""
        if self.passed:
            return ""
        return (
            f"its suppression leaves other objects than NumPy's in {1 - self.match:.1%} of "
            f"{self.images} images (expected at most {1 - LEAST_ALIKE:.0%})"
        )

    def describe(self) -> str:
        """One sentence."""
        if not self.objects:
            return (
                f"Suppression in the file could not be compared: none of {self.images} images has "
                f"an object; give others with --data, or a lower --score-threshold."
            )
        return (
            f"Suppression in the file leaves the same objects as NumPy's in {self.match:.1%} of "
            f"{self.images} images, {self.objects:,} objects."
        )


@contextmanager
def bare_form(path: Path, contract: Artifact, target: Target) -> Iterator[tuple[Path, Artifact]]:
    """A file without its suppression, as long as the block lasts, and its contract.

    Files that have none are given back as they are. What the block raises names the file itself.

    Raises:
        ContractError: the file has none where its contract says so.
    """
    if contract.suppression is None:
        yield path, contract
        return
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / path.name
        try:
            if not isinstance(target, Suppressing):
                raise LookupError
            target.unsuppress(path, bare)
        except LookupError as error:
            raise ContractError(
                f"{path}: the contract says that suppression is part of the file, which has none: "
                f"export it again"
            ) from error
        with captured():
            _, outputs = target.open(bare).tensors()
        named = tuple(dataclasses.replace(one, layout="", role=one.name) for one in outputs)
        try:
            yield bare, dataclasses.replace(contract, outputs=named, suppression=None)
        except EdgekitError as error:
            error.args = tuple(str(part).replace(str(bare), str(path)) for part in error.args)
            raise


def same_objects(
    reference: Reference,
    rows: Rows,
    target: Target,
    path: Path,
    about: Suppression,
    device: Device = HOST,
) -> SameObjects:
    """Runs a file with suppression on the reference's images.

    Args:
        rows: what the same file without it gives for them.
        device: that it runs on.
    """
    found = _objects(reference, target, path, device)
    wanted = [_selected(reference, row, about) for row in rows]
    alike = 0
    for row, one, own in zip(rows, wanted, found, strict=True):
        alike += _same(one, own) or any(
            _same(_selected(reference, row, about, shift), own) for shift in (-SLACK, SLACK)
        )
    count = len(rows)
    return SameObjects(count, sum(len(one.scores) for one in wanted), alike / count)


def _objects(reference: Reference, target: Target, path: Path, device: Device) -> list[Selected]:
    model, found = reference.model, []
    with captured():
        runner = open_file(target, path, None, device=device)
        given, _ = runner.tensors()
        for i in range(len(reference.images)):
            inputs = inputs_of(model, reference.images[i : i + 1], target.layout, given)
            corners, scores, classes, count = (np.asarray(x) for x in runner.run(inputs))
            there = slice(int(count.item()))
            indices = classes[0, there].astype(np.intp)
            found.append(Selected(corners[0, there], indices, scores[0, there]))
    return found


def _selected(
    reference: Reference, row: np.ndarray, about: Suppression, shift: float = 0.0
) -> Selected:
    columns = reference.model.interface.columns
    corners, scores = (row[columns[name]] for name in BARE)
    found = boxes.select(
        corners.reshape(-1, 4),
        scores.reshape(-1, about.classes),
        score_threshold=about.score_threshold,
        overlap=about.nms_iou + shift,
        most=about.max_detections,
        candidates=about.candidates,
    )
    there = found.scores > 0
    return Selected(*(column[there] for column in found))


def _same(a: Selected, b: Selected) -> bool:
    """Whether two images have the same objects, in the same order but for rounding."""
    if len(a.scores) != len(b.scores):
        return False
    return bool(np.allclose(a.scores, b.scores, rtol=0, atol=NEAR)) and all(
        _has(b, place, a) for place in range(len(a.scores))
    )


def _has(objects: Selected, place: int, others: Sequence[np.ndarray]) -> bool:
    """Whether an object stands at a place, or at another one of nearly the same score."""
    corners, classes, scores = others
    near = np.abs(objects.scores - scores[place]) <= NEAR
    same = near & (objects.classes == classes[place])
    apart = np.abs(objects.corners - corners[place]).max(axis=1, initial=0.0)
    return bool((same & (apart <= NEAR * max(1.0, float(np.abs(corners[place]).max())))).any())
