"""Which forms of integers suit Arm: instructions executed there, and what runtimes make of files.

``python tests/bench/arm.py QEMU COUNTER``: QEMU is a ``qemu-aarch64`` with plug-ins, COUNTER the
plug-in of `arm_counter.c`; the userland is that of ``make .arm64/stamp``. The figures are those of
docs/measurements/arm.md, which says how to build both.

An emulator has no times. Instructions per inference, by kind, say what a form makes the processor
do: of one kind of kernel fewer are faster. They know nothing of caches, nor of how many cycles an
instruction takes.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import nn

from edgekit import registry
from edgekit.core import Quantizing, of_image
from edgekit.core.forms import chosen_forms
from edgekit.lowering import lower
from edgekit.native_output import captured

sys.path[:0] = [str(Path(__file__).parents[i]) for i in (0, 1)]

from lowerings import network  # noqa: E402
from small_examples import singly  # noqa: E402

ROOT = Path(__file__).parents[2]
USERLAND = ROOT / ".arm64/root"
SUBJECT = Path(__file__).with_name("arm_subject.py")
RUNS = 2

NETWORKS = ("mobilenetv2", "mobilenetv3-small", "efficientnet-lite0", "mnasnet-b1")
CPUS = {
    "cortex-a72": "cortex-a72",  # no dot products: Raspberry Pi 4
    "cortex-a76": "cortex-a76",  # SDOT: Raspberry Pi 5, phones since 2019
    "max": "max,sve=off,sme=off",  # SMMLA: processors since 2021
}

X86 = "as for x86"
PER_TENSOR = "weights per tensor"
FLOAT = "fp32"
FORMS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "onnx": {
        "as for arm": {},
        X86: {},
        "activations=uint8": {"activations": "uint8"},
        "hardswish=native": {"hardswish": "native"},
        "mean=mean": {"mean": "mean"},
        "stem=float": {"stem": "float"},
        "stem=narrow": {"stem": "narrow"},
        "widths=padded": {"widths": "padded"},
        "squeeze=matmul": {"squeeze": "matmul"},
        PER_TENSOR: {},
        FLOAT: {},
    },
    "tflite": {
        "as for arm": {},
        X86: {},
        "hardswish=native": {"hardswish": "native"},
        "mean=pool": {"mean": "pool"},
        "pointwise=dense": {"pointwise": "dense"},
        FLOAT: {},
    },
}
"""What is changed of the forms for Arm."""

KINDS = ("mull", "dot", "mmla", "fma", "simd", "memory", "scalar")


def write(model: nn.Module, target: str, form: str, path: Path) -> Path:
    """A file in a form, without contract and verification."""
    plug = registry.target(target)
    assert isinstance(plug, Quantizing)
    precision = "fp32" if form == FLOAT else "int8"
    chosen = chosen_forms(plug.choices, precision, "x86-vnni" if form == X86 else "arm")
    scheme = dataclasses.replace(
        plug.schemes[precision],
        forms={name: values[0] for name, values in plug.forms.items()}
        | {**chosen, **FORMS[target][form]},
    )
    if scheme.calibration is not None:
        scheme = dataclasses.replace(
            scheme, calibration=plug.ranges[0], per_channel=form != PER_TENSOR
        )
    images = torch.randn(16, 1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    turned = images if plug.layout == "NCHW" else images.permute(0, 1, 3, 4, 2).contiguous()
    path = path.with_suffix(plug.suffix)
    with captured():
        lowered, _ = lower(copy.deepcopy(model), (images[0],), plug, scheme)
        plug.export(lowered, of_image(images[0]), path, scheme, singly(list(turned.numpy())))
    return path


def run(qemu: Path, counter: Path, cpu: str, path: Path) -> Counter[str]:
    """Instructions of one inference, in millions, by kind."""
    words = [qemu, "-L", USERLAND, "-cpu", cpu, "-plugin", counter]
    words += [USERLAND / "usr/bin/python3.11", SUBJECT, path, str(RUNS), path.with_suffix("")]
    site = str(USERLAND / "opt/site")
    done = subprocess.run(
        words, env={"PYTHONPATH": site, "HOME": str(path.parent)}, capture_output=True, text=True
    )
    told = re.findall(r"^counted (\d) (.*)$", done.stderr, re.MULTILINE)
    if done.returncode != 0 or len(told) != 2:
        sys.exit(f"{path} on {cpu}: {done.returncode}: {done.stderr[-2000:]}")
    sums: list[Counter[str]] = []
    for _, line in told:
        sums.append(Counter())
        for kind, number in re.findall(r"(\w+)=(\d+)", line):
            sums[-1][kind] += int(number)
    return Counter({kind: round((sums[1][kind] - sums[0][kind]) / RUNS / 1e6, 1) for kind in KINDS})


def made_of(path: Path) -> str:
    """What the runtime made of a file, which was run last."""
    if path.suffix == ".onnx":
        nodes = onnx.load(path.with_suffix(".optimized.onnx")).graph.node
        kinds = Counter(node.op_type for node in nodes)
        return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    nodes = json.loads(path.with_suffix(".json").read_text())
    partitions = [(given, made) for kind, given, made in nodes if kind == "DELEGATE"]
    plain = [one for one in nodes if one[0] != "DELEGATE"]
    maker = {tensor: i for i, (_, _, made) in enumerate(plain) for tensor in made}
    inside: set[int] = set()
    for given, made in partitions:
        left = [maker[tensor] for tensor in made if tensor in maker]
        while left:
            node = left.pop()
            if node not in inside:
                inside.add(node)
                left += [maker[t] for t in plain[node][1] if t in maker and t not in given]
    outside = Counter(kind for i, (kind, _, _) in enumerate(plain) if i not in inside)
    rest = ", ".join(f"{count} {kind}" for kind, count in outside.most_common())
    said = f"{len(inside)} of {len(plain)} operators in {len(partitions)} partitions"
    return f"{said}; outside: {rest}" if rest else said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("qemu", type=Path)
    parser.add_argument("counter", type=Path)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--targets", nargs="*", default=list(FORMS))
    parser.add_argument("--cpus", nargs="*", choices=list(CPUS), default=list(CPUS))
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for target in chosen.targets:
        for name in chosen.networks:
            columns = " | ".join(f"{cpu}: {'+'.join(KINDS)}" for cpu in chosen.cpus)
            print(f"\n{name}, {target}, M instructions an inference\n\n| form | {columns} | made |")
            print(f"|{'---|' * (len(chosen.cpus) + 2)}", flush=True)
            model, seen = network(name), dict[bytes, str]()
            for form in FORMS[target]:
                with tempfile.TemporaryDirectory() as folder:
                    path = write(model, target, form, Path(folder) / "net")
                    content = path.read_bytes()
                    if content in seen:
                        print(f"| {form} | the file of '{seen[content]}' |", flush=True)
                        continue
                    seen[content] = form
                    cells = []
                    for cpu in chosen.cpus:
                        found = run(chosen.qemu, chosen.counter, CPUS[cpu], path)
                        parts = "+".join(str(found[kind]) for kind in KINDS)
                        cells.append(f"{sum(found.values()):.1f} ({parts})")
                    print(f"| {form} | {' | '.join(cells)} | {made_of(path)} |", flush=True)


if __name__ == "__main__":
    main()
