"""Losses of detectors: what they ask for is what finds the objects, whatever stands in a batch."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekit import tables
from edgekit.errors import ModelError
from edgekit.models.composed import compose
from edgekit.models.heads.coding import AnchorCoding
from edgekit.tasks import box_losses
from edgekit.tasks.box_losses import OfBoxes, objective_of

HEADS = tuple(n for n, e in tables.HEADS.items() if "ssdlite" in e.where or "yolo" in e.where)
SIDE, CLASSES = 96, 3

OBJECTS = torch.tensor(
    [
        [[10.0, 12, 50, 60, 0, 0], [60, 40, 92, 90, 2, 0], [0, 0, 0, 0, -1, 0]],
        [[30.0, 30, 70, 50, 1, 0], [0, 0, 0, 0, -1, 0], [0, 0, 0, 0, -1, 0]],
        [[0.0, 0, 0, 0, -1, 0], [0, 0, 0, 0, -1, 0], [0, 0, 0, 0, -1, 0]],
    ]
)
"""Two objects, one, and none."""


@functools.cache
def objective(head: str) -> OfBoxes:
    network = compose(f"mobilenetv3-small@0.35+{head}", CLASSES, SIDE)
    return objective_of(network, CLASSES, head)


def columns(own: OfBoxes, *, training: bool) -> int:
    coding = own.coding
    more = coding.background if isinstance(coding, AnchorCoding) else coding.objectness
    return own.classes + (more and training)


def fresh(own: OfBoxes, images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes and logits, as of a network in training."""
    coding, draw = own.coding, torch.Generator().manual_seed(seed)
    cells = torch.from_numpy(
        coding.anchors
        if isinstance(coding, AnchorCoding)
        else coding.cells[:, [0, 1, 2, 2]] * [1, 1, 4, 4]
    ).float()
    corners = torch.cat((cells[:, :2] - cells[:, 2:] / 2, cells[:, :2] + cells[:, 2:] / 2), 1)
    logits = torch.randn(images, own.count, columns(own, training=True), generator=draw) - 3
    return corners.repeat(images, 1, 1), logits


def rows(corners: Tensor, scores: Tensor) -> Tensor:
    return torch.cat((corners.flatten(1), scores.flatten(1)), 1)


