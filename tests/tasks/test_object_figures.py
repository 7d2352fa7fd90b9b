"""Figures and predictions of objects, masks and embeddings, against what can be worked out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from object_networks import SIDE, Cells, Likeness, Pixels, Scenes, scene

import edgekit
from edgekit.core import IGNORE, Interface, Preprocessing, TensorSpec
from edgekit.errors import DataError, ModelError, UsageError
from edgekit.inference import enrolled, open_classifier
from edgekit.tasks import Described, Frame
from edgekit.tasks.detect import Detect
from edgekit.tasks.detect_figures import _Curve
from edgekit.tasks.embed import Embed, Gallery
from edgekit.tasks.segment import Segment, in_image

Rows = NDArray[Any]
ANCHORS = 8
SQUARE = Preprocessing(resize=None, crop=64, fit="stretch")


def described(*outputs: TensorSpec, **parameters: Any) -> Described:
    image = TensorSpec("image", (1, 3, 64, 64), "float32", "NCHW")
    return Described("net", Interface((image,), outputs), ("a", "b"), parameters=parameters)


def detector(**parameters: Any) -> Detect:
    outputs = (TensorSpec("boxes", (1, ANCHORS, 4), "float32", ""),
               TensorSpec("scores", (1, ANCHORS, 2), "float32", ""))  # fmt: skip
    return Detect(described(*outputs, **parameters))


def row(*objects: tuple[list[float], int, float]) -> Rows:
    """Outputs for one image: corners, class and score of some objects."""
    corners, scores = np.zeros((ANCHORS, 4)), np.zeros((ANCHORS, 2))
    for i, (box, index, score) in enumerate(objects):
        corners[i], scores[i, index] = box, score
    return np.concatenate([corners.ravel(), scores.ravel()]).astype(np.float32)


def truth(*objects: tuple[list[float], int], crowd: int = 0, pad: int = 4) -> Rows:
    found = np.zeros((pad, 6), np.float32)
    found[:, 4] = -1
    for i, (box, index) in enumerate(objects):
        found[i] = (*box, index, i < crowd)
    return found


A, B, C = [0.0, 0, 10, 10], [20.0, 20, 40, 40], [50.0, 50, 60, 60]
SOURCE: Any = Scenes(classes=("a", "b"), mask_classes=("a", "b"))


def figures(rows: list[Rows], labels: list[Rows]) -> Any:
    metric = detector().metric(SOURCE)
    metric.update(np.stack(rows), np.stack(labels))
    return metric


def test_average_precision_that_can_be_counted() -> None:
    # Of two objects of a class the surest detection is wrong, the second one right.
    metric = figures([row((C, 0, 0.9), (A, 0, 0.8))], [truth((A, 0), (B, 0))])
    # Precision 1/2 up to a recall of 1/2: at 51 of 101 places.
    assert metric.figures()["map50"] == pytest.approx(0.5 * 51 / 101)
    assert metric.figures()["map"] == pytest.approx(0.5 * 51 / 101)
    first, second = metric.details().classes
    assert first.n == 2
    assert second.n == 0
    assert first.figures["recall"] == first.figures["precision"] == 0.5
    assert second.figures["ap"] is None
    counts = np.array(metric.details().confusion.counts)
    assert counts.tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_overlap_counts_up_to_095() -> None:
    # 8 of 10 columns: an overlap of 0.8, so right at 7 of 10 thresholds.
    metric = figures([row(([0.0, 0, 8, 10], 1, 0.9))], [truth((A, 1))])
    assert metric.figures()["map50"] == pytest.approx(1)
    assert metric.figures()["map"] == pytest.approx(0.7)


def test_detections_in_a_crowd_are_neither_right_nor_wrong() -> None:
    crowd = [20.0, 20, 60, 60]
    metric = figures(
        [row((B, 0, 0.9), (C, 0, 0.8), (A, 0, 0.5))], [truth((crowd, 0), (A, 0), crowd=1)]
    )
    assert metric.figures()["map"] == pytest.approx(1)
    assert metric.details().confusion.counts[2] == (0, 0, 0)


def test_another_class_is_a_confusion() -> None:
    metric = figures([row((A, 1, 0.9))], [truth((A, 0))])
    assert metric.figures() == {"map": 0, "map50": 0}
    assert metric.details().confusion.counts == ((0, 1, 0), (0, 0, 0), (0, 0, 0))


def test_images_without_objects_count_against_what_is_found_there() -> None:
    with_object, without = row((A, 0, 0.8)), row((A, 0, 0.9))
    assert figures([with_object], [truth((A, 0))]).figures()["map"] == pytest.approx(1)
    both = figures([with_object, without], [truth((A, 0)), truth()])
    assert both.figures()["map"] == pytest.approx(0.5)
    assert figures([without], [truth()]).figures() == {"map": None, "map50": None}
    assert figures([without], [truth()]).ci95() is None


def random_scene(rng: np.random.Generator) -> tuple[Rows, Rows]:
    corners = rng.uniform(0, 40, (ANCHORS, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 20, (ANCHORS, 2))], axis=1)
    scores = rng.uniform(0, 1, (ANCHORS, 2))  # equal ones would be in either order
    there = boxes[:3] + rng.uniform(-2, 2, (3, 4))
    label = truth(*((list(box), int(rng.integers(2))) for box in there), crowd=int(rng.integers(2)))
    return np.concatenate([boxes.ravel(), scores.ravel()]).astype(np.float32), label


def test_weighted_curves_are_those_of_pycocotools_and_of_repeated_images() -> None:
    rng = np.random.default_rng(0)
    rows, labels = map(list, zip(*(random_scene(rng) for _ in range(12)), strict=True))
    metric = figures(rows, labels)
    evaluated = metric._evaluation()
    weights = rng.integers(0, 4, 12)
    again = figures(
        [r for r, w in zip(rows, weights, strict=True) for _ in range(w)],
        [x for x, w in zip(labels, weights, strict=True) for _ in range(w)],
    )
    for index in range(2):
        curve = _Curve(evaluated, index, 12)
        one = curve.average_precision(np.ones(12, np.int64))
        assert one == pytest.approx(metric.details().classes[index].figures["ap"], abs=1e-6)
        many = curve.average_precision(weights)
        assert many == pytest.approx(again.details().classes[index].figures["ap"], abs=1e-6)


def test_boxes_come_back_in_pixels_of_the_image() -> None:
    found = detector().decode(row((B, 1, 0.9), (A, 0, 0.2))[None], "a", Frame((128, 32), SQUARE), 5)
    (one,) = found.boxes
    assert one.box == pytest.approx((10, 40, 20, 80))
    assert (one.name, one.index) == ("b", 1)
    whole = Preprocessing(resize=None, crop=64, fit="letterbox")
    found = detector().decode(row((B, 1, 0.9))[None], "a", Frame((64, 128), whole), 5)
    assert found.boxes[0].box == pytest.approx((40, 8, 80, 48))
    # What lies in the padding is no part of the image.
    found = detector().decode(
        row(([0.0, 0, 64, 15], 1, 0.9))[None], "a", Frame((64, 128), whole), 5
    )
    assert found.boxes == ()


def test_suppression_in_the_network_is_taken_as_it_is() -> None:
    outputs = (TensorSpec("boxes", (1, 3, 4), "float32", ""),
               TensorSpec("scores", (1, 3), "float32", ""),
               TensorSpec("classes", (1, 3), "float32", ""))  # fmt: skip
    task = Detect(described(*outputs))
    task.check_meaning()
    found = task.objects(np.array([*A, *B, *C, 0.4, 0.9, 0, 1, 0, 0], np.float32))
    assert found.classes.tolist() == [0, 1]
    np.testing.assert_allclose(found.corners, [B, A])


@pytest.mark.parametrize("name", ["score_threshold", "nms_iou"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), "high"])
def test_thresholds_outside_of_0_to_1_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ModelError, match=rf"parameter '{name}' of 'net' is .*from 0 to 1"):
        detector(**{name: value})
    with pytest.raises(ModelError, match=r"parameter 'distance' of 'net' is .*from 0 to 1"):
        Embed(described(TensorSpec("embedding", (1, 4), "float32", ""), distance=value))


def test_other_outputs_are_named() -> None:
    odd = described(TensorSpec("y", (1, 7), "float32", ""))
    for task, needs in ((Detect, "'boxes'"), (Segment, "'scores'"), (Embed, "'embedding'")):
        with pytest.raises(ModelError, match=rf"'net' gives 'y' \(1, 7\): .*{needs}"):
            task(odd).check_meaning()


def test_scores_at_the_threshold_may_fall_on_either_side() -> None:
    task, other = detector(), [row((A, 0, 0.301), (B, 1, 0.9)), row((B, 1, 0.9))]
    a, b = np.stack(other), np.stack(other[::-1])
    assert task.decided_alike(a, b).all()
    sure = np.stack([row((A, 0, 0.5), (B, 1, 0.9))] * 2)
    assert task.decided_alike(sure, a).tolist() == [True, False]
    moved = np.stack([row(([4.0, 4, 14, 14], 0, 0.5), (B, 1, 0.9))] * 2)
    assert not task.decided_alike(sure, moved).any()
    assert task.followed(sure, sure) == 1
    assert task.followed(sure, moved) == 0.5
    assert task.followed(np.zeros_like(a), np.zeros_like(a)) == 1


def test_mean_iou_that_can_be_counted() -> None:
    task = Segment(described(TensorSpec("scores", (1, 2, 2, 2), "float32", "")))
    metric = task.metric(SOURCE)
    said = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]]).reshape(1, -1)  # a a / b b
    metric.update(said, np.array([[[0, 1], [1, IGNORE]]], np.uint8))
    # Of a 1 of 2 pixels, of b 1 of 2; one pixel is ignored.
    assert metric.figures() == {"miou": pytest.approx(0.5), "pixel_accuracy": pytest.approx(2 / 3)}
    assert metric.details().confusion.counts == ((1, 0), (1, 1))
    metric = task.metric(SOURCE)
    metric.update(said, np.full((1, 2, 2), IGNORE, np.uint8))
    assert metric.figures() == {"miou": None, "pixel_accuracy": None}


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_masks_come_back_in_pixels_of_the_image(fit: str) -> None:
    from edgekit.data.preprocess import place_mask

    p = Preprocessing(resize=16 if fit == "crop" else None, crop=16, fit=fit)
    image = np.zeros((32, 48), np.uint8)
    image[8:24, 16:32] = 1
    back = in_image(place_mask(image, p, IGNORE), Frame((32, 48), p))
    assert back.shape == image.shape
    seen = back != IGNORE
    assert seen.all() == (fit != "crop")
    assert (back == image)[seen].mean() > 0.95


def test_neighbours_and_verification() -> None:
    task = Embed(described(TensorSpec("embedding", (1, 2), "float32", "")))
    angles = np.radians([0, 5, 90, 95, 180, 8])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) * 3
    metric = task.metric(SOURCE)
    metric.update(rows, np.array([0, 0, 1, 1, 1, 1]))
    found = metric.figures()
    # Nearest are 5, 8, 95, 90, 95 and 5 degrees.
    assert found["recall_at_1"] == pytest.approx(4 / 6)
    assert 0 <= found["accuracy"] <= 1
    assert 0 <= found["auc"] <= 1
    assert metric.details().values["threshold"] > 0
    near = task.among(
        task.decode(rows[1:2], "x", Frame((1, 1), SQUARE), 5),
        Gallery(("a.png", "b.png"), ("zero", "right"), task.embeddings(rows[[0, 2]]), 0.5),
    )
    assert (near.label, near.neighbours[0].image) == ("zero", "a.png")
    assert near.distance == pytest.approx(1 - np.cos(np.radians(5)), abs=1e-6)
    alone = task.metric(SOURCE)
    alone.update(rows[:2], np.array([0, 1]))
    assert alone.figures() == {"recall_at_1": None, "accuracy": None, "auc": None}


def test_a_threshold_of_the_network_is_the_one_that_verifies() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    rows = np.eye(5)[labels] + rng.normal(0, 0.02, (60, 5))
    for parameters, least, most in (({}, 0.99, 1), ({"distance": 0.5}, 0.99, 1),
                                    ({"distance": 0.0}, 0.5, 0.5)):  # fmt: skip
        task = Embed(described(TensorSpec("embedding", (1, 5), "float32", ""), **parameters))
        metric = task.metric(SOURCE)
        metric.update(rows, labels)
        assert least <= metric.figures()["accuracy"] <= most
    assert metric.figures()["auc"] == pytest.approx(1)


def test_images_are_shown_whole() -> None:
    from edgekit.data.preprocess import for_source

    source: Any = Scenes()
    shown = for_source(source, (16, 24), "detect")
    assert (shown.fit, shown.resize, shown.size) == ("stretch", None, (16, 24))
    assert for_source(source, 16).fit == "crop"
    for task, made in (("detect", Cells), ("segment", Pixels)):
        assert open_classifier(made(), task=task, size=(SIDE, SIDE)).preprocessing.fit == "stretch"


OPTIONS = {"mean": 0.0, "std": 1.0, "scale": 1 / 255, "resize": "none"}


@pytest.mark.parametrize(
    ("made", "labels", "headline"),
    [
        (Cells, ["red", "green"], "map"),
        (Pixels, ["dark", "red", "green"], "miou"),
    ],
)
def test_networks_that_are_right_have_all_of_the_figure(
    made: Any, labels: list[str], headline: str
) -> None:
    task = {"map": "detect", "miou": "segment"}[headline]
    source: Any = Scenes()
    found = edgekit.evaluate(made(), source, task=task, labels=labels, size=(SIDE, SIDE), **OPTIONS)
    assert found.headline.name == headline
    assert found.headline.value == pytest.approx(1)
    assert found.n == 5
    assert [one.label for one in found.details.classes] == labels
    empty: Any = Scenes(seen=[{}, {}])
    if task == "detect":
        with pytest.raises(DataError, match="of 2 images none has a box that counts"):
            edgekit.evaluate(made(), empty, task=task, labels=labels, size=(SIDE, SIDE), **OPTIONS)


def test_settings_are_those_of_the_task(tmp_path: Any) -> None:
    opened = open_classifier(Cells(), task="detect", size=(SIDE, SIDE))
    with pytest.raises(UsageError, match="--gallery goes with networks of the task embed"):
        enrolled(opened, tmp_path)
    for settings, message in (
        ({"score_threshold": 2}, "--score-threshold 2: expected 0 to 1"),
        ({"distance": 0.5}, "--distance goes with networks of the task embed"),
        ({"size": 0.5}, "size=0.5: expected one of score_threshold"),
    ):
        with pytest.raises(UsageError, match=message):
            open_classifier(Cells(), task="detect", size=(SIDE, SIDE), settings=settings)
    strict = open_classifier(
        Cells(), task="detect", size=(SIDE, SIDE), settings={"score_threshold": 1}
    )
    dark = strict.rows(np.zeros((1, 3, SIDE, SIDE), np.float32))
    found: Any = strict.task.decode(dark, "a", Frame((SIDE, SIDE), SQUARE), 1)
    assert found.boxes == ()


def test_galleries_name_classes_by_folder_or_file(tmp_path: Any) -> None:
    from PIL import Image

    for name in ("anna.png", "anna-2.png", "bert 03.png", "7.png", "carl/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(scene({0: 0})).save(tmp_path / name)
    opened = open_classifier(Likeness(), task="embed", size=(SIDE, SIDE))
    found = enrolled(opened, tmp_path, 0.3)
    assert sorted(found.labels) == ["7", "anna", "anna", "bert", "carl"]
    assert found.distance == 0.3
    assert found.embeddings.shape == (5, 6)
    near: Any = edgekit.predict(opened, scene({0: 0}), gallery=tmp_path)
    assert near.label in found.labels
    assert near.distance == pytest.approx(0, abs=1e-6)
    nothing: Any = edgekit.predict(
        Cells(), scene({}), task="detect", size=(SIDE, SIDE),
        settings={"score_threshold": 0.5},
    )  # fmt: skip
    assert nothing.boxes == ()
