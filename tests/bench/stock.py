"""What ``edgekit benchmark`` takes, beside the files of the usual tools: CIFAR-10 at 64 px.

Three parts, each of which goes on where it was. ``--out DIR`` holds what they make; ``--data DIR``
is CIFAR-10 as class folders in ``train/`` and ``test/``.

``train``: the networks that no checkpoint is given for, briefly, on a part of the training images;
``files``: the files, and the accuracy of those of integers on all test images; those of floats have
that of PyTorch, which is checked on a part. Both may run beside other work.
``times``: edgekit's files and the usual ones within 0.5 points of PyTorch, in turns on one thread.
It chooses as the benchmark does, by these times. About a minute a network on an idle machine.

The usual files: torch.onnx's in float32; litert-torch's in float32, and in int8 by
ai_edge_quantizer's recipe static_wi8_ai8; OpenVINO's in float32, and in int8 by NNCF's defaults.
Quantizers take the training images that edgekit takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from quantize import NETWORKS, usual_file, usual_integers

import edgekit
from edgekit.benchmarking.choosing import choose
from edgekit.benchmarking.results import OK, Row
from edgekit.contract import load
from edgekit.core import Preprocessing
from edgekit.data import open_source
from edgekit.data.preprocess import prepare
from edgekit.measure import statistics
from edgekit.measure.metering import OFF
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.measure.subjects import Subject
from edgekit.models.source import open_model
from edgekit.native_output import captured
from edgekit.quantize.calibration import calibration_images
from edgekit.verification.reference import make_reference

if TYPE_CHECKING:
    from edgekit.benchmarking.results import Benchmark
    from edgekit.models.model import Model

CHECKED = "mobilenetv3-small"  # that --checkpoint is of
SIDE = 64
TRAINING = (
    "--epochs", "3", "--resolution", str(SIDE), "--batch-size", "64", "--warmup-epochs", "0.5",
    "--no-ema", "--threads", "1",
)  # fmt: skip
PRECISIONS = ("fp32", "int8")
MAX_DROP = 0.5
NEAR = 1.6  # times as slow as edgekit's fastest on a busy machine: those that may be chosen
FLOATS = 500  # images on which files of floats have to answer as PyTorch does
Images = NDArray[np.float32]


def part_of(data: Path, folder: Path, **counts: int | None) -> Path:
    """Links to the first images of each class, by split; all for ``None``."""
    for split, count in counts.items():
        for kind in sorted((data / split).iterdir()):
            (folder / split / kind.name).mkdir(parents=True, exist_ok=True)
            for image in sorted(kind.iterdir())[:count]:
                link = folder / split / kind.name / image.name
                if not link.is_symlink():
                    link.symlink_to(image.resolve())
    return folder


def train(name: str, arguments: argparse.Namespace) -> None:
    """A run of a network in ``out/runs``."""
    run = arguments.out / "runs" / name
    if (run / "done").exists() or _checkpoint(name, arguments) is not None:
        return
    folder, count = arguments.out / f"part-{arguments.per_class}", arguments.per_class
    images = part_of(arguments.data, folder, train=count, test=100)
    command = [sys.executable, "-m", "edgekit", "train", name, "--data", str(images)]
    command += [*TRAINING, "--overwrite", "-o", str(run), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (run / "done").touch()


def _checkpoint(name: str, arguments: argparse.Namespace) -> Path | None:
    return arguments.checkpoint if name == CHECKED else None


def _source(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """A network as `open_model` and `edgekit.benchmark` take it."""
    weights = _checkpoint(name, arguments)
    if weights is not None:
        return {"source": name, "weights": weights, "resolution": SIDE}
    return {"source": str(arguments.out / "runs" / name)}


def benchmarked(name: str, arguments: argparse.Namespace) -> Benchmark:
    """What edgekit makes of a network; its own figures are of 1,000 images and a second a file."""
    folder = arguments.out / "benchmark-data"
    if not folder.exists():
        part_of(arguments.data, folder, test=100)
        (folder / "train").symlink_to((arguments.data / "train").resolve())
    return edgekit.benchmark(
        **_source(name, arguments), precisions=PRECISIONS, data=folder, max_drop=MAX_DROP,
        out=arguments.out / "files" / name, seconds=1, precision_goal=20,
    )  # fmt: skip


def files(name: str, arguments: argparse.Namespace) -> None:
    """All files of a network, and their accuracy."""
    kept = arguments.out / "files" / f"{name}.json"
    if kept.exists():
        return
    begin = time.perf_counter()
    result = benchmarked(name, arguments)
    assert result.stock is not None
    own = [row.path for row in result.rows if row.state == OK]
    preprocessing = load(own[0]).preprocessing  # of a checkpoint, that of the images
    assert preprocessing is not None
    preprocessing = dataclasses.replace(preprocessing, layout="NCHW")
    model = make_reference(open_model(**_source(name, arguments))).model
    model = dataclasses.replace(model, preprocessing=preprocessing)
    images, labels = _test_images(preprocessing, arguments)
    with torch.no_grad():
        parts = (model.module(torch.from_numpy(part)) for part in np.array_split(images, 100))
        scores = np.concatenate([part.numpy() for part in parts])
    exact = float(np.mean(scores.argmax(1) == labels))
    found: dict[str, float] = {}
    for path in (*own, result.stock.path, *usual(model, arguments)):
        run, integers = RUNNERS[path.suffix](path), "int8" in path.name
        count = len(images) if integers else FLOATS
        answers = np.array([int(run(image[None]).argmax()) for image in images[:count]])
        same = float(np.mean(answers == scores[:count].argmax(1)))
        if not integers and same < 1 - 2 / FLOATS:
            print(f"left out: {path} agrees with PyTorch on {same:.1%} of {count} images only")
            continue
        found[str(path)] = float(np.mean(answers == labels)) if integers else exact
    kept.write_text(json.dumps({"PyTorch": exact, "files": found}, indent=2))
    told = {Path(path).name: f"{100 * top1:.2f}" for path, top1 in found.items()}
    left = {f"{row.target} {row.precision}": row.reason for row in result.rows if row.state != OK}
    print(
        f"{name}: PyTorch {exact:.2%}; {told}; {left}; {time.perf_counter() - begin:.0f} s",
        flush=True,
    )


def _test_images(
    preprocessing: Preprocessing, arguments: argparse.Namespace
) -> tuple[Images, NDArray[np.int64]]:
    """All test images as networks take them (n, 3, H, W), and their labels; prepared once."""
    about = hashlib.sha256(repr(preprocessing).encode()).hexdigest()[:12]
    path, source = arguments.out / f"test-{about}.npy", open_source(str(arguments.data))
    count = source.size("test")
    if not path.exists():
        np.save(path, np.stack([prepare(source.image("test", i), preprocessing)
                                for i in range(count)]))  # fmt: skip
    labels = np.array([source.label("test", i) for i in range(count)])
    return np.load(path), labels


def usual(model: Model, arguments: argparse.Namespace) -> list[Path]:
    """Writes the files of litert-torch and OpenVINO."""
    import nncf
    import openvino

    assert model.preprocessing is not None
    folder = arguments.out / "files" / f"{model.name}-usual"
    folder.mkdir(parents=True, exist_ok=True)
    data = str(arguments.out / "benchmark-data")
    ranges = calibration_images(data, model.preprocessing).images[:, None]
    floats, integers = folder / "litert-torch-fp32.tflite", folder / "litert-torch-int8.tflite"
    graphs = folder / "openvino-fp32.xml", folder / "openvino-nncf-int8.xml"
    made = [floats, integers, *graphs]
    if all(path.exists() for path in made):
        return made
    with captured():
        usual_file(model.module, "tflite", floats, SIDE)
        usual_integers(floats, np.moveaxis(ranges, 2, -1), integers, "args_0")
        usual_file(model.module, "openvino", graphs[0], SIDE)
        graph = nncf.quantize(openvino.Core().read_model(graphs[0]), nncf.Dataset(list(ranges)))
        openvino.save_model(graph, graphs[1], compress_to_fp16=False)
    return made


def onnx(path: Path) -> Callable[[Images], NDArray[Any]]:
    """An ONNX file; takes (1, 3, H, W)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    (given,) = session.get_inputs()
    return lambda image: np.asarray(session.run(None, {given.name: image})[0])