@pytest.mark.parametrize("head", HEADS)
def test_what_makes_the_loss_small_finds_the_objects(head: str) -> None:
    """Boxes and logits themselves are trained, without a network in between."""
    own = objective(head)
    corners, logits = (one.clone().requires_grad_() for one in fresh(own, len(OBJECTS)))
    optimizer = torch.optim.Adam(
        [{"params": [corners], "lr": 1.0}, {"params": [logits], "lr": 0.3}]
    )
    first = last = 0.0
    for step in range(100):
        loss = own.loss(rows(corners, logits), OBJECTS, None, training=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = first or last
        assert step or bool(corners.grad is not None and corners.grad.isfinite().all())
    assert last < 0.5 * first
    tally = own.tally()
    probabilities = own._probabilities(logits.detach(), training=True)
    tally.update(rows(corners.detach(), probabilities), OBJECTS, None)
    assert tally.precisions()[0] > 0.99
    assert np.isfinite(tally.loss)


@pytest.mark.parametrize("head", HEADS)
def test_images_without_objects_and_with_a_thousand_are_learned_from(head: str) -> None:
    own = objective(head)
    draw = torch.Generator().manual_seed(1)
    first = torch.rand(2, 1000, 2, generator=draw) * 80
    sides = 1 + torch.rand(2, 1000, 2, generator=draw) * 15
    kinds = torch.randint(0, CLASSES, (2, 1000, 1), generator=draw)
    many = torch.cat((first, first + sides, kinds, torch.zeros(2, 1000, 1)), -1)
    none = torch.zeros(2, 1, 6).index_fill(2, torch.tensor(4), -1.0)
    for labels in (many, none, torch.cat((many[:1], none.expand(2, 1000, 6)[:1]))):
        corners, logits = (one.requires_grad_() for one in fresh(own, 2))
        for training in (True, False):
            scores = logits if training else logits[..., :CLASSES].softmax(-1) * 0.9
            loss = own.loss(rows(corners, scores), labels, None, training=training)
            loss.backward()
            assert loss.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("head", HEADS)
def test_padding_and_order_mean_nothing(head: str) -> None:
    own = objective(head)
    outputs = rows(*fresh(own, len(OBJECTS)))
    loss = own.loss(outputs, OBJECTS, None, training=True)
    padded = torch.nn.functional.pad(OBJECTS, (0, 0, 0, 5))
    padded[:, 3:, 4] = -1
    torch.testing.assert_close(own.loss(outputs, padded, None, training=True), loss)
    torch.testing.assert_close(own.loss(outputs, OBJECTS.flip(1), None, training=True), loss)


@pytest.mark.parametrize("head", HEADS)
def test_a_crowd_is_neither_found_nor_missed(head: str) -> None:
    own = objective(head)
    corners, logits = fresh(own, 1)
    crowd = torch.tensor([[[0.0, 0, SIDE, SIDE, 1, 1]]])
    quiet = own.loss(rows(corners, logits), crowd, None, training=True)
    loud = own.loss(rows(corners, logits + 3), crowd, None, training=True)
    none = crowd * torch.tensor([1, 1, 1, 1, -1, 1])
    alone = own.loss(rows(corners, logits + 3), none, None, training=True)
    assert loud < alone
    assert quiet.isfinite()


@pytest.mark.parametrize("head", HEADS)
def test_another_network_is_followed(head: str) -> None:
    own = objective(head)
    corners, logits = fresh(own, len(OBJECTS))
    probabilities = own._probabilities(logits, training=True)
    wanted = rows(corners, probabilities)
    alone = own.loss(rows(corners, logits), OBJECTS, None, training=True)
    same = own.loss(rows(corners, logits), OBJECTS, wanted, training=True)
    torch.testing.assert_close(same, alone / 2, rtol=1e-3, atol=1e-3)
    other = own.loss(rows(corners + 5, logits + 2), OBJECTS, wanted, training=True)
    plain = own.loss(rows(corners + 5, logits + 2), OBJECTS, None, training=True)
    assert other > plain / 2 + 1e-3
    with pytest.raises(ModelError, match="expected one with the same head"):
        own.loss(rows(corners, logits), OBJECTS, wanted[:, :-4], training=True)


def test_an_objective_travels_to_other_processes() -> None:
    own = objective("ssdlite")
    again = pickle.loads(pickle.dumps(own))
    outputs = rows(*fresh(own, len(OBJECTS)))
    assert again.loss(outputs, OBJECTS, None, training=True) == own.loss(
        outputs, OBJECTS, None, training=True
    )


def test_a_network_without_a_head_of_edgekits_cannot_be_learned() -> None:
    with pytest.raises(ModelError, match="its head has no loss in edgekit"):
        objective_of(torch.nn.Linear(1, 1), CLASSES, "own")


@pytest.mark.parametrize("head", ["ssdlite", "yolo", "yolov2", "fasterrcnn"])
def test_a_thousand_objects_in_one_image_cost_the_others_nothing(
    head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No image is padded to what another one has, and the loss is as if all were looked at once."""
    network = compose(f"mobilenetv3-small@0.35+{head}", CLASSES, SIDE)
    own = objective_of(network, CLASSES, head)
    draw = torch.Generator().manual_seed(0)
    labels = torch.full((8, 1000, 6), -1.0)
    labels[..., 5] = 0
    labels[:, :3] = OBJECTS[0]
    corner = torch.rand(1000, 2, generator=draw) * 80
    labels[5, :, :4] = torch.cat((corner, corner + 4 + 12 * torch.rand(1000, 2, generator=draw)), 1)
    labels[5, :, 4], labels[5, :, 5] = torch.arange(1000) % CLASSES, 0
    network.train()
    outputs = rows(*network(torch.randn(8, 3, SIDE, SIDE, generator=draw))).detach()
    loss = own.loss(outputs, labels, None, training=True)
    looked: list[tuple[int, int]] = []
    packed = box_losses._packed

    def noted(*args: Any) -> Iterator[tuple[list[int], int]]:
        for part, width in packed(*args):
            looked.append((len(part), width))
            yield part, width

    monkeypatch.setattr(box_losses, "_packed", noted)
    again = own.loss(outputs, labels, None, training=True)
    assert set(looked) == {(7, 2), (1, 1000)}
    monkeypatch.setattr(box_losses, "_packed", lambda order, widths, count: [(order, widths[-1])])
    whole = own.loss(outputs, labels, None, training=True)
    assert loss.item() == again.item() == pytest.approx(whole.item(), rel=1e-5)
    few = own.loss(outputs[:5], labels[:5], None, training=True)
    cut = own.loss(outputs[:5], labels[:5, :3], None, training=True)
    assert few.item() == cut.item()
