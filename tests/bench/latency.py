"""How far the measurements of edgekit can be believed. Each figure is a part of its own:

``python tests/bench/latency.py equal``: a file against itself, 50 comparisons: how many intervals
hold 1.0, how many verdicts are wrong. ``slower``: a file against one that costs 5 % more, 20
comparisons: how many tell. ``absolute``: the median of one file in 10 profiles: how far they
scatter. ``tools``: medians against those of the runtimes' own tools. ``operators``: sums of
operators over wholes. With ``--busy`` another process keeps a core busy meanwhile; ``--target``
names the formats, all by default.

All parts: half an hour on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekit.core import FLOAT_SCHEMES, ModelSpec, of_image
from edgekit.measure.comparing import compare
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.measure.statistics import reference_ms, summary
from edgekit.measure.subjects import Subject
from edgekit.registry import target
from edgekit.tables import TARGETS

NETWORK = "mobilenetv3-small"
SECONDS = 8.0  # of turns; with starting and loading, a comparison stays below 10 s
SLOWER = 1.05
EQUAL_TRIALS, SLOWER_TRIALS = 50, 20


def export(spec: ModelSpec, name: str, path: Path) -> Path:
    """Writes a network with fresh weights, without verification."""
    import torch

    from edgekit.models import build

    torch.manual_seed(0)
    model = build(spec).eval()
    side = spec.resolution
    target(name).export(model, of_image(torch.randn(1, 3, side, side)), path, FLOAT_SCHEMES["fp32"])
    return path


def files(folder: Path, networks: list[str], names: list[str]) -> dict[tuple[str, str], Path]:
    """The networks in the formats."""
    from edgekit.models import find_spec

    return {
        (network, name): export(
            find_spec(network), name, folder / f"{network}{target(name).suffix}"
        )
        for network in networks
        for name in names
    }


@contextlib.contextmanager
def load(busy: bool) -> Iterator[None]:
    """A process that keeps a core busy, where asked for."""
    if not busy:
        yield
        return
    code = "import numpy as np\na = np.ones((500, 500))\nwhile True: a @ a"
    one_thread = {"OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], env=one_thread)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def trials(a: Path, b: Path, count: int) -> list[tuple[float, float, float, str]]:
    """Ratios, intervals and verdicts of comparisons."""
    found = []
    for i in range(count):
        result = compare(Subject(str(a)), Subject(str(b)), Effort(SECONDS, 0.01)).ratio
        found.append((result.ratio, *result.ci95, result.verdict))
        print(
            f"  {i + 1}: {result.ratio:.4f} {result.ci95[0]:.4f}..{result.ci95[1]:.4f} "
            f"{result.verdict} ({result.rounds} rounds, {result.loads} loads)",
            file=sys.stderr,
        )
    return found


def equal(folder: Path, names: list[str]) -> None:
    """A against A."""
    for name in names:
        (path,) = files(folder, [NETWORK], [name]).values()
        found = trials(path, path, EQUAL_TRIALS)
        held = sum(low <= 1 <= high for _, low, high, _ in found)
        wrong = sum(verdict != "indistinguishable" for *_, verdict in found)
        width = statistics.median((high - low) / 2 for _, low, high, _ in found)
        print(f"| {NETWORK} {name} | {len(found)} | {held} | {wrong} | ±{width:.2%} |", flush=True)


def slower(folder: Path, names: list[str]) -> None:
    """A against a network whose head was widened until it costs 5 % more."""
    from edgekit.models import find_spec

    del names  # LiteRT's, as in a phone
    spec = find_spec("mobilenetv2")
    a = export(spec, "tflite", folder / "a.tflite")
    width, true = spec.head[0] + 576, 1.0
    while true < SLOWER:
        wider = dataclasses.replace(spec, head=(width,))
        b = export(wider, "tflite", folder / "b.tflite")
        result = compare(Subject(str(b)), Subject(str(a)), Effort(90, 0.002)).ratio
        true = result.ratio
        print(f"  head {width}: {true:.4f} {result.ci95}", file=sys.stderr)
        width += max(1, round((SLOWER - true) / 0.006)) * 64
    found = trials(b, a, SLOWER_TRIALS)
    told = sum(verdict == "b_faster" for *_, verdict in found)
    print(f"| mobilenetv2, head {wider.head[0]}, {true:.3f} | {len(found)} | {told} |", flush=True)


def absolute(folder: Path, names: list[str]) -> None:
    """The median of one file, in profiles of their own."""
    for (_, name), path in files(folder, [NETWORK], names).items():
        medians, least, relative, stable = [], [], [], 0
        for _ in range(10):
            (one,) = profile([Subject(str(path))], Effort(10, 0.005), energy="off").measurements
            found = summary(one.blocks)
            medians.append(found.p50_ms)
            least.append(found.min_ms)
            relative.append(found.p50_ms / reference_ms(one.blocks))
            stable += one.stable
            print(f"  {medians[-1]:.4f} {least[-1]:.4f} {one.reasons}", file=sys.stderr)
        print(
            f"| {NETWORK} {name} | {statistics.mean(medians):.3f} | {scatter(medians):.2%} | "
            f"{scatter(least):.2%} | {scatter(relative):.2%} | {stable} |",
            flush=True,
        )


def scatter(values: list[float]) -> float:
    """Coefficient of variation."""
    return statistics.stdev(values) / statistics.mean(values)


def tool_ms(name: str, path: Path) -> float | None:
    """Median of the runtime's own tool in ms; the mean where it tells no median."""
    tools = Path(sys.executable).parent
    if name == "openvino":
        command = [
            tools / "benchmark_app",
            "-m",
            path,
            "-hint",
            "none",
            "-nthreads",
            "1",
            "-nstreams",
            "1",
            "-nireq",
            "1",
            "-api",
            "sync",
            "-t",
            "4",
            "-infer_precision",
            "f32",
        ]
        pattern = r"Median:\s+([\d.]+) ms"
    elif name == "tflite":
        command = [
            tools / "litert-benchmark",
            "--model",
            path,
            "--num_threads",
            "1",
            "--num_runs",
            "400",
            "--warmup_runs",
            "20",
        ]
        pattern = r"\(median\):\s+([\d.]+)"
    else:
        return plain_onnx_ms(path)
    text = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    found = re.search(pattern, text.stdout + text.stderr)
    return float(found[1]) if found else None