def litert(path: Path) -> Callable[[Images], NDArray[Any]]:
    """A TFLite file; takes (1, 3, H, W)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]  # the recipe's files take and give integers

    def run(image: Images) -> NDArray[Any]:
        values = np.moveaxis(image, 1, -1)
        if given["dtype"] == np.int8:
            values = np.clip(np.round(values / scale + zero), -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], values)
        interpreter.invoke()
        scores: NDArray[Any] = interpreter.get_tensor(taken["index"])
        return scores

    return run


def openvino_ir(path: Path) -> Callable[[Images], NDArray[Any]]:
    """OpenVINO IR; takes (1, 3, H, W)."""
    import openvino

    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", options)

    def run(image: Images) -> NDArray[Any]:
        scores: NDArray[Any] = compiled([image])[0]
        return scores

    return run


RUNNERS = {".onnx": onnx, ".tflite": litert, ".xml": openvino_ir}


def times(name: str, arguments: argparse.Namespace) -> None:
    """Chooses by times in turns, and prints a row."""
    result = benchmarked(name, arguments)
    kept = json.loads((arguments.out / "files" / f"{name}.json").read_text())
    reference, top1 = float(kept["PyTorch"]), dict(kept["files"])
    rows = {str(row.path): row for row in result.rows if str(row.path) in top1}
    fast = min(_p50(row) for path, row in rows.items() if fits(top1[path], reference))
    slow = {path for path, row in rows.items() if _p50(row) > NEAR * fast}
    near = [path for path in top1 if fits(top1[path], reference) and path not in slow]
    effort = Effort(arguments.seconds * len(near), 0.001)
    found = profile([Subject(path) for path in near], effort, energy=OFF).measurements
    blocks = {one.artifact: one.blocks for one in found}
    latency = {path: statistics.summary(blocks[path]) for path in near}
    measured = {one.artifact: one for one in found}
    judged = [
        dataclasses.replace(rows[path], measurement=measured[path], latency=latency[path],
                            evaluation=None)
        for path in near if path in rows
    ]  # fmt: skip
    taken = choose(judged, None, "", MAX_DROP).row
    assert taken is not None
    choice = str(taken.path)
    best = min((path for path in near if path not in rows), key=lambda p: latency[p].p50_ms)
    ratio = statistics.ratio(blocks[best], blocks[choice])
    called = {path: _called(path, result) for path in top1}
    cells = [
        name,
        f"{100 * reference:.2f}",
        called[choice],
        f"{100 * top1[choice]:.2f}",
        f"{latency[choice].p50_ms:.3f}",
        called[best],
        f"{100 * top1[best]:.2f}",
        f"{latency[best].p50_ms:.3f}",
        f"{ratio.ratio:.2f} ({ratio.ci95[0]:.2f} to {ratio.ci95[1]:.2f})",
        ", ".join(
            f"{called[path]} {100 * (top1[path] - reference):+.2f}"
            for path in top1
            if not fits(top1[path], reference)
        ),
        ", ".join(
            f"{called[path]} {latency[path].p50_ms:.3f}"
            for path in sorted(latency, key=lambda path: latency[path].p50_ms)
        ),
    ]
    out = arguments.out / "files" / f"{name}-times.json"
    out.write_text(json.dumps({"ratio": ratio.ratio, "cells": cells}))
    print(f"| {' | '.join(cells)} |", flush=True)


def fits(top1: float, reference: float) -> bool:
    """Whether a file is within the bound."""
    return 100 * (reference - top1) <= MAX_DROP + 1e-9


def _p50(row: Row) -> float:
    assert row.latency is not None
    return row.latency.p50_ms


def _called(path: str, result: Benchmark) -> str:
    """A file by the tools that wrote it."""
    if result.stock is not None and path == str(result.stock.path):
        return "torch.onnx fp32"
    for row in result.rows:
        if path == str(row.path):
            return f"edgekit {row.target} {row.precision}"
    return Path(path).stem


HEAD = (
    "network", "PyTorch top-1 %", "edgekit's choice", "top-1 %", "p50 ms", "best usual file",
    "top-1 %", "p50 ms", "times as fast", "files that lose more, points", "all, p50 ms",
)  # fmt: skip
PARTS: dict[str, Callable[[str, argparse.Namespace], None]] = {
    "train": train,
    "files": files,
    "times": times,
}


def main() -> None:
    """Runs the parts, one network after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="+", choices=[*PARTS])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help=f"of {CHECKED} at {SIDE} px")
    parser.add_argument("--per-class", type=int, default=400, help="images of train")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--seconds", type=float, default=5.0, help="of times, for each file")
    arguments = parser.parse_args()
    names = arguments.network or NETWORKS
    for part in arguments.parts:
        if part == "times":
            print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
        for name in names:
            PARTS[part](name, arguments)
    if "times" in arguments.parts:
        kept = (arguments.out / "files" / f"{name}-times.json" for name in names)
        ratios = [json.loads(path.read_text())["ratio"] for path in kept]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"\nGeometric mean of {len(ratios)}: {mean:.2f} times as fast")


if __name__ == "__main__":
    main()
