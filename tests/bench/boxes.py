"""Boxes of edgekit beside those of torchvision on random inputs, and the time of detection.

``python tests/bench/boxes.py`` runs where torchvision is: ``python -m venv V``, ``V/bin/pip install
-c constraints.txt -e . torchvision`` (with PyTorch's index of CPU builds), ``V/bin/python
tests/bench/boxes.py``. ``parity`` counts what differs in overlaps, suppression, coding, anchors and
RoI align, of ``--rounds`` draws each; ``time`` holds decoding and suppression in NumPy against a
network of 320 px in its runtime. Without an argument both are done.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit import boxes
from edgekit.core import Preprocessing

SIDES = (20, 10, 5, 3, 2, 1)
"""Cells of the maps of SSDLite at 320 px."""

NETWORK, RESOLUTION, CLASSES = "mobilenetv3-small+ssdlite", 320, 10
LEAST_SCORES = (0.3, 0.01)
"""Thresholds: of what is told to people, and of what figures count."""

TRIALS = 200


def some_boxes(rng: np.random.Generator, count: int, side: float = 320) -> NDArray[np.float32]:
    start = rng.uniform(0, side * 0.8, (count, 2))
    sides = rng.uniform(1, side * 0.4, (count, 2))
    return np.concatenate([start, start + sides], axis=1).astype(np.float32)


def apart(a: NDArray[np.generic], b: torch.Tensor) -> float:
    """Largest difference, of values of a size of at least 1 relative to it."""
    other = b.numpy().astype(np.float64)
    return float(np.max(np.abs(a - other) / np.maximum(1, np.abs(other)), initial=0.0))


def parity(rounds: int) -> None:
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.image_list import ImageList
    from torchvision.ops import batched_nms, box_iou, nms, roi_align

    from edgekit.models.heads.regions import aligned

    rng = np.random.default_rng(0)
    worst = dict.fromkeys(("IoU", "encoding", "decoding", "anchors", "RoI align"), 0.0)
    alike = dict.fromkeys(("suppression", "suppression by class"), 0)
    for _ in range(rounds):
        count = int(rng.integers(1, 600))
        a, b = some_boxes(rng, count), some_boxes(rng, count)
        ta, tb = torch.from_numpy(a), torch.from_numpy(b)
        worst["IoU"] = max(worst["IoU"], apart(boxes.iou(a, b), box_iou(ta, tb)))
        scores = rng.random(count).astype(np.float32)
        of, overlap = rng.integers(0, 5, count), float(rng.uniform(0.2, 0.8))
        kept = nms(ta, torch.from_numpy(scores), overlap).tolist()
        alike["suppression"] += boxes.nms(a, scores, overlap).tolist() == kept
        kept = batched_nms(ta, torch.from_numpy(scores), torch.from_numpy(of), overlap).tolist()
        alike["suppression by class"] += boxes.batched_nms(a, scores, of, overlap).tolist() == kept
        # torchvision multiplies by weights where SSD divides by variances.
        coder = BoxCoder(tuple(1 / v for v in boxes.VARIANCES))
        deltas = boxes.encode(a, b)
        right = coder.encode_single(ta, tb)
        worst["encoding"] = max(worst["encoding"], apart(deltas, right))
        back = coder.decode_single(right, tb)
        # Both take sides of at most 62.5 times those of the anchor.
        worst["decoding"] = max(worst["decoding"], apart(boxes.decode(right.numpy(), b), back))
        size = (int(rng.integers(60, 400)), int(rng.integers(60, 400)))
        grids = [(int(rng.integers(1, 20)), int(rng.integers(1, 20))) for _ in SIDES]
        made = DefaultBoxGenerator([[2, 3]] * len(grids), min_ratio=0.2, max_ratio=0.95)
        images = ImageList(torch.zeros(1, 3, *size), [size])
        (anchors,) = made(images, [torch.zeros(1, 1, *grid) for grid in grids])
        worst["anchors"] = max(worst["anchors"], apart(boxes.ssd_anchors(size, grids), anchors))
        maps = torch.from_numpy(rng.standard_normal((1, 4, 20, 20)).astype(np.float32))
        some = torch.from_numpy(boxes.clip(some_boxes(rng, 8), (320, 320)))
        cut = roi_align(maps, [some], 7, spatial_scale=20 / 320, sampling_ratio=2, aligned=True)
        own = aligned(maps, some[None], (320, 320), 7)
        worst["RoI align"] = max(worst["RoI align"], float((own - cut).abs().max()))
    for name, value in worst.items():
        print(f"{name:22} {rounds} draws, largest difference {value:.2g}")
    for name, number in alike.items():
        print(f"{name:22} the same boxes in the same order in {number} of {rounds} draws")


def median_ms(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(TRIALS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(times))


def timing() -> None:
    import edgekit
    from edgekit.measure.statistics import summary
    from edgekit.models.source import open_model
    from edgekit.tasks import Described, Frame
    from edgekit.tasks.detect import Detect

    rng = np.random.default_rng(0)
    model = open_model(NETWORK, classes=CLASSES, resolution=RESOLUTION)
    with tempfile.TemporaryDirectory() as folder:
        made = edgekit.export(model, "onnx,openvino,tflite", out=folder)
        paths = [str(one.path) for one in made]
        for found in edgekit.profile(paths, threads=1).measurements:
            middle = summary(found.blocks).p50_ms
            print(f"{Path(found.artifact).name:50} {middle:.2f} ms, one thread")
    task = Detect(Described(NETWORK, model.interface))
    anchors = boxes.ssd_anchors((RESOLUTION, RESOLUTION), [(side, side) for side in SIDES])
    preprocessing = Preprocessing(resize=None, crop=RESOLUTION, fit="stretch")
    frame = Frame((480, 640), preprocessing)
    for likely in (5, 50):
        scores = rng.beta(0.3, 60, (len(anchors), CLASSES))
        there = rng.choice(len(anchors), likely)
        scores[there, rng.integers(0, CLASSES, likely)] = rng.uniform(0.3, 1, likely)
        row = np.concatenate([anchors.ravel(), scores.ravel()]).astype(np.float32)
        print(f"{likely} boxes of a score of 0.3 or more, {(scores > 0.01).sum()} of 0.01")
        decoded = median_ms(lambda row=row: task.decode(row[None], "", frame, 5))
        counted = median_ms(lambda row=row: task.objects(row, 0.01))
        print(f"{'  decoded for people':22} {decoded:.3f} ms")
        print(f"{'  for figures':22} {counted:.3f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("parity", "time"), nargs="?")
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    if given.what != "time":
        parity(given.rounds)
    if given.what != "parity":
        timing()


if __name__ == "__main__":
    main()
