"""Which of many boxes around one object stay: non-maximum suppression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgekit.boxes.overlap import area, iou, shared_area

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_CANDIDATES = 400
"""Boxes of an image that go into suppression, those with the highest scores; torchvision's SSDLite
takes 300 of each class."""

LEAST_SCORE = 1e-3
"""Of `soft_nms`: boxes whose score fell below it are gone, as in the published code."""

_BLOCK = 128
"""Boxes whose overlaps are found at once: what one matrix of them takes grows with its square."""


def nms(
    corners: NDArray[Any], scores: NDArray[Any], overlap: float, most: int | None = None
) -> NDArray[np.intp]:
    """Hard suppression: a box goes where it overlaps a kept one of a higher score by more.

    Args:
        corners: (n, 4).
        scores: (n,); of equal ones the first counts as higher.
        overlap: intersection over union above which a box goes, from 0 to 1.
        most: boxes that are looked for; all if ``None``.

    Returns:
        Indices of those that stay, the highest score first.
    """
    return batched_nms(corners, scores, None, overlap, most)


def batched_nms(
    corners: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any] | None,
    overlap: float,
    most: int | None = None,
) -> NDArray[np.intp]:
    """The same for each class by itself.

    Args:
        corners: (n, 4).
        scores: (n,).
        classes: (n,); ``None`` where all are of one.
        overlap: see `nms`.
        most: boxes of all classes together that are looked for; all if ``None``.

    Returns:
        As `nms`, of all classes together.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = corners[order]
    if ranked.dtype.kind != "f":
        ranked = ranked.astype(np.float64)
    of = None if classes is None else classes[order]
    kept = np.zeros(0, np.intp)
    for start in range(0, len(order), _BLOCK):
        block = np.arange(start, min(len(order), start + _BLOCK))
        if len(kept):
            block = block[~_suppressed(ranked, of, kept, block, overlap).any(axis=0)]
        # Rows of bits as whole numbers of Python: the loop touches no array.
        found = _suppressed(ranked, of, block, block, overlap)
        bits = np.packbits(found, axis=1, bitorder="little")
        gone, stays = 0, []
        for i, row in enumerate(bits):
            if not gone >> i & 1:
                stays.append(i)
                gone |= int.from_bytes(row.tobytes(), "little")
        kept = np.concatenate([kept, block[stays]])
        if most is not None and len(kept) >= most:
            break
    return order[kept[:most]]


def _suppressed(
    corners: NDArray[Any],
    classes: NDArray[Any] | None,
    a: NDArray[np.intp],
    b: NDArray[np.intp],
    overlap: float,
) -> NDArray[np.bool_]:
    """Whether boxes ``a`` suppress boxes ``b``, (a, b); no division, which would take longest."""
    first, second = corners[a], corners[b]
    shared = shared_area(first, second)
    union = area(first)[:, None] + area(second)[None, :]
    union -= shared
    union *= corners.dtype.type(overlap)
    found: NDArray[np.bool_] = shared > union
    if classes is not None:
        found &= classes[a][:, None] == classes[b][None, :]
    return found


class Softened(NamedTuple):
    """What `soft_nms` leaves.

    Attributes:
        kept: indices of boxes, in the order in which they were taken.
        scores: of the same, lowered.
    """

    kept: NDArray[np.intp]
    scores: NDArray[np.float64]


def soft_nms(
    corners: NDArray[Any],
    scores: NDArray[Any],
    overlap: float = 0.3,
    *,
    sigma: float = 0.5,
    gaussian: bool = True,
    least: float = LEAST_SCORE,
) -> Softened:
    """Soft suppression (arXiv:1704.04503): a box that overlaps a kept one gets a lower score.

    Args:
        corners: (n, 4).
        scores: (n,), from 0 to 1.
        overlap: of the linear form, from where on scores become ``score * (1 - iou)``.
        sigma: of the Gaussian form, ``score * exp(-iou**2 / sigma)``; its values are the paper's.
        gaussian: which form.
        least: boxes of a lower score are left out.
    """
    left, now = np.arange(len(scores)), np.array(scores, np.float64)
    kept, found = [], []
    while len(left):
        first = int(now[left].argmax())
        best = left[first]
        if now[best] < least:
            break
        kept.append(best)
        found.append(now[best])
        left = np.delete(left, first)
        shared = iou(corners[best, None], corners[left])[0].astype(np.float64)
        if gaussian:
            now[left] *= np.exp(-(shared**2) / sigma)
        else:
            now[left] *= np.where(shared > overlap, 1 - shared, 1.0)
        left = left[now[left] >= least]
    return Softened(np.array(kept, np.intp), np.array(found, np.float64))


class Selected(NamedTuple):
    """The boxes of one image that stay, the highest score first.

    Attributes:
        corners: (n, 4).
        classes: (n,).
        scores: (n,).
    """

    corners: NDArray[Any]
    classes: NDArray[np.intp]
    scores: NDArray[Any]


def select(
    corners: NDArray[Any],
    scores: NDArray[Any],
    *,
    score_threshold: float,
    overlap: float,
    most: int,
    candidates: int = MOST_CANDIDATES,
) -> Selected:
    """From the raw boxes of a network for one image to its detections.

    Args:
        corners: (a, 4), a box for each anchor or cell.
        scores: (a, classes), from 0 to 1; a box may be of several classes.
        score_threshold: least score.
        overlap: see `nms`.
        most: detections of one image at most.
        candidates: pairs of box and class that are looked at, those of the highest scores.
    """
    flat = scores.ravel()
    found = np.flatnonzero(flat >= score_threshold)
    if len(found) > candidates:
        # Of equal scores the first counts as higher, also where not all of them go in.
        values = flat[found]
        last = np.partition(values, -candidates)[-candidates]
        equal = np.flatnonzero(values == last)
        more = int((values > last).sum()) + len(equal) - candidates
        stays = values >= last
        stays[equal[len(equal) - more :]] = False
        found = found[stays]
    anchors, classes = np.divmod(found, max(1, scores.shape[1]))
    own, chosen = flat[found], corners[anchors]
    kept = batched_nms(chosen, own, classes, overlap, most)
    return Selected(chosen[kept], classes[kept], own[kept])
