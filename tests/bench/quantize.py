"""int8 files beside float ones. Each figure is a part of its own:

``speed``: int8 against fp32 of the same target, in turns, and their sizes; ``stock``: edgekit's
MobileNetV3-Small against what litert-torch and ai-edge-quantizer make of it by themselves;
``floats``: fp32 against the file of the target's usual converter;
``photos``: how often int8 and float agree on the photographs of ``--photos DIR``; ``accuracy``:
top-1 of float and int8 files of a trained network, on all test images of ``--data SRC``.
``--network`` and ``--target`` name some of them.

``speed`` takes about twenty minutes on an idle machine.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.conversion import Exported, export
from edgekit.errors import EdgekitError
from edgekit.inference import evaluate, open_classifier
from edgekit.measure.comparing import compare
from edgekit.measure.session import Effort
from edgekit.measure.subjects import Subject
from edgekit.quantize.integers import Integers

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
TARGETS = ("onnx", "openvino", "tflite")
SECONDS = 8.0


def files(
    name: str, folder: Path, targets: list[str], *, resolution: int | None = 224, **options: Any
) -> dict[tuple[str, str], Exported]:
    """Float and int8 files of a network, by target and precision; says which failed."""
    try:
        results: Any = export(
            name, targets, ["fp32", "int8"], out=folder, resolution=resolution, **options
        )
    except EdgekitError as error:
        results = error.results
        print(f"<!-- {error} -->", flush=True)
    return {
        (r.artifact.target, r.artifact.scheme.precision): r
        for r in results
        if isinstance(r, Exported)
    }


def speed(folder: Path, arguments: argparse.Namespace) -> None:
    """Latency of fp32 over that of int8."""
    ratios: dict[str, list[float]] = {}
    for name in arguments.network or NETWORKS:
        found = files(name, folder, arguments.target, integers=Integers(arguments.data, 32))
        for target in arguments.target:
            if (target, "int8") not in found:
                print(f"| {name} | {target} | - | - | - |", flush=True)
                continue
            one, other = (found[target, p] for p in ("fp32", "int8"))
            ratio = compare(
                *(Subject(str(r.path)) for r in (one, other)), Effort(SECONDS, 0.005)
            ).ratio
            size = (other.artifact.size_bytes or 0) / (one.artifact.size_bytes or 1)
            ratios.setdefault(target, []).append(ratio.ratio)
            print(
                f"| {name} | {target} | {ratio.ratio:.3f} | {ratio.ci95[0]:.3f} to "
                f"{ratio.ci95[1]:.3f} | {size:.3f} |",
                flush=True,
            )
    for target, values in ratios.items():
        mean = math.exp(sum(map(math.log, values)) / len(values))
        print(f"| geometric mean | {target} | {mean:.3f} | | |", flush=True)


def stock(folder: Path, arguments: argparse.Namespace) -> None:
    """The stock converter and quantizer against edgekit's int8 file."""
    import numpy as np

    from edgekit.native_output import captured

    for name in arguments.network or ("mobilenetv3-small",):
        own = files(name, folder, ["tflite"], integers=Integers(arguments.data, 32))
        other = files(name, folder / "stock", ["tflite"], converter="litert-torch",
                      integers=Integers(arguments.data, 32))  # fmt: skip
        rng = np.random.default_rng(0)
        images = rng.standard_normal((8, 1, 224, 224, 3)).astype(np.float32)
        path = folder / f"{name}-stock.tflite"
        with captured():
            usual_integers(other["tflite", "fp32"].path, images, path, "image")
        ratio = compare(
            Subject(str(path)), Subject(str(own["tflite", "int8"].path)), Effort(SECONDS, 0.005)
        ).ratio
        print(
            f"| {name} | {ratio.ratio:.3f} | {ratio.ci95[0]:.3f} to {ratio.ci95[1]:.3f} |",
            flush=True,
        )


def usual_file(module: Any, target: str, path: Path, side: int) -> None:
    """Writes what the target's usual converter makes of a network by itself, in float32."""
    import torch

    image = torch.zeros(1, 3, side, side)
    if target == "onnx":
        torch.onnx.export(module, (image,), path, dynamo=True, external_data=False, verbose=False)
    elif target == "openvino":
        import openvino

        graph = openvino.convert_model(module, example_input=image, input=[1, 3, side, side])
        openvino.save_model(graph, path, compress_to_fp16=False)
    else:
        import litert_torch

        wrapped = litert_torch.to_channel_last_io(module, args=[0])
        litert_torch.convert(wrapped.eval(), (image.permute(0, 2, 3, 1),)).export(str(path))


