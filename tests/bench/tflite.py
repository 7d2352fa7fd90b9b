"""edgekit's TensorFlow Lite files beside those of litert-torch. Each figure is a part of its own:

``python tests/bench/tflite.py convert``: seconds of conversions in a process that has done one.
``latency``: edgekit's files against those of litert-torch, in turns, with the number of operators;
``int8``: the same of what ai-edge-quantizer makes of both. ``forms``: the ways of writing one
network against each other. ``same``: scores in LiteRT, through OpenVINO and, with ``--tensorflow``
and the Python that has it, in TensorFlow. ``--network`` names some of the networks.

All parts: about half an hour on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import FLOAT_SCHEMES
from edgekit.measure.comparing import compare
from edgekit.measure.session import Effort
from edgekit.measure.subjects import Subject
from edgekit.native_output import captured

NETWORKS = (
    "mobilenetv1",
    "mobilenetv2",
    "mobilenetv3-small",
    "mobilenetv3-large",
    "shufflenetv1-g3",
    "shufflenetv2",
    "efficientnet-b0",
    "efficientnet-lite0",
    "mnasnet-b1",
)
SIDE = 224
SECONDS = 8.0
CALIBRATION_IMAGES = 8


def network(name: str) -> tuple[Any, Any]:
    """A network with fresh weights and its batch norms folded, and an image for it."""
    import torch

    from edgekit.lowering import lower
    from edgekit.models.source import open_model
    from edgekit.registry import target
    from edgekit.verification.reference import make_reference

    reference = make_reference(open_model(name, resolution=SIDE))
    image = torch.from_numpy(reference.images[:1])
    lowered, _ = lower(reference.model.module, (image,), target("tflite"), FLOAT_SCHEMES["fp32"])
    return lowered, image


def converted(
    name: str, converter: str, model: Any, image: Any, folder: Path
) -> tuple[Path, float]:
    """A file, and the seconds that its conversion took."""
    from exporters.tflite.target import CONVERTERS

    path = folder / f"{name}-{converter}.tflite"
    with captured(), contextlib.redirect_stdout(io.StringIO()):
        begin = time.perf_counter()
        content = CONVERTERS[converter](model, image, FLOAT_SCHEMES["fp32"])
        seconds = time.perf_counter() - begin
    path.write_bytes(content)
    return path, seconds


def quantized(path: Path) -> Path:
    """The file with weights and activations of 8 bits, its ranges from noise: good for timing."""
    from ai_edge_quantizer import quantizer, recipe

    rng = np.random.default_rng(0)
    images = rng.standard_normal((CALIBRATION_IMAGES, 1, SIDE, SIDE, 3)).astype(np.float32)
    with captured():
        worker = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
        ranges = worker.calibrate({"serving_default": [{"image": image} for image in images]})
        content = worker.quantize(ranges).quantized_model
    found = path.with_name(f"{path.stem}-int8.tflite")
    found.write_bytes(content)
    return found


def operators(path: Path) -> Counter[str]:
    """How many operators of each kind a file has."""
    from exporters.tflite.flatbuffer import operator_kind, unpack

    flat = unpack(path.read_bytes())
    return Counter(operator_kind(flat, one) for one in flat.subgraphs[0].operators)


def convert(folder: Path, names: list[str], arguments: argparse.Namespace) -> None:
    """Seconds of both converters, in turns."""
    del arguments
    model, image = network("mobilenetv1@0.25")
    for converter in ("edgekit", "litert-torch"):
        converted("first", converter, model, image, folder)
    for name in names:
        model, image = network(name)
        own = [converted(name, "edgekit", model, image, folder)[1] for _ in range(2)]
        other = converted(name, "litert-torch", model, image, folder)[1]
        own.append(converted(name, "edgekit", model, image, folder)[1])
        median = statistics.median(own)
        print(f"| {name} | {median:.2f} | {other:.1f} | {other / median:.1f} |", flush=True)


def latency(
    folder: Path, names: list[str], arguments: argparse.Namespace, int8: bool = False
) -> None:
    """Files of both converters in turns."""
    del arguments
    for name in names:
        model, image = network(name)
        paths = [
            converted(name, converter, model, image, folder)[0]
            for converter in ("edgekit", "litert-torch")
        ]
        if int8:
            paths = [quantized(path) for path in paths]
        ratio = compare(*(Subject(str(path)) for path in paths), Effort(SECONDS, 0.005)).ratio
        counts = [operators(path) for path in paths]
        transposes = " and ".join(str(count["TRANSPOSE"]) for count in counts)
        faster, least, most = (1 / x for x in (ratio.ratio, ratio.ci95[1], ratio.ci95[0]))
        print(
            f"| {name} | {faster:.3f} | {least:.3f} to {most:.3f} | "
            f"{counts[0].total()} and {counts[1].total()} | {transposes} |",
            flush=True,
        )


def int8(folder: Path, names: list[str], arguments: argparse.Namespace) -> None:
    """What ai-edge-quantizer makes of both, in turns."""
    latency(folder, names, arguments, int8=True)


FORMS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "hardswish": ("native", "clamp", ("mobilenetv3-small", "mobilenetv3-large")),
    "mean": ("mean", "pool", ("mobilenetv2", "mobilenetv3-small")),
    "pointwise": ("conv", "dense", ("mobilenetv3-small", "efficientnet-b0")),
    "grouped": ("native", "split", ("shufflenetv1-g3",)),
}


def forms(folder: Path, names: list[str], arguments: argparse.Namespace) -> None:
    """Each way of writing something against its first one, in float and in 8 bits."""
    del arguments
    from exporters.tflite.converter import convert as write
    from exporters.tflite.lowering import Forms

    for form, (first, second, networks) in FORMS.items():
        for name in networks:
            if name not in names:
                continue
            model, image = network(name)
            paths = []
            for value in (first, second):
                path = folder / f"{name}-{form}-{value}.tflite"
                path.write_bytes(write(model, image, Forms(**{form: value})))
                paths.append(path)
            for kind in ("float", "int8"):
                if kind == "int8":
                    paths = [quantized(path) for path in paths]
                one, other = (Subject(str(path)) for path in paths)
                ratio = compare(one, other, Effort(SECONDS, 0.005)).ratio
                print(
                    f"| {name} | {kind} | {form}: {first} / {second} | {ratio.ratio:.3f} | "
                    f"{ratio.ci95[0]:.3f} to {ratio.ci95[1]:.3f} |",
                    flush=True,
                )


_RUN_TENSORFLOW = """
import sys, numpy, tensorflow
i = tensorflow.lite.Interpreter(sys.argv[1], num_threads=1); i.allocate_tensors()
i.set_tensor(i.get_input_details()[0]["index"], numpy.load(sys.argv[2])); i.invoke()
numpy.save(sys.argv[3], i.get_tensor(i.get_output_details()[0]["index"]))
"""


def same(folder: Path, names: list[str], arguments: argparse.Namespace) -> None:
    """Largest differences to LiteRT's scores, in parts of the largest one."""
    import openvino

    from edgekit.registry import target

    core = openvino.Core()
    for name in names:
        model, image = network(name)
        path, _ = converted(name, "edgekit", model, image, folder)
        images = np.ascontiguousarray(image.numpy().transpose(0, 2, 3, 1))
        (scores,) = target("tflite").open(path, threads=1).run([images])
        compiled = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = {"OpenVINO": compiled(images)[0], "TensorFlow": None}
        if arguments.tensorflow:
            given, got = folder / "image.npy", folder / "scores.npy"
            np.save(given, images)
            command = [arguments.tensorflow, "-c", _RUN_TENSORFLOW, path, given, got]
            subprocess.run(list(map(str, command)), check=True, capture_output=True)
            found["TensorFlow"] = np.load(got)
        with_torch = model(image).detach().numpy()
        differences = [
            "-" if other is None else f"{np.abs(other - scores).max() / np.abs(scores).max():.1e}"
            for other in (with_torch, *found.values())
        ]
        print(f"| {name} | {' | '.join(differences)} |", flush=True)


PARTS: dict[str, Callable[[Path, list[str], argparse.Namespace], None]] = {
    "convert": convert,
    "latency": latency,
    "int8": int8,
    "forms": forms,
    "same": same,
}
FASTER = "| network | times as fast | interval | operators | transposes |"
HEADS = {
    "convert": "| network | edgekit s | litert-torch s | ratio |",
    "latency": FASTER,
    "int8": FASTER,
    "forms": "| network | | latencies of | ratio | interval |",
    "same": "| network | PyTorch | OpenVINO | TensorFlow |",
}


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--network", action="append")
    parser.add_argument("--tensorflow", metavar="PYTHON")
    arguments = parser.parse_args()
    for part in arguments.parts:
        head = HEADS[part]
        print(f"\n{part}\n\n{head}\n|{'---|' * (head.count('|') - 1)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder), arguments.network or list(NETWORKS), arguments)


if __name__ == "__main__":
    sys.exit(main())
