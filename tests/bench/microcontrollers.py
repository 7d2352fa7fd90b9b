"""Zoo networks on microcontrollers, for docs/measurements/microcontrollers.md.

python tests/bench/microcontrollers.py [--resolution 96] [--device ethos-u55-128] [NETWORK ...]

Exports each with integers at both ends, ranges from generated images and random weights, and prints
a line of the table: memory, Vela's estimate, and how TensorFlow Lite Micro agrees with LiteRT.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edgekit
from edgekit import registry
from edgekit.contract import open_artifact
from edgekit.core import Runner
from edgekit.data import open_source, preprocess
from edgekit.data.stored import stored_values
from edgekit.devices.device import find_device
from edgekit.tables import SIMULATORS

NETWORKS = (
    "mobilenetv1@0.25", "mobilenetv2", "mobilenetv3-small", "mobilenetv4-conv-small",
    "shufflenetv2", "efficientnet-lite0", "mnasnet-b1",
)  # fmt: skip
IMAGES = 32
HEAD = (
    "network", "file KiB", "arena KiB", "activations", "SRAM KiB", "flash KiB", "Mcycles", "ms",
    "on the NPU", "M MACs", "steps from reference", "equal", "steps from XNNPACK", "equal",
    "dB to PyTorch",
)  # fmt: skip


def outputs(runner: Runner, inputs: NDArray[np.int8]) -> NDArray[np.int64]:
    return np.concatenate([runner.run([one[None]])[0].reshape(-1) for one in inputs]).astype(int)


def line(name: str, resolution: int, device: str, folder: Path) -> list[str]:
    report = edgekit.export(
        name, "tflite", "int8", io="int8", calibration="synthetic", resolution=resolution,
        out=folder / name, overwrite=True,
    )  # fmt: skip
    path = Path(report[0].path)
    arena, estimate = edgekit.estimate(path, "tflm"), edgekit.estimate(path, device)
    assert arena.arena is not None
    opened = open_artifact(path)
    source, prepared = open_source("synthetic"), opened.contract.preprocessing
    assert prepared is not None
    images = [
        stored_values(
            preprocess.prepare(source.image("train", i), prepared), opened.contract.inputs[0]
        )
        for i in range(IMAGES)
    ]
    inputs = np.stack(images)
    there = outputs(open_artifact(path, device=find_device("tflm", simulators=True)).runner, inputs)
    reference = SIMULATORS.load("tflm").reference.open(path)
    plain, fast = (there - outputs(one, inputs) for one in (reference, opened.runner))
    agreement = opened.contract.agreement
    assert agreement is not None
    return [
        name,
        f"{arena.size_bytes / 1024:.0f}",
        f"{(arena.arena_bytes or 0) / 1024:.1f}",
        f"{arena.arena['activations'] / 1024:.1f}",
        f"{(estimate.sram_bytes or 0) / 1024:.1f}",
        f"{sum((estimate.memory_bytes or {}).values()) / 1024:.0f}",
        f"{(estimate.cycles or 0) / 1e6:.2f}",
        f"{estimate.estimated_ms:.2f}",
        f"{estimate.npu_share:.0%}",
        f"{(estimate.macs or 0) / 1e6:.1f}",
        f"{abs(plain).max()}",
        f"{np.mean(plain == 0):.2%}",
        f"{abs(fast).max()}",
        f"{np.mean(fast == 0):.2%}",
        f"{agreement.sqnr_db:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--device", default="ethos-u55-128")
    asked = parser.parse_args()
    print("|", " | ".join(HEAD), "|")
    print("|---" * len(HEAD) + "|")
    for name in asked.networks:
        registry.find_model(name)
        with tempfile.TemporaryDirectory() as folder:
            print(
                "|",
                " | ".join(line(name, asked.resolution, asked.device, Path(folder))),
                "|",
                flush=True,
            )


if __name__ == "__main__":
    main()
