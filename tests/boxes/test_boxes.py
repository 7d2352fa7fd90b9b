"""Boxes as arrays: laws that hold for all of them, and figures that can be worked out by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit import boxes
from edgekit.boxes.anchors import ssd_scales
from edgekit.core import Preprocessing
from edgekit.errors import DataError

Corners = NDArray[np.float32]


def random_boxes(rng: np.random.Generator, count: int, side: float = 100) -> Corners:
    start = rng.uniform(0, side * 0.8, (count, 2))
    sides = rng.uniform(1, side * 0.5, (count, 2))
    return np.concatenate([start, start + sides], axis=1).astype(np.float32)


@st.composite
def some_boxes(draw: st.DrawFn, most: int = 40) -> Corners:
    count = draw(st.integers(0, most))
    return random_boxes(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), count)


def test_overlaps_that_can_be_counted() -> None:
    a = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [5, 5, 5, 5]])
    found = boxes.iou(a, a)
    assert found[0, 1] == pytest.approx(4 / 28)
    assert found[0, 2] == 0
    assert found[2, 2] == 0  # no area: not a number elsewhere
    assert boxes.area(np.array([3.0, 3, 1, 5])) == 0  # the wrong way round
    assert boxes.iou(np.zeros((0, 4)), a).shape == (0, 3)


@given(some_boxes(), some_boxes(), st.floats(0.1, 10), st.floats(-50, 50))
def test_overlap_is_a_share_that_scale_and_place_do_not_change(
    a: Corners, b: Corners, scale: float, shift: float
) -> None:
    found = boxes.iou(a, b)
    assert found.shape == (len(a), len(b))
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()
    np.testing.assert_allclose(found, boxes.iou(b, a).T, atol=1e-6)
    np.testing.assert_allclose(np.diag(boxes.iou(a, a)), 1, atol=1e-5)
    moved = boxes.iou(a.astype(np.float64) * scale + shift, b.astype(np.float64) * scale + shift)
    np.testing.assert_allclose(moved, found, atol=1e-5)


def plain_nms(corners: Corners, scores: NDArray[np.float32], overlap: float) -> list[int]:
    """As the definition says it."""
    left, kept = list(np.argsort(-scores, kind="stable")), []
    shared = boxes.iou(corners, corners)
    while left:
        best = left.pop(0)
        kept.append(int(best))
        left = [i for i in left if shared[best, i] <= overlap]
    return kept


@given(some_boxes(), st.floats(0, 1), st.integers(0, 9))
def test_suppression_keeps_what_its_definition_keeps(
    corners: Corners, overlap: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    corners = corners.astype(np.float64)
    scores = rng.integers(0, 5, len(corners)) / 4  # many are equal
    kept = boxes.nms(corners, scores, overlap)
    assert kept.tolist() == plain_nms(corners, scores, overlap)
    among = boxes.iou(corners[kept], corners[kept])
    np.fill_diagonal(among, 0)
    assert (among <= overlap + 1e-9).all()


@given(some_boxes(), st.floats(0.1, 0.9), st.integers(0, 9))
def test_classes_do_not_suppress_each_other(corners: Corners, overlap: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = corners.astype(np.float64) - 30  # some are outside
    scores, classes = rng.random(len(corners)), rng.integers(0, 3, len(corners))
    kept = boxes.batched_nms(corners, scores, classes, overlap)
    each = [np.flatnonzero(classes == k) for k in range(3)]
    alone = [own[boxes.nms(corners[own], scores[own], overlap)] for own in each]
    assert sorted(kept) == sorted(np.concatenate(alone))
    assert (np.diff(scores[kept]) <= 0).all()


def test_many_boxes_are_taken_block_by_block() -> None:
    rng = np.random.default_rng(0)
    corners, scores = random_boxes(rng, 400).astype(np.float64), rng.random(400)
    classes = rng.integers(0, 2, 400)
    kept = boxes.batched_nms(corners, scores, classes, 0.4)
    each = [np.flatnonzero(classes == k) for k in range(2)]
    alone = [own[plain_nms(corners[own], scores[own], 0.4)] for own in each]
    assert sorted(kept) == sorted(np.concatenate(alone))
    assert boxes.batched_nms(corners, scores, classes, 0.4, most=50).tolist() == kept[:50].tolist()
    assert len(boxes.nms(np.zeros((0, 4)), np.zeros(0), 0.5)) == 0


def test_soft_suppression_lowers_scores() -> None:
    corners = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.9, 0.8, 0.7])
    gaussian = boxes.soft_nms(corners, scores)
    assert gaussian.kept.tolist() == [0, 2, 1]
    np.testing.assert_allclose(
        gaussian.scores, [0.9, 0.7, 0.8 * np.exp(-(0.8**2) / 0.5)], rtol=1e-6
    )
    linear = boxes.soft_nms(corners, scores, 0.3, gaussian=False)
    np.testing.assert_allclose(linear.scores, [0.9, 0.7, 0.8 * 0.2], rtol=1e-6)
    assert boxes.soft_nms(corners, scores, 0.3, gaussian=False, least=0.2).kept.tolist() == [0, 2]
    assert len(boxes.soft_nms(corners[:0], scores[:0]).kept) == 0


@given(some_boxes(), st.integers(0, 9))
def test_soft_suppression_never_raises_a_score(corners: Corners, seed: int) -> None:
    scores = np.random.default_rng(seed).random(len(corners))
    kept, found = boxes.soft_nms(corners, scores)
    assert len(set(kept)) == len(kept)
    assert (found <= scores[kept] + 1e-12).all()
    assert (np.diff(found) <= 1e-12).all()


def test_detections_are_few_and_the_best_first() -> None:
    rng = np.random.default_rng(0)
    corners, scores = random_boxes(rng, 900), rng.random((900, 4)).astype(np.float32)
    found = boxes.select(corners, scores, score_threshold=0.5, overlap=0.5, most=20)
    assert len(found.corners) == len(found.classes) == len(found.scores) == 20
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores[0] == scores.max()
    assert found.scores.min() >= 0.5
    none = boxes.select(corners, scores, score_threshold=1.1, overlap=0.5, most=20)
    assert none.corners.shape == (0, 4)
    assert none.scores.shape == none.classes.shape == (0,)


def test_a_box_may_be_of_two_classes() -> None:
    found = boxes.select(
        np.array([[0, 0, 9, 9]]), np.array([[0.6, 0.1, 0.9]]),
        score_threshold=0.5, overlap=0.5, most=5,
    )  # fmt: skip
    assert found.classes.tolist() == [2, 0]


@given(some_boxes(), st.integers(0, 9))
def test_coding_can_be_undone(corners: Corners, seed: int) -> None:
    anchors = random_boxes(np.random.default_rng(seed), len(corners))
    for variances in (boxes.VARIANCES, (1, 1, 1, 1)):
        deltas = boxes.encode(corners, anchors, variances)
        np.testing.assert_allclose(boxes.decode(deltas, anchors, variances), corners, atol=1e-3)
    np.testing.assert_allclose(boxes.encode(anchors, anchors), 0, atol=1e-6)


def test_wild_differences_give_finite_boxes() -> None:
    found = boxes.decode(np.full((3, 1, 4), 1e6), np.array([[0.0, 0, 10, 10]]))
    assert found.shape == (3, 1, 4)
    assert np.isfinite(found).all()


def test_boxes_are_cut_at_the_edges() -> None:
    found = boxes.clip(np.array([[-5.0, 3, 70, 90], [200, 200, 300, 300]]), (60, 50))
    assert found.tolist() == [[0, 3, 50, 60], [50, 60, 50, 60]]


def test_anchors_of_ssdlite_at_320() -> None:
    sides = [20, 10, 5, 3, 2, 1]
    found = boxes.ssd_anchors((320, 320), [(side, side) for side in sides])
    assert found.shape == (6 * sum(side**2 for side in sides), 4) == (3234, 4)
    assert found.dtype == np.float32
    wide = found[:6, 2:] - found[:6, :2]  # of the first cell
    np.testing.assert_allclose(wide[0], [64, 64], rtol=1e-6)  # scale 0.2
    np.testing.assert_allclose(wide[1], [320 * np.sqrt(0.2 * 0.35)] * 2, rtol=1e-6)
    np.testing.assert_allclose(wide[2], [64 * np.sqrt(2), 64 / np.sqrt(2)], rtol=1e-6)
    np.testing.assert_allclose(wide[3], wide[2][::-1], rtol=1e-6)
    np.testing.assert_allclose((found[:6, 2:] + found[:6, :2]) / 2, 8, atol=1e-4)
    assert np.allclose(found[-1], [160 - 0.5 * 320 * 0.95 / np.sqrt(3), 0, 160 + 0.5 * 320 * 0.95 / np.sqrt(3), 320])  # fmt: skip  # noqa: E501
    free = boxes.ssd_anchors((320, 320), [(1, 1)], [0.95], clip=False)
    assert free[:, 1].min() < 0


def test_anchors_of_the_published_ssd300() -> None:
    # arXiv:1512.02325, 3.1: conv4_3, conv10_2 and conv11_2 have 4 anchors a cell, others 6: 8732.
    sides = (38, 19, 10, 5, 3, 1)
    ratios = [(2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,)]
    scales = (0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075)
    steps = (8, 16, 32, 64, 100, 300)
    found = boxes.ssd_anchors((300, 300), [(s, s) for s in sides], scales, ratios, steps=steps)
    assert len(found) == 8732
    np.testing.assert_allclose((found[0, :2] + found[0, 2:]) / 2, 4, atol=1e-5)  # half a step
    assert ssd_scales(6, 0.2, 0.9)[1] == pytest.approx(0.34)
    assert ssd_scales(1) == (0.2,)


def test_images_that_are_no_squares_have_wide_anchors() -> None:
    found = boxes.ssd_anchors((100, 200), [(2, 4)], [0.5], [()])
    assert found.shape == (16, 4)
    assert (found[0] == [-25, 0, 75, 50]).all()


def test_points_of_a_grid_are_the_middles_of_cells() -> None:
    found = boxes.grid_points([(2, 3), (1, 1)], [8, 16])
    assert found.tolist() == [
        [4, 4, 8], [12, 4, 8], [20, 4, 8], [4, 12, 8], [12, 12, 8], [20, 12, 8], [8, 8, 16],
    ]  # fmt: skip


def test_anchors_are_found_that_fit() -> None:
    rng = np.random.default_rng(0)
    right = np.array([[10, 12], [30, 20], [80, 90]])
    sides = np.repeat(right, 50, axis=0) * rng.uniform(0.95, 1.05, (150, 2))
    found = boxes.kmeans_anchors(sides, 3)
    np.testing.assert_allclose(found, right, rtol=0.05)
    assert found.dtype == np.float32
    assert (boxes.kmeans_anchors(sides, 3) == found).all()


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(0, 99))
def test_more_anchors_never_fit_much_worse_and_lie_among_the_boxes(count: int, seed: int) -> None:
    sides = np.random.default_rng(seed).uniform(1, 50, (40, 2))
    found = boxes.kmeans_anchors(sides, count, seed=seed)
    assert found.shape == (count, 2)
    assert (np.diff(found.prod(axis=1)) >= 0).all()
    assert (found >= sides.min(axis=0) - 1e-4).all()
    assert (found <= sides.max(axis=0) + 1e-4).all()


FITS = {
    "stretch": Preprocessing(resize=None, crop=(48, 64), fit="stretch"),
    "stretched middle": Preprocessing(resize=(60, 80), crop=(48, 64), fit="stretch"),
    "crop": Preprocessing(resize=(60, 80), crop=(48, 64)),
    "as it is": Preprocessing(resize=None, crop=(48, 64)),
    "letterbox": Preprocessing(resize=None, crop=(48, 64), fit="letterbox"),
}


@pytest.mark.parametrize("fit", FITS)
@given(st.integers(64, 300), st.integers(64, 300), st.integers(0, 99))
def test_boxes_come_back_from_the_frame(fit: str, height: int, width: int, seed: int) -> None:
    corners = random_boxes(np.random.default_rng(seed), 5)
    there = boxes.to_frame(corners, (height, width), FITS[fit])
    back = boxes.to_image(there, (height, width), FITS[fit])
    np.testing.assert_allclose(back, corners, atol=1e-3)


@pytest.mark.parametrize("fit", FITS)
def test_boxes_are_where_the_pixels_went(fit: str) -> None:
    from edgekit.data.preprocess import resize_and_crop

    image = np.zeros((120, 160, 3), np.uint8)
    image[40:80, 60:100] = 255
    shown = resize_and_crop(image, FITS[fit])[..., 0] > 127
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    box = np.array([60.0, 40, 100, 80])
    found = boxes.clip(boxes.to_frame(box, (120, 160), FITS[fit]), (48, 64))
    np.testing.assert_allclose(found, seen, atol=0.51)


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(DataError, match="smaller than the crop"):
        boxes.to_frame(np.zeros((1, 4)), (20, 20), FITS["as it is"])


def test_numpy_is_all_that_it_needs() -> None:
    code = (
        "import sys, edgekit.boxes; "
        "print([m for m in ('PIL', 'torch', 'scipy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
