"""Networks with a head against torchvision's of the same weights: outputs, and names of tensors.

``python tests/bench/heads.py`` runs in an environment with torchvision. Each network of torchvision
is built with random weights, batch norms set from noise, and its state dict is opened by edgekit as
a file would be; one line a network says how far the outputs are apart, over their spread.
``--layouts DIR`` writes the names and shapes of the layers that the tests keep.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection, segmentation

from edgekit.models.source import open_model

CLASSES, SIZE, SSD_SIZE, REGION_SIZE = 7, (128, 160), (320, 320), (320, 416)
UNPUBLISHED = {"weights": None, "weights_backbone": None}


def lraspp() -> nn.Module:
    """torchvision's, with classes of its own number."""
    made: nn.Module = segmentation.lraspp_mobilenet_v3_large(**UNPUBLISHED, num_classes=CLASSES)
    return made


def deeplabv3() -> nn.Module:
    """With the second head, as the published weights have it."""
    options = {**UNPUBLISHED, "num_classes": CLASSES, "aux_loss": True}
    made: nn.Module = segmentation.deeplabv3_mobilenet_v3_large(**options)
    return made


def ssdlite() -> nn.Module:
    """Its backbone is the reduced one, as that of the published weights."""
    made: nn.Module = detection.ssdlite320_mobilenet_v3_large(
        **UNPUBLISHED, num_classes=CLASSES + 1
    )
    return made


def scores_of_pixels(network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """What edgekit's network gives."""
    return (network(images)["out"],)


def boxes_and_scores(network: Any, images: Tensor) -> tuple[Tensor, ...]:
    """Before anything is left out: corners in pixels, and probabilities without the background."""
    features = list(network.backbone(images).values())
    found = network.head(features)
    listed = detection.image_list.ImageList(images, [tuple(images.shape[2:])] * len(images))
    anchors = network.anchor_generator(listed, features)
    boxes = [
        network.box_coder.decode_single(deltas, own)
        for deltas, own in zip(found["bbox_regression"], anchors, strict=True)
    ]
    return torch.stack(boxes), found["cls_logits"].softmax(-1)[..., 1:]


def fasterrcnn() -> nn.Module:
    """With the numbers of regions of its form for 320 pixels."""
    made: nn.Module = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        **UNPUBLISHED, num_classes=CLASSES + 1
    )
    return made


def boxes_of_regions(network: Any, images: Tensor) -> tuple[Tensor, ...]:
    """Behind the regions' layers, before anything is left out: regions in the order of anchors."""
    features = network.backbone(images)
    sizes = [tuple(images.shape[2:])] * len(images)
    listed = detection.image_list.ImageList(images, sizes)
    proposals, _ = network.rpn(listed, features)
    heads = network.roi_heads
    found = []
    for n, own in enumerate(proposals):
        one = {name: maps[n : n + 1] for name, maps in features.items()}
        hidden = heads.box_head(heads.box_roi_pool(one, [own], sizes[:1]))
        logits, deltas = heads.box_predictor(hidden)
        corners = heads.box_coder.decode(deltas, [own])
        corners = detection.transform.resize_boxes(corners.flatten(0, 1), sizes[0], sizes[0])
        height, width = sizes[0]
        limits = torch.tensor([width, height, width, height])
        corners = corners.clamp(min=0).minimum(limits).reshape(len(own), -1, 4)[:, 1:]
        scores = logits.softmax(-1)[:, 1:]
        found.append(torch.cat((corners, scores[..., None]), -1).flatten(1))
    return tuple(found)


