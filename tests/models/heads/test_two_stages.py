"""Two-stage heads: regions against plain code, fixed sizes, files of both targets that can."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from command_line import CommandLine
from numpy.typing import NDArray

from edgekit import boxes
from edgekit.models.composed import compose
from edgekit.models.heads import regions
from edgekit.models.heads.pyramid import PyramidDetector
from edgekit.models.heads.twostage import REGIONS, TwoStage

SMALL = "mobilenetv3-small@0.5"
HEADS = ("fasterrcnn", "maskrcnn", "fastrcnn", "rcnn")
PYRAMID = "fasterrcnn-fpn"
SIZE = (64, 96)


def drawn(count: int, size: tuple[int, int], seed: int) -> torch.Tensor:
    """Corners of boxes within an image, (count, 4)."""
    rng = np.random.default_rng(seed)
    height, width = size
    ends = rng.uniform(0, 1, (count, 2, 2)) * (width, height)
    corners = np.concatenate((ends.min(1), ends.max(1)), 1).astype(np.float32)
    return torch.from_numpy(corners)


def test_overlaps_and_coding_are_those_of_arrays() -> None:
    a, b = drawn(30, SIZE, 1), drawn(20, SIZE, 2)
    a[0, 2:] = a[0, :2]  # without area
    found = regions.overlaps(a[None], b[None])[0]
    np.testing.assert_allclose(found, boxes.iou(a.numpy(), b.numpy()), atol=1e-6)
    deltas = torch.randn(20, 4)
    deltas[0, 2] = 1000.0
    found = regions.decoded(deltas, b, (10, 10, 5, 5))
    np.testing.assert_allclose(found, boxes.decode(deltas.numpy(), b.numpy()), rtol=1e-4, atol=1e-3)
    wild = 100 * torch.randn(2, 9, 4)
    np.testing.assert_array_equal(regions.clipped(wild, SIZE), boxes.clip(wild.numpy(), SIZE))


@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.7])
def test_what_stays_is_what_stays_box_by_box(overlap: float) -> None:
    for seed in range(20):
        corners = drawn(200, (200, 200), seed)
        stays = regions.kept(corners[None], overlap)[0].nonzero()[:, 0]
        scores = -np.arange(200.0)
        assert set(stays.tolist()) == set(boxes.nms(corners.numpy(), scores, overlap).tolist())
    row = torch.arange(20.0)[:, None] + torch.tensor([0.0, 0.0, 10.0, 10.0])
    row[:, 1], row[:, 3] = 0, 10  # each would suppress the next one: the longest row that is right
    stays = regions.kept(row[None], 0.7)[0]
    assert stays[: regions.ROUNDS].tolist() == [1, 0] * (regions.ROUNDS // 2)


def plain_align(
    image: NDArray[np.float32],
    box: NDArray[np.float32],
    stride: int,
    side: int,
    *,
    older: bool = False,
) -> NDArray[np.float64]:
    """RoIAlign of one box place by place; (C, side, side)."""
    channels, height, width = image.shape
    found = np.zeros((channels, side, side))
    x0, y0, x1, y1 = (float(v) / stride for v in box)
    if older:
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    shift = 0.0 if older else 0.5
    for i in range(2 * side):
        for j in range(2 * side):
            y = y0 + (i + 0.5) * (y1 - y0) / (2 * side) - shift
            x = x0 + (j + 0.5) * (x1 - x0) / (2 * side) - shift
            if older and (y > height or x > width):
                continue
            y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
            top, left = int(y), int(x)
            for row, v in ((top, 1 - y + top), (min(top + 1, height - 1), y - top)):
                for column, w in ((left, 1 - x + left), (min(left + 1, width - 1), x - left)):
                    found[:, i // 2, j // 2] += v * w * image[:, row, column] / 4
    return found


def test_regions_are_cut_out_as_published() -> None:
    maps = torch.randn(2, 3, 4, 6)  # of stride 16, of an image that is a few pixels smaller
    size = (60, 90)
    corners = torch.stack((drawn(5, size, 3), drawn(5, size, 4)))
    found = regions.aligned(maps, corners, regions.covered(size, 16), 3)
    assert found.shape == (10, 3, 3, 3)
    for n in range(2):
        for r in range(5):
            expected = plain_align(maps[n].numpy(), corners[n, r].numpy(), 16, 3)
            np.testing.assert_allclose(found[5 * n + r], expected, atol=1e-5)


def test_regions_are_cut_out_as_torchvision_does() -> None:
    maps = torch.randn(1, 3, 4, 6)
    corners = drawn(20, (64, 96), 3)
    corners[0] = torch.tensor([93.0, 61.0, 95.0, 63.0])  # a part of a cell, at the edge
    found = regions.aligned(maps, corners[None], (64, 96), 3, cell=16.0)
    for r in range(20):
        expected = plain_align(maps[0].numpy(), corners[r].numpy(), 16, 3, older=True)
        np.testing.assert_allclose(found[r], expected, atol=1e-5)
    assert not found[0, :, -1, -1].any()  # beyond the map


def test_anchors_and_windows_lie_where_they_should() -> None:
    found = regions.region_anchors((64, 96), 16, (0.25, 0.5), (0.5, 1.0, 2.0))
    assert found.shape == (4 * 6 * 6, 4)
    np.testing.assert_allclose(found[1], (0, 0, 16, 16))  # a square of a quarter of 64 px
    np.testing.assert_allclose(boxes.area(found[:3]), 256, rtol=1e-5)
    wide, tall = found[0], found[2]
    assert (wide[2] - wide[0]) == pytest.approx(2 * (wide[3] - wide[1]))
    assert (tall[3] - tall[1]) == pytest.approx(2 * (tall[2] - tall[0]))
    whole = regions.windows((64, 96), (1, 2))
    assert whole[0].tolist() == [0, 0, 96, 64]
    assert whole[1:].shape == (9, 4)
    assert whole[2].tolist() == [24, 0, 72, 32]


@pytest.mark.parametrize("head", HEADS)
def test_as_many_regions_for_any_image(head: str) -> None:
    torch.manual_seed(0)
    network = compose(f"{SMALL}+{head}", 3, SIZE)
    with torch.no_grad():
        boxes_, scores, *masks = network(torch.randn(2, 3, *SIZE))
        alone = network(torch.zeros(1, 3, *SIZE))
    assert boxes_.shape[1:] == alone[0].shape[1:]
    assert boxes_[..., 0::2].max() <= SIZE[1]
    assert boxes_[..., 1::2].max() <= SIZE[0]
    assert boxes_.min() >= 0
    assert scores.shape == (2, boxes_.shape[1], 3)
    assert 0 <= float(scores.min()) <= float(scores.max()) <= 1
    assert [one.shape for one in masks] == ([(2, REGIONS, 28, 28)] if head == "maskrcnn" else [])


def test_regions_that_are_suppressed_have_no_score() -> None:
    torch.manual_seed(0)
    network = compose(f"{SMALL}+fasterrcnn", 3, SIZE)
    assert isinstance(network, TwoStage)
    assert network.proposals is not None
    with torch.no_grad():
        corners, objects = network.proposals.anchors[None], torch.randn(1, 360)
        best, counts = network.proposals.best(corners, objects)
    order = objects[0].argsort(descending=True)[:256]
    stays = boxes.nms(corners[0].numpy()[order], objects[0].numpy()[order], 0.7)[:REGIONS]
    expected = {tuple(row) for row in corners[0].numpy()[order][stays].tolist()}
    assert {tuple(row) for row in best[0][counts[0] > 0].tolist()} == expected
    with torch.no_grad():
        _, scores = network(torch.randn(1, 3, *SIZE))
    assert 0 < int((scores.sum(-1) > 0).sum()) <= REGIONS


@pytest.mark.parametrize("head", ["fastrcnn", "rcnn"])
def test_regions_may_be_given(head: str) -> None:
    torch.manual_seed(0)
    network = compose(f"{SMALL}+{head}", 3, SIZE)
    image, given = torch.randn(1, 3, *SIZE), drawn(7, SIZE, 5)[None]
    with torch.no_grad():
        corners, scores = network(image, given)
        again = network(image, given[:, 3:4])
    assert corners.shape == (1, 7, 4)
    torch.testing.assert_close(again[1], scores[:, 3:4], atol=1e-5, rtol=1e-4)
    assert float((corners - given).abs().max()) < 30  # fresh differences are small


def test_a_pyramid_has_boxes_of_each_class_for_any_image() -> None:
    torch.manual_seed(0)
    network = compose(f"{SMALL}+{PYRAMID}", 3, SIZE)
    assert isinstance(network, PyramidDetector)
    anchors = network.proposals.anchors
    assert anchors[:15:5].tolist() == [  # sides of 32 px about the first cell, by ratio
        [-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23],
    ]  # fmt: skip
    assert len(anchors) == 15 * (6 + 6 + 2)
    regions_ = network.proposals.regions
    with torch.no_grad():
        corners, scores = network(torch.randn(2, 3, *SIZE))
    assert corners.shape == (2, 3 * regions_, 4)
    assert scores.shape == (2, 3 * regions_, 3)
    assert corners[..., 0::2].max() <= SIZE[1]
    assert corners[..., 1::2].max() <= SIZE[0]
    each = scores.reshape(2, regions_, 3, 3)
    assert torch.equal(each, each * torch.eye(3))
    network.train()
    corners, logits = network(torch.randn(2, 3, *SIZE))
    assert corners.shape == (2, 3 * regions_ + len(anchors), 4)
    assert logits.shape == (2, regions_ + len(anchors), 4)


def test_regions_of_a_map_suppress_each_other_only() -> None:
    torch.manual_seed(0)
    network = compose(f"{SMALL}+{PYRAMID}", 3, (160, 160))
    assert isinstance(network, PyramidDetector)
    own = network.proposals
    corners, objects = regions.clipped(own.anchors, (160, 160))[None], 3 * torch.randn(1, 1_000)
    objects = objects[:, : len(own.anchors)]
    best, counts = own.best(corners, objects)
    expected, begin = [], 0
    for count in own.counts:
        places = objects[0, begin : begin + count].topk(min(150, count)).indices + begin
        scores = objects[0, places].numpy()
        stays = boxes.nms(corners[0, places].numpy(), scores, 0.7)
        expected += [(scores[i], places[i]) for i in stays if 1 / (1 + np.exp(-scores[i])) >= 0.05]
        begin += count
    expected.sort(key=lambda one: -one[0])
    wanted = sorted(tuple(corners[0, place].tolist()) for _, place in expected[:150])
    assert sorted(map(tuple, best[0][counts[0] > 0].tolist())) == wanted


def test_the_first_stage_learns_from_outputs_behind_the_regions() -> None:
    torch.manual_seed(0)
    network = compose(f"{SMALL}+fasterrcnn", 3, SIZE).train()
    assert isinstance(network, TwoStage)
    assert network.proposals is not None
    corners, logits = network(torch.randn(2, 3, *SIZE))
    anchors = len(network.proposals.anchors)
    assert corners.shape == (2, REGIONS + anchors, 4)
    assert logits.shape == (2, REGIONS + anchors, 4)
    assert not logits[:, REGIONS:, 1:].any()
    logits[:, REGIONS:, 0].sum().backward(retain_graph=True)
    assert network.proposals.objectness.weight.grad is not None
    assert network.scores.weight.grad is not None
    assert not network.scores.weight.grad.any()
    logits[:, :REGIONS].square().sum().backward()
    assert network.scores.weight.grad.any()


def test_the_target_without_sampling_says_why_not(run: CommandLine) -> None:
    line = ("--task", "tensors", "--resolution", 64, "-t", "tflite", "-o", "out")
    refused = run("export", f"{SMALL}+fastrcnn", *line)
    assert refused.code == 3
    assert "which samples a map at computed places, as RoIAlign does" in refused.message


@pytest.mark.slow
@pytest.mark.parametrize("head", ["fasterrcnn", PYRAMID, "fastrcnn", "rcnn"])
def test_the_other_targets_compute_the_same(head: str, run: CommandLine) -> None:
    line = ("--resolution", 64, "-t", "onnx,openvino", "-o", "out", "--json")
    done = run("export", f"{SMALL}+{head}", *line)
    assert done.code == 0, done.err
    found = [one["agreement"]["sqnr_db"] for one in done.json["artifacts"]]
    assert len(found) == 2
    assert min(found) > 80
