"""YOLO networks of ultralytics, exported by edgekit, and beside the files of ultralytics' exporter.

``python tests/bench/yolo.py --work DIR`` runs in an environment with ultralytics. Each network is
built from its configuration, without published weights, and trained for a minute on scenes that
this script draws: a network of random weights multiplies what rounding does to its inputs, and no
file of integers can be held against that. ``files`` prints how closely each output of each file
follows PyTorch, ``scores`` the same of boxes and scores that lie in one output, ``speed`` times
files of one format in turns. ``--network`` names some networks.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false"}

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.errors import EdgekitError

NETWORKS = ("yolov8n", "yolo11n")
SIDE, STEPS, BATCH, RATE = 160, 240, 8, 1e-3
CALIBRATION_SCENES, SCENES = 24, 48
COLOURS = np.array([[0.9, 0.2, 0.2], [0.2, 0.8, 0.3], [0.2, 0.3, 0.9]])
STOCK = {"onnx": "onnx", "openvino": "openvino", "tflite": "litert"}
"""By target the format of ultralytics' exporter."""
SECONDS = 8.0

Box = list[float]


def scene(rng: np.random.Generator) -> tuple[NDArray[np.float32], list[int], list[Box]]:
    """An image (3, side, side) with rectangles: their colours, and where they are, as shares."""
    image = rng.uniform(0.2, 0.6, (1, 1, 3)) + rng.normal(0, 0.05, (SIDE, SIDE, 3))
    colours: list[int] = []
    boxes: list[Box] = []
    for _ in range(rng.integers(1, 5)):
        width, height = rng.integers(SIDE // 8, SIDE // 2, 2)
        x, y = rng.integers(0, SIDE - width), rng.integers(0, SIDE - height)
        colour = int(rng.integers(0, len(COLOURS)))
        noise = rng.normal(0, 0.05, (height, width, 3))
        image[y : y + height, x : x + width] = COLOURS[colour] * rng.uniform(0.7, 1) + noise
        colours.append(colour)
        boxes.append([v / SIDE for v in (x + width / 2, y + height / 2, width, height)])
    return np.clip(image, 0, 1).astype(np.float32).transpose(2, 0, 1), colours, boxes


def batch(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Scenes as the loss of ultralytics takes them."""
    scenes = [scene(rng) for _ in range(BATCH)]
    return {
        "img": torch.from_numpy(np.stack([image for image, _, _ in scenes])),
        "batch_idx": torch.tensor([i for i, (_, c, _) in enumerate(scenes) for _ in c]).float(),
        "cls": torch.tensor([c for _, colours, _ in scenes for c in colours]).float()[:, None],
        "bboxes": torch.tensor([box for _, _, boxes in scenes for box in boxes]).float(),
    }


def trained(name: str, folder: Path) -> nn.Module:
    """The network after some steps of training; kept in the folder."""
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    network = DetectionModel(f"{name}.yaml", ch=3, nc=len(COLOURS), verbose=False)
    kept = folder / f"{name}.pt"
    if kept.exists():
        network.load_state_dict(torch.load(kept, weights_only=True))
        return network.eval()
    network.args, rng = get_cfg(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    network.train()
    for step in range(STEPS):
        loss, parts = network.loss(batch(rng))
        optimizer.zero_grad()
        loss.sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10)
        optimizer.step()
        if step % 40 == 0:
            print(name, step, {k: round(float(v), 2) for k, v in parts.items()}, file=sys.stderr)
    torch.save(network.state_dict(), kept)
    return network.eval()


def exported(name: str, network: nn.Module, folder: Path, *, alone: bool = False) -> list[Any]:
    """What becomes of every target in fp32 and int8.

    Args:
        alone: keep the first output only, which is all that ultralytics' exporter writes.
    """
    import edgekit

    rng = np.random.default_rng(1)
    parts = {"calibration": CALIBRATION_SCENES, "verification": SCENES - CALIBRATION_SCENES}
    for part, count in parts.items():
        (folder / part).mkdir(exist_ok=True)
        for i in range(count):
            np.savez(folder / part / f"{i}.npz", x=scene(rng)[0][None])
    try:
        return list(
            edgekit.export(
                network,
                targets="onnx,openvino,tflite",
                precisions="fp32,int8",
                example=torch.from_numpy(scene(rng)[0][None]),
                outputs=["output_0"] if alone else (),
                out=folder / ("alone" if alone else "whole"),
                name=name,
                data=str(folder / "verification"),
                calibration=str(folder / "calibration"),
                overwrite=True,
            )
        )
    except EdgekitError as error:
        print(f"<!-- {error} -->")
        return [r for r in getattr(error, "results", ()) if hasattr(r, "artifact")]


def stock(name: str, network: nn.Module, folder: Path) -> dict[str, Path]:
    """Files of ultralytics' own exporter, by target; of those formats that it writes here."""
    from ultralytics import YOLO
    from ultralytics.cfg import DEFAULT_CFG_DICT

    whole: Any = YOLO(f"{name}.yaml")
    model: Any = network
    model.args = {**DEFAULT_CFG_DICT, **whole.overrides, "imgsz": SIDE}
    model.task, model.pt_path, whole.model = "detect", str(folder / f"{name}.pt"), network
    found = {}
    for target, format_ in STOCK.items():
        try:
            path = Path(whole.export(format=format_, imgsz=SIDE, device="cpu"))
        except Exception as error:  # of whatever it lacks
            print(f"<!-- {name}: no {format_} file of ultralytics: {str(error)[:200]} -->")
            continue
        suffix = {"openvino": "*.xml", "tflite": "*.tflite"}.get(target)
        found[target] = next(path.rglob(suffix)) if suffix and path.is_dir() else path
    return found


def files(names: list[str], work: Path) -> None:
    """Agreement of each output, in dB."""
    print("| network | file | outputs | worst dB | all |\n|---|---|---|---|---|")
    for name in names:
        network = trained(name, work)
        for result in exported(name, network, work):
            agreement = result.artifact.agreement
            told = ", ".join(f"{one.name} {one.sqnr_db:.1f}" for one in agreement.outputs)
            passed = "passed" if agreement.passed else "rejected"
            print(
                f"| {name} | {result.path.name} | {passed} | {agreement.sqnr_db:.1f} | {told} |",
                flush=True,
            )


def scores(names: list[str], work: Path) -> None:
    """Of int8 files the signal to noise of boxes and of scores in one output, in dB."""
    from edgekit import registry
    from edgekit.arrays import turned

    print("| network | target | boxes dB | scores dB |\n|---|---|---|---|")
    for name in names:
        network, rng = trained(name, work), np.random.default_rng(5)
        images = [scene(rng)[0][None] for _ in range(12)]
        with torch.no_grad():
            wanted = np.concatenate([network(torch.from_numpy(x))[0].numpy() for x in images])
        for result in exported(name, network, work, alone=True):
            if result.artifact.scheme.precision != "int8":
                continue
            target = registry.target(result.artifact.target)
            runner = target.open(result.path, 1)
            given = [np.ascontiguousarray(turned(x, "NCHW", target.layout)) for x in images]
            found = np.concatenate([runner.run([x])[0] for x in given])
            figures = [
                10 * np.log10(np.square(a - a.mean(0)).mean() / np.square(a - b).mean())
                for a, b in ((wanted[:, :4], found[:, :4]), (wanted[:, 4:], found[:, 4:]))
            ]
            print(f"| {name} | {target.name} | {figures[0]:.1f} | {figures[1]:.1f} |", flush=True)


def speed(names: list[str], work: Path) -> None:
    """edgekit's files against ultralytics' float file of the same format."""
    from edgekit.measure.comparing import compare
    from edgekit.measure.session import Effort
    from edgekit.measure.subjects import Subject

    print("| network | target | file | times as fast | 95 % interval |\n|---|---|---|---|---|")
    for name in names:
        made = {
            (r.artifact.target, r.artifact.scheme.precision): r.path
            for r in exported(name, trained(name, work), work, alone=True)
            if not r.path.name.endswith(".rejected")
        }
        other = stock(name, trained(name, work), work)
        for (target, precision), path in made.items():
            if target not in other:
                continue
            pair = [Subject(str(one), threads=1) for one in (other[target], path)]
            ratio = compare(*pair, Effort(SECONDS, goal=0.01)).ratio
            between = f"{ratio.ci95[0]:.3f} to {ratio.ci95[1]:.3f}"
            print(
                f"| {name} | {target} | {precision} | {ratio.ratio:.3f} | {between} |", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["files", "scores", "speed"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--network", action="append")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        {"files": files, "scores": scores, "speed": speed}[part](
            options.network or list(NETWORKS), work
        )


if __name__ == "__main__":
    main()