def counted_regions(found: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Ours in the same form: of the regions that count, boxes and scores of each class."""
    corners, scores = found
    batch = len(corners)
    corners = corners.reshape(batch, -1, CLASSES, 4)
    scores = scores.reshape(batch, -1, CLASSES, CLASSES).diagonal(dim1=2, dim2=3)
    rows = torch.cat((corners, scores[..., None]), -1).flatten(2)
    return tuple(row[own.sum(-1) > 0] for row, own in zip(rows, scores, strict=True))


def in_one_order(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of both, each with the nearest one of the other: the order of regions is no matter."""
    places = torch.cdist(a, b).argmin(1)
    assert len(places.unique()) == len(a) == len(b), "not the same regions"
    return a, b[places]


Outputs = Callable[[nn.Module, Tensor], tuple[Tensor, ...]]
CASES: tuple[tuple[str, Callable[[], nn.Module], tuple[int, int], Outputs], ...] = (
    ("mobilenetv3-large+lraspp", lraspp, SIZE, scores_of_pixels),
    ("mobilenetv3-large+deeplabv3-wide", deeplabv3, SIZE, scores_of_pixels),
    ("mobilenetv3-large-reduced+ssdlite-softmax", ssdlite, SSD_SIZE, boxes_and_scores),
    ("mobilenetv3-large+fasterrcnn-fpn", fasterrcnn, REGION_SIZE, boxes_of_regions),
)


def settled(network: nn.Module, images: Tensor) -> nn.Module:
    """The network in eval mode, its norms with the statistics of images."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.normal_(norm.bias, 0, 0.2)
        norm.momentum = None
        norm.train()
    if isinstance(network, detection.faster_rcnn.FasterRCNN):
        spread_regions(network, images)
    elif isinstance(network, detection.ssd.SSD):  # which asks for boxes to learn from as a whole
        network.head(list(network.backbone(images).values()))
    else:
        network(images)
    return network.eval()


def spread_regions(network: Any, images: Tensor) -> None:
    """Fresh layers of regions find nothing: they get weights that tell places apart."""
    network.backbone(images)
    for layer in (network.rpn.head.cls_logits, network.rpn.head.bbox_pred):
        nn.init.normal_(layer.weight, 0, 0.05)
        nn.init.normal_(layer.bias, 0, 0.1)
    for layer in network.roi_heads.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.03)


def layout_of(network: nn.Module) -> str:
    """The layers of a network, one a line: path, kind and shape of the weight."""
    lines = []
    for path, layer in network.named_modules():
        weight = layer._parameters.get("weight")
        if weight is not None:
            biased = "biased" if layer._parameters.get("bias") is not None else "plain"
            kind = "norm" if isinstance(layer, nn.BatchNorm2d) else biased
            lines.append(f"{path} {kind} {'x'.join(map(str, weight.shape))}")
    return "\n".join(lines)


@torch.no_grad()
def main() -> None:
    """Compares, or writes layouts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layouts", type=Path)
    asked = parser.parse_args()
    for name, make, size, outputs in CASES:
        torch.manual_seed(0)
        images = torch.randn(4, 3, *size)
        theirs = make().eval()
        if asked.layouts is not None:
            file = asked.layouts / f"torchvision-{make.__name__}_mobilenet_v3_large.txt"
            head = f"# {name}, as torchvision names it: layer, kind, shape of the weight\n"
            file.write_text(head + layout_of(theirs) + "\n")
            continue
        theirs = settled(theirs, images)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "weights.pth"
            torch.save(theirs.state_dict(), file)
            ours = open_model(name, weights=file, resolution=size).module
        found = ours(images)
        found = found if isinstance(found, tuple) else (found,)
        if isinstance(theirs, detection.faster_rcnn.FasterRCNN):
            rows = zip(counted_regions(found), outputs(theirs, images), strict=True)
            pairs = [in_one_order(a, b) for a, b in rows]
            apart = [float((a - b).abs().max() / b.std()) for a, b in pairs]
            told = ", ".join(
                f"{len(b)} regions {one:.1e}" for (_, b), one in zip(pairs, apart, strict=True)
            )
            print(f"{name}: {told}", flush=True)
            continue
        apart = [
            float((a - b).abs().max() / b.std())
            for a, b in zip(found, outputs(theirs, images), strict=True)
        ]
        print(f"{name}: {', '.join(f'{one:.1e}' for one in apart)}", flush=True)


if __name__ == "__main__":
    main()