def usual_integers(floats: Path, images: Iterable[Any], path: Path, name: str) -> None:
    """Writes what ai_edge_quantizer's int8 recipe makes of a TFLite file.

    Args:
        images: (1, H, W, 3) each, that the ranges come from.
        name: of the file's input.
    """
    from ai_edge_quantizer import quantizer, recipe

    worker = quantizer.Quantizer(str(floats), recipe.static_wi8_ai8())
    ranges = worker.calibrate({"serving_default": [{name: image} for image in images]})
    path.write_bytes(worker.quantize(ranges).quantized_model)


def stock_float(name: str, target: str, folder: Path) -> Path:
    """The file of the target's usual converter, of a network with random weights."""
    from edgekit.models.source import open_model
    from edgekit.verification.reference import make_reference

    path = folder / f"{name}-stock{registry.target(target).suffix}"
    model = make_reference(open_model(name, resolution=224)).model
    usual_file(model.module, target, path, 224)
    return path


def floats(folder: Path, arguments: argparse.Namespace) -> None:
    """Latency of the stock converters' float files over that of edgekit's."""
    from edgekit.native_output import captured

    for name in arguments.network or NETWORKS:
        for target in arguments.target:
            (own,) = export(name, [target], ["fp32"], out=folder, resolution=224)
            with captured():
                other = stock_float(name, target, folder)
            ratio = compare(
                Subject(str(other)), Subject(str(own.path)), Effort(SECONDS, 0.005)
            ).ratio
            print(
                f"| {name} | {target} | {ratio.ratio:.3f} | {ratio.ci95[0]:.3f} to "
                f"{ratio.ci95[1]:.3f} |",
                flush=True,
            )


def photos(folder: Path, arguments: argparse.Namespace) -> None:
    """Agreement of int8 files with float ones on photographs; ranges come from 64 of them."""
    import numpy as np

    from edgekit.data.decode import load_image
    from edgekit.data.preprocess import prepare
    from edgekit.tasks.agreement import TOLERANCES
    from edgekit.tasks.agreement import compare as agreement

    pictures = sorted(Path(arguments.photos).glob("*.jpg"))
    source = folder / "photos"
    for i, picture in enumerate(pictures):  # a source has two classes at least
        (source / str(i % 2)).mkdir(parents=True, exist_ok=True)
        (source / str(i % 2) / picture.name).symlink_to(picture.resolve())
    for name in arguments.network or NETWORKS:
        found = files(
            name, folder, arguments.target, data=str(source), integers=Integers(str(source), 64)
        )
        for target in arguments.target:
            if (target, "int8") not in found:
                continue
            pair = [open_classifier(found[target, p].path) for p in ("fp32", "int8")]
            images = np.stack([prepare(load_image(p), pair[0].preprocessing) for p in pictures])
            exact, rounded = (classifier.scores(images) for classifier in pair)
            result = agreement(exact, rounded, TOLERANCES["int8"])
            print(
                f"| {name} | {target} | {result.n} | {result.top1_match:.1%} | "
                f"{result.sqnr_db:.1f} |",
                flush=True,
            )


def accuracy(folder: Path, arguments: argparse.Namespace) -> None:
    """Top-1 of trained networks, float and int8."""
    for words in arguments.network or ():
        name, _, weights = words.partition("=")
        found = files(
            name,
            folder,
            arguments.target,
            resolution=arguments.resolution,
            weights=Path(weights) if weights else None,
            integers=Integers(arguments.data, max_drop=arguments.max_drop),
        )
        for target in arguments.target:
            values = {
                precision: evaluate(open_classifier(found[target, precision].path), arguments.data)
                for precision in ("fp32", "int8")
                if (target, precision) in found
            }
            fp32, int8 = values["fp32"].top1, values["int8"].top1
            print(
                f"| {name} | {target} | {fp32:.2%} | {int8:.2%} | {100 * (int8 - fp32):+.2f} | "
                f"{values['int8'].n} |",
                flush=True,
            )


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "speed": speed,
    "stock": stock,
    "floats": floats,
    "photos": photos,
    "accuracy": accuracy,
}
HEADS = {
    "speed": "| network | target | times as fast | interval | size |",
    "stock": "| network | times as fast as stock int8 | interval |",
    "floats": "| network | target | times as fast as stock fp32 | interval |",
    "photos": "| network | target | images | same top-1 | dB |",
    "accuracy": "| network | target | fp32 | int8 | points | images |",
}


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=["speed", "stock"])
    parser.add_argument("--network", action="append", help="NAME, or NAME=WEIGHTS for accuracy")
    parser.add_argument("--target", action="append")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--photos", metavar="DIR")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--max-drop", type=float, help="of 'edgekit export', for accuracy")
    arguments = parser.parse_args()
    arguments.target = arguments.target or list(TARGETS)
    for part in arguments.parts:
        head = HEADS[part]
        print(f"\n{part}\n\n{head}\n|{'---|' * (head.count('|') - 1)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder), arguments)


if __name__ == "__main__":
    sys.exit(main())
