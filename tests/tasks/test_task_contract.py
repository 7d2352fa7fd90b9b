"""What every task of the registry has to keep."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit import registry, tables
from edgekit.core import Interface, Preprocessing, TensorSpec, from_json, to_json
from edgekit.errors import DataError, ModelError, UnknownNameError, UsageError
from edgekit.models.heads.coding import AnchorCoding
from edgekit.models.model import Model
from edgekit.tasks import Frame, Task, task_of
from edgekit.tasks.agreement import TOLERANCES, failures
from edgekit.tasks.objectives import Objective

N = 40
Rows = NDArray[Any]


def classifier() -> Model:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 6)).eval()
    return Model("net", "net", module, 8, 6, scores="logits")


def of_tensors() -> Model:
    outputs = (
        TensorSpec("boxes", (1, 4, 2), "float32", ""),
        TensorSpec("classes", (1, 3), "int64", ""),
        TensorSpec("places", (2,), "float32", ""),
    )
    image = TensorSpec("x", (1, 3, 8, 8), "float32", "NCHW")
    signature = Interface((image,), outputs)
    return Model("net", "net", nn.Identity(), 0, 0, task="tensors", signature=signature)


def with_outputs(task: str, *outputs: TensorSpec) -> Model:
    image = TensorSpec("image", (1, 3, 40, 60), "float32", "NCHW")
    signature = Interface((image,), outputs)
    return Model("net", "net", nn.Identity(), 0, 0, task=task, signature=signature)


def detector() -> Model:
    boxes, scores = (TensorSpec(name, (1, 6, count), "float32", "")
                     for name, count in (("boxes", 4), ("scores", 3)))  # fmt: skip
    model = with_outputs("detect", boxes, scores)
    anchors = np.array([[x + 9, y + 9, 18, 18] for y in (0, 20) for x in (0, 20, 40)], np.float32)
    model.module.coding = AnchorCoding(anchors, background=False)  # type: ignore[assignment]
    return model


def rows_of_boxes(rng: np.random.Generator) -> Rows:
    """Six boxes side by side in two rows, each of one class, or of none."""
    cells = np.array([[x, y, x + 18, y + 18] for y in (0, 20) for x in (0, 20, 40)])
    boxes = cells + rng.uniform(-1, 1, (N, 6, 4)).clip(-0.9, 0.9)
    of = rng.integers(0, 4, (N, 6))
    scores = np.eye(4)[of][..., :3] * rng.uniform(0.5, 0.9, (N, 6, 1))
    whole = np.concatenate([boxes.reshape(N, -1), scores.reshape(N, -1)], axis=1)
    return whole.astype(np.float32)


def boxes_of(rows: Rows, further: int = 0) -> Rows:
    """The objects for which rows are right; or those of the class that is so many further."""
    boxes, scores = rows[:, :24].reshape(-1, 6, 4), rows[:, 24:].reshape(-1, 6, 3)
    of = np.where(scores.any(axis=2), (scores.argmax(axis=2) + further) % 3, -1)
    crowd = np.zeros_like(of)
    found: Rows = np.concatenate([boxes, of[..., None], crowd[..., None]], axis=2)
    return found.astype(np.float32)


def segmenter() -> Model:
    return with_outputs("segment", TensorSpec("scores", (1, 3, 4, 6), "float32", ""))


def masks_of(rows: Rows, further: int = 0) -> Rows:
    found: Rows = (rows.reshape(-1, 3, 4, 6).argmax(axis=1) + further) % 3
    return found.astype(np.uint8)


def embedder() -> Model:
    return with_outputs("embed", TensorSpec("embedding", (1, 8), "float32", ""))


def rows_of_embeddings(rng: np.random.Generator) -> Rows:
    """Eight classes so near to each other that something is left to learn."""
    found: Rows = 1 + 0.8 * np.eye(8)[np.arange(N) // 5] + rng.normal(0, 0.02, (N, 8))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def rows_of_tensors(rng: np.random.Generator) -> Rows:
    boxes, classes = rng.standard_normal((N, 8)), rng.integers(0, 9, (N, 3))
    places = np.tile([3.0, 5.0], (N, 1))  # the same for all, as those of anchors are
    return np.concatenate([boxes, classes, places], axis=1).astype(np.float32)


@dataclass
class Source:
    """Labelled samples that are told apart by their labels alone."""

    classes: tuple[str, ...]
    name: str = "source"

    @property
    def mask_classes(self) -> tuple[str, ...]:
        return self.classes


MADE: dict[str, tuple[Callable[[], Model], Callable[[np.random.Generator], Rows]]] = {
    "classify": (classifier, lambda rng: rng.standard_normal((N, 6)).astype(np.float32)),
    "detect": (detector, rows_of_boxes),
    "embed": (embedder, rows_of_embeddings),
    "segment": (segmenter, lambda rng: rng.standard_normal((N, 72)).astype(np.float32)),
    "tensors": (of_tensors, rows_of_tensors),
}
"""By name of a task a network of it, and outputs that it might give."""

Labels = Callable[[Rows], Rows]

LABELLED: dict[str, tuple[Source, Labels, Labels]] = {
    "classify": (
        Source(tuple("abcdef")),
        lambda rows: rows.argmax(1),
        lambda rows: np.roll(rows, 1, axis=1).argmax(1),
    ),
    "detect": (Source(tuple("abc")), boxes_of, lambda rows: boxes_of(rows, 1)),
    "embed": (
        Source(tuple("abcdefgh")),
        lambda rows: rows.argmax(1),
        lambda rows: np.arange(len(rows)) % 8,
    ),
    "segment": (Source(tuple("abc")), masks_of, lambda rows: masks_of(rows, 1)),
}
"""Of tasks that say what outputs mean: data, and labels for which outputs are right, and wrong."""

every_meaning = pytest.mark.parametrize("name", sorted(LABELLED))

every_task = pytest.mark.parametrize("name", sorted(tables.TASKS))


def made(name: str) -> tuple[Task, Rows]:
    model, rows = MADE[name]
    return task_of(model()), rows(np.random.default_rng(0))


@every_task
def test_it_is_called_as_in_the_table(name: str) -> None:
    assert made(name)[0].name == name


def test_plug_ins_are_held_against_the_whole_protocol() -> None:
    members = {*Task.__annotations__, *(name for name in vars(Task) if not name.startswith("_"))}
    assert set(tables.OF_TASKS) == members


@every_task
@pytest.mark.parametrize("precision", TOLERANCES)
def test_equal_outputs_agree_and_others_do_not(name: str, precision: str) -> None:
    task, rows = made(name)
    task.check_reference(rows, "'net'")
    same = task.agreement(rows, rows.copy(), precision)
    assert same.passed
    assert same.n == N
    assert not failures(same)
    other = task.agreement(rows, np.roll(rows, 1, axis=0), precision)
    assert not other.passed
    assert "expected at least" in failures(other)


@every_task
def test_not_a_number_is_the_largest_difference(name: str) -> None:
    task, rows = made(name)
    found = rows.copy()
    found[3, 1] = np.nan
    assert not task.agreement(rows, found, "int8").passed
    assert task.sqnr_db(rows, found[3:5], [3, 4])[0] < 0


@every_task
def test_noise_shows_in_the_samples_that_have_it(name: str) -> None:
    task, rows = made(name)
    found = rows.copy()
    found[7, :2] += 0.5
    figures = task.sqnr_db(rows, found, range(N))
    assert figures.shape == (N,)
    assert figures.argmin() == 7
    assert (np.delete(figures, 7) > 100).all()


@every_task
def test_what_is_decided_is_told_for_each_sample(name: str) -> None:
    task, rows = made(name)
    found = task.decided_alike(rows, rows.copy())
    assert found.dtype == bool
    assert found.shape == (N,)
    assert found.all()


@every_task
def test_outputs_that_are_the_same_for_all_are_refused(name: str) -> None:
    task, rows = made(name)
    with pytest.raises(ModelError, match=r"'net' gives .*the same"):
        task.check_reference(np.tile(rows[:1], (N, 1)), "'net'")
    with pytest.raises(ModelError, match="expected at least two"):
        task.check_reference(rows[:1], "'net'")


def test_the_worst_output_is_named() -> None:
    task, rows = made("tensors")
    found = rows.copy()
    found[:, 8] += 1  # a class
    agreement = task.agreement(rows, found, "fp32")
    assert [one.passed for one in agreement.outputs] == [True, False, True]
    assert failures(agreement) == "output 'classes' has 62.96% equal (expected at least 99.9%)"
    found = rows.copy()
    found[:, -1] *= 1.01  # a place, which is no less right for being constant
    agreement = task.agreement(rows, found, "fp32")
    assert [one.passed for one in agreement.outputs] == [True, True, False]
    assert agreement.sqnr_db == min(one.sqnr_db or 200 for one in agreement.outputs)


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(UnknownNameError, match="tensor"):
        registry.task("tensor")


@every_meaning
def test_the_headline_goes_from_0_to_1(name: str) -> None:
    task, rows = made(name)
    task.check_meaning()
    source, right, other = LABELLED[name]
    labels = right(rows)
    whole, parts, wrong = (task.metric(source) for _ in range(3))  # type: ignore[arg-type]
    whole.update(rows, labels)
    assert whole.figures()[task.headline] == pytest.approx(1, abs=1e-12)
    parts.update(rows[:7], labels[:7])
    parts.update(rows[7:], labels[7:])
    assert parts.figures() == whole.figures()
    wrong.update(rows, other(rows))
    assert wrong.figures()[task.headline] == 0


@every_meaning
def test_intervals_hold_the_figure_and_details_are_of_the_classes(name: str) -> None:
    task, rows = made(name)
    source, right, _ = LABELLED[name]
    labels = right(np.concatenate([rows[:20], rows[21:], rows[:1]]))  # half of them are others'
    metric = task.metric(source)  # type: ignore[arg-type]
    metric.update(rows, labels)
    value, bounds, again = metric.figures()[task.headline], metric.ci95(), metric.ci95()
    assert value is not None
    assert bounds is not None
    assert 0 <= bounds[0] < value < bounds[1] <= 1
    assert again == bounds
    details = metric.details()
    assert [one.label for one in details.classes] == [*source.classes]
    assert details.confusion is not None
    assert from_json(type(details), to_json(details)) == details
    counts = np.array(details.confusion.counts)
    assert counts.shape == (len(details.confusion.right), len(details.confusion.found))
    assert counts.sum() >= N


@every_meaning
def test_predictions_are_records_text_and_pictures(name: str) -> None:
    task, rows = made(name)
    frame = Frame((40, 60), Preprocessing(crop=8, resize=8))
    found: Any = task.decode(rows[:1], "a.jpg", frame, 3)
    assert found.image == "a.jpg"
    assert from_json(type(found), to_json(found)) == found
    assert all(0 < len(line) <= 76 for line in task.shown(found))
    for shape in ((40, 60, 3), (40, 60, 1), (40, 60, 4), (1, 1, 3), (40, 700, 3)):
        picture = task.draw(np.zeros(shape, np.uint8), found)
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert picture.any()


@pytest.mark.parametrize("name", sorted(set(tables.TASKS) - set(LABELLED)))
def test_outputs_without_a_meaning_say_what_can_be_done(name: str) -> None:
    task, _ = made(name)
    with pytest.raises(ModelError, match="nothing to predict or evaluate; 'edgekit verify'"):
        task.check_meaning()
    with pytest.raises(ModelError, match="nothing to predict"):
        task.metric(Source(("a",)))  # type: ignore[arg-type]


def test_top5_is_of_more_than_five_classes() -> None:
    rows = np.eye(6, dtype=np.float32)[[0] * 4] * 9 + np.arange(6, dtype=np.float32) / 10
    metric = made("classify")[0].metric(Source(tuple("abcdef")))  # type: ignore[arg-type]
    metric.update(rows, [0, 5, 2, 1])
    assert metric.figures() == {"top1": 0.25, "top5": 0.75}


def test_other_classes_are_refused() -> None:
    with pytest.raises(DataError, match="'net' has 6 outputs without names, 'source' has 2"):
        made("classify")[0].metric(Source(("a", "b")))  # type: ignore[arg-type]


def learned(name: str) -> tuple[Objective, Tensor, Tensor]:
    """What networks of a task learn, outputs that are right, and their labels."""
    model, rows = MADE[name]
    right = rows(np.random.default_rng(0))
    objective = task_of(model()).objective(model()).relative_to(right, "'net'")
    labels = LABELLED[name][1](right) if name in LABELLED else np.zeros(N)
    return objective, torch.from_numpy(right), torch.as_tensor(np.asarray(labels))


def scored(objective: Objective, *parts: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
    tally = objective.tally()
    for outputs, labels, wanted in parts:
        tally.update(outputs, labels, wanted)
    return tally.figure, tally.loss


@every_task
def test_what_is_right_has_the_highest_figure_and_the_least_loss(name: str) -> None:
    objective, right, labels = learned(name)
    other = right.roll(1, 0)
    figure, loss = scored(objective, (right, labels, right))
    assert figure == 1
    assert scored(objective, (other, labels, right))[0] < figure
    assert scored(objective, (other, labels, right))[1] > loss
    halves = [(part, labels[i : i + N // 2], right[i : i + N // 2])
              for i, part in ((0, other[: N // 2]), (N // 2, other[N // 2 :]))]  # fmt: skip
    whole = scored(objective, (other, labels, right))
    assert scored(objective, *halves) == pytest.approx(whole, rel=1e-5)
    losses = [float(objective.loss(one, labels, right, training=False)) for one in (right, other)]
    assert losses[0] < losses[1]


@every_task
def test_a_search_asks_what_it_may_be_given(name: str) -> None:
    model, _ = MADE[name]
    task, network = task_of(model()), model()
    assert task.said(None, network) == network.scores
    if name in LABELLED:
        source: Any = LABELLED[name][0]
        assert task.labels_for(source) == source.classes
    if name == "classify":
        assert task.said("logits", network) == "logits"
        with pytest.raises(ModelError, match="'net' has 6 outputs, and 'source' has 2 classes"):
            task.labels_for(Source(("a", "b")))  # type: ignore[arg-type]
    else:
        with pytest.raises(UsageError, match="--scores goes with scores of classes: 'net' is"):
            task.said("logits", network)


@every_task
def test_losses_have_gradients_and_objectives_can_be_sent(name: str) -> None:
    objective, right, labels = learned(name)
    again = pickle.loads(pickle.dumps(objective))
    assert again == objective
    for loss in (
        lambda outputs: objective.loss(outputs, labels, right, training=True),
        lambda outputs: objective.effect(outputs, labels),
    ):
        outputs = right.roll(1, 0).requires_grad_(True)
        torch.autograd.backward(loss(outputs))
        assert outputs.grad is not None
        assert torch.isfinite(outputs.grad).all()
        assert outputs.grad.abs().sum() > 0
    if objective.labelled:
        assert float(objective.loss(right, labels, None, training=True)) > 0


def test_an_output_of_small_units_counts_as_much() -> None:
    objective, right, labels = learned("tensors")
    other = right.roll(1, 0)
    scale = torch.ones(right.shape[1])
    scale[:8] = 1e-4  # boxes
    small = objective.relative_to((right * scale).numpy(), "'net'")
    a = objective.loss(other, labels, right, training=True)
    b = small.loss(other * scale, labels, right * scale, training=True)
    assert float(b) == pytest.approx(float(a), rel=1e-4)
    classes = right.clone()
    classes[:, 8:11] += 1  # integers are scored, and not learned
    assert float(objective.loss(classes, labels, right, training=True)) == 0
    assert scored(objective, (classes, labels, right))[0] < 0.7


def test_the_figure_is_that_of_the_worst_output() -> None:
    objective, right, labels = learned("tensors")
    found = right.clone()
    found[:, :8] = right[:, :8].mean(0)  # explains nothing
    assert scored(objective, (found, labels, right))[0] == pytest.approx(0, abs=1e-6)
    found = right.clone()
    found[:, -1] *= 1.1  # a place, which is the same for all: 0.5 of 5 is off, besides 3
    assert scored(objective, (found, labels, right))[0] == pytest.approx(1 - 0.25 / 34, rel=1e-5)
    with pytest.raises(ModelError, match="no floats that differ from zero"):
        objective.relative_to(np.zeros((N, 13), np.float32), "'net'")
