"""Export of trained networks: agreement and accuracy in every format, and seconds from cold.

Run by `make bench`, or with networks' names: ``python tests/bench/export.py mobilenetv2``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NETWORKS = ("mobilenetv1", "mobilenetv2", "mobilenetv3-small", "mobilenetv3-large")
TARGETS = ("onnx", "openvino", "tflite")
COLD_NETWORK = "mobilenetv3"
COLD_RUNS = 3


def edgekit(*arguments: str) -> dict[str, Any]:
    """The JSON document of one command."""
    command = [sys.executable, "-m", "edgekit", *arguments, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def formats(folder: Path, networks: list[str]) -> None:
    """Trains each network on digits, exports it everywhere, evaluates every file."""
    print("\nTrained on digits, 32 px, 15 epochs, seed 0; `edgekit export RUN --target all`")
    print("`--precision fp32,fp16`, `edgekit evaluate FILE --data digits`\n")
    print("| network | target | precision | MiB | agreement dB | same top-1 | top-1 | PyTorch |")
    print("|---|---|---|---|---|---|---|---|")
    for model in networks:
        run = folder / model
        edgekit("train", model, "--resolution", "32", "-o", str(run))
        pytorch = edgekit("evaluate", str(run), "--data", "digits")["top1"]
        exported = edgekit(
            "export", str(run), "--target", "all", "--precision", "fp32,fp16", "-o", str(folder)
        )
        for file in exported["artifacts"]:
            top1 = edgekit("evaluate", file["path"], "--data", "digits")["top1"]
            agreement = file["agreement"]
            print(
                f"| {model} | {file['target']} | {file['precision']} "
                f"| {file['size_bytes'] / 2**20:.2f} | {agreement['sqnr_db']:.1f} "
                f"| {agreement['top1_match']:.2%} | {top1:.2%} | {pytorch:.2%} |",
                flush=True,
            )


def cold(folder: Path) -> None:
    """Seconds of a first export in a new process, and how many of them are imports."""
    print(f"\n`edgekit export {COLD_NETWORK} --target T`, new process, median of {COLD_RUNS}\n")
    print("| target | whole process s | of it imports s | conversion s |\n|---|---|---|---|")
    for target in TARGETS:
        runs = []
        for i in range(COLD_RUNS):
            begin = time.perf_counter()
            document = edgekit(
                "export", COLD_NETWORK, "--target", target, "-o", str(folder / f"cold{i}")
            )
            seconds = time.perf_counter() - begin
            runs.append((seconds, document["artifacts"][0]["convert_seconds"]))
        seconds, conversion = sorted(runs)[len(runs) // 2]
        imports = sorted(import_seconds(target) for _ in range(COLD_RUNS))[COLD_RUNS // 2]
        print(f"| {target} | {seconds:.1f} | {imports:.1f} | {conversion:.1f} |", flush=True)


def import_seconds(target: str) -> float:
    """Seconds that the imports of an export to ``target`` take in a new process."""
    packages = {
        "onnx": "onnx, onnxscript, torch.onnx, onnxruntime",
        "openvino": "openvino",
        "tflite": "ai_edge_litert.interpreter",
    }
    code = (
        "import sys, time; sys.modules['openvino_telemetry'] = None; begin = time.perf_counter(); "
        f"import edgekit.conversion, {packages[target]}; print(time.perf_counter() - begin)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Prints tables in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        formats(Path(folder), sys.argv[1:] or list(NETWORKS))
        cold(Path(folder))


if __name__ == "__main__":
    main()
