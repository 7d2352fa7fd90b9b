"""The table of all networks in docs/zoo.md: counts, published accuracy, export to every target.

``python tests/bench/zoo.py`` exports every network to every target at its smallest sensible
resolution, which takes about an hour; with names of networks, only those; with ``--no-export``,
nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile

import torch

from edgekit import registry, tables
from edgekit.models import build, family_of, find_spec
from edgekit.models.count import layers
from edgekit.models.pretrained import PUBLISHED

# At which the last feature map has more than one pixel, so that kernels move; a network's stride
# where that is larger.
RESOLUTION = 64
TARGETS = tuple(tables.TARGETS)

# Top-1 on ImageNet's validation images in percent, where torchvision has no weights. The tables of
# ShuffleNet give errors: 100 less those.
LITE = "tensorflow/tpu, efficientnet/lite/README.md, FP32"
V2 = "google/automl, efficientnetv2/README.md, ImageNet1K"
V3 = "tensorflow/models, slim/nets/mobilenet/README.md, float"
V4 = "arXiv:2404.10518v2, table 6, without distillation"
PLUS = "megvii-model/ShuffleNet-Series, ShuffleNetV2+/README.md"
V1 = "arXiv:1707.01083, table 2, 1x"
TOP1 = {
    "efficientnet-lite0": (75.1, LITE),
    "efficientnet-lite1": (76.7, LITE),
    "efficientnet-lite2": (77.6, LITE),
    "efficientnet-lite3": (79.8, LITE),
    "efficientnet-lite4": (81.5, LITE),
    "efficientnetv2-b0": (78.7, V2),
    "efficientnetv2-b1": (79.8, V2),
    "efficientnetv2-b2": (80.5, V2),
    "efficientnetv2-b3": (82.1, V2),
    "mnasnet-a1": (75.2, "arXiv:1807.11626, table 1"),
    "mobilenetv1": (70.6, "arXiv:1704.04861, table 8"),
    "mobilenetv3-large-minimalistic": (72.3, V3),
    "mobilenetv3-small-minimalistic": (61.9, V3),
    "mobilenetv4-conv-large": (82.9, V4),
    "mobilenetv4-conv-medium": (79.9, V4),
    "mobilenetv4-conv-small": (73.8, V4),
    "shufflenetv1-g1": (66.4, V1),
    "shufflenetv1-g2": (67.3, V1),
    "shufflenetv1-g3": (67.4, V1),
    "shufflenetv1-g4": (67.2, V1),
    "shufflenetv1-g8": (67.6, V1),
    "shufflenetv2plus-large": (77.1, PLUS),
    "shufflenetv2plus-medium": (75.7, PLUS),
    "shufflenetv2plus-small": (74.1, PLUS),
}


def counts(name: str) -> str:
    """Cells with parameters, MACs and the resolution that they are counted at."""
    spec = find_spec(name)
    with torch.device("meta"):
        found = layers(build(spec).eval(), spec.resolution)
    params, macs = (sum(layer.params for layer in found), sum(layer.macs for layer in found))
    return f"{params:,} | {macs:,} | {spec.resolution}"


def accuracy(name: str) -> str:
    """Cells with the published top-1 and where it is from."""
    if name in PUBLISHED:
        weights = PUBLISHED[name]
        at = "" if weights.crop == find_spec(name).resolution else f", at {weights.crop} px"
        return f"{weights.top1:.1f} | torchvision 0.29{at}"
    top1, source = TOP1.get(name, (None, ""))
    return "- | -" if top1 is None else f"{top1:.1f} | {source}"


def exported(name: str, target: str) -> str:
    """How an export ends: agreement with PyTorch in decibels, or what is wrong."""
    spec = find_spec(name)
    side = max(RESOLUTION, family_of(spec).stride(spec))
    with tempfile.TemporaryDirectory() as folder:
        command = ["export", name, "--target", target, "--resolution", str(side), "-o", folder]
        done = subprocess.run(
            [sys.executable, "-m", "edgekit", *command, "--json"], capture_output=True, text=True
        )
    if done.returncode:
        print(f"{name} {target}: {done.stderr.strip()}", file=sys.stderr)
        return f"fails ({done.returncode})"
    (artifact,) = json.loads(done.stdout)["artifacts"]
    return f"{artifact['agreement']['sqnr_db']:.0f} dB"


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--no-export", action="store_true")
    arguments = parser.parse_args()
    names = arguments.names or sorted({*registry.model_names(), *PUBLISHED})
    print(f"Taken on {datetime.date.today()} with torch {torch.__version__.partition('+')[0]}.\n")
    print(f"| network | parameters | MACs | px | top-1 % | source | {' | '.join(TARGETS)} |")
    print("|---|--:|--:|--:|--:|---|" + "--:|" * len(TARGETS), flush=True)
    for name in names:
        states = ["-" if arguments.no_export else exported(name, target) for target in TARGETS]
        cells = [f"`{name}`", counts(name), accuracy(name), *states]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