def plain_onnx_ms(path: Path) -> float:
    """ONNX Runtime's wheel has no tool: a loop over its session in a process of its own."""
    code = """
import sys, time, statistics, numpy, onnxruntime
o = onnxruntime.SessionOptions(); o.intra_op_num_threads = 1
o.add_session_config_entry("session.set_denormal_as_zero", "1")
s = onnxruntime.InferenceSession(sys.argv[1], o, providers=["CPUExecutionProvider"])
i = s.get_inputs()[0]; x = {i.name: numpy.random.randn(*i.shape).astype("float32")}
t = []
end = time.perf_counter() + 4
while time.perf_counter() < end:
    b = time.perf_counter(); s.run(None, x); t.append(time.perf_counter() - b)
print(1e3 * statistics.median(t[10:]))
"""
    command = [sys.executable, "-c", code, str(path)]
    return float(subprocess.check_output(command, text=True))


def tools(folder: Path, names: list[str]) -> None:
    """Medians in turns with the runtimes' own tools."""
    networks = [NETWORK, "mobilenetv2"]
    for (network, name), path in files(folder, networks, names).items():
        ours, theirs = [], []
        for _ in range(5):
            theirs.append(tool_ms(name, path))
            (one,) = profile([Subject(str(path))], Effort(4, 0.01), energy="off").measurements
            ours.append(summary(one.blocks).p50_ms)
        told = [ms for ms in theirs if ms is not None]
        if not told:
            print(f"| {network} {name} | {statistics.median(ours):.3f} | - | - |")
            continue
        ratios = [a / b for a, b in zip(ours, told, strict=True)]
        print(
            f"| {network} {name} | {statistics.median(ours):.3f} | "
            f"{statistics.median(told):.3f} | {statistics.median(ratios):.3f} | "
            f"{min(ratios):.3f} to {max(ratios):.3f} |",
            flush=True,
        )


def operators(folder: Path, names: list[str]) -> None:
    """Sums of operators over the whole."""
    networks = [NETWORK, "mobilenetv2", "shufflenetv2"]
    for (network, name), path in files(folder, networks, names).items():
        ratios = []
        for _ in range(3):
            (one,) = profile(
                [Subject(str(path))], Effort(4, 0.01), energy="off", operators=True
            ).measurements
            assert one.operators is not None
            ratios.append(sum(op.ms for op in one.operators) / summary(one.blocks).p50_ms)
        print(
            f"| {network} {name} | {len(one.operators)} | {statistics.median(ratios):.3f} | "
            f"{min(ratios):.3f} to {max(ratios):.3f} |",
            flush=True,
        )


PARTS: dict[str, Callable[[Path, list[str]], None]] = {
    "equal": equal,
    "slower": slower,
    "absolute": absolute,
    "tools": tools,
    "operators": operators,
}
HEADS = {
    "equal": "| a file against itself | trials | interval holds 1.0 | wrong verdicts | interval |",
    "slower": "| network, true ratio | trials | told |",
    "absolute": "| file | mean p50 ms | its CV | CV of minimum | CV of p50 / reference | stable |",
    "tools": "| file | edgekit p50 ms | its own tool ms | ratio | of 5 rounds |",
    "operators": "| file | operators | sum / whole | of 3 rounds |",
}


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--target", action="append", choices=list(TARGETS))
    arguments = parser.parse_args()
    for part in arguments.parts:
        head = HEADS[part]
        print(f"\n{head}\n|{'---|' * (head.count('|') - 1)}")
        with tempfile.TemporaryDirectory() as folder, load(arguments.busy):
            PARTS[part](Path(folder), arguments.target or list(TARGETS))


if __name__ == "__main__":
    main()
