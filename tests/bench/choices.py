"""The measurements behind choices that the code has made, so that they can be made again.

Run by `make bench`, or ``python tests/bench/choices.py``. ``python tests/bench/choices.py demo``
times the demo alone and beside busy processes.
"""

from __future__ import annotations

import contextlib
import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim.swa_utils import update_bn

from edgekit.data import preprocess
from edgekit.models import build, find_spec, with_resolution
from edgekit.models.blocks import stabilize
from edgekit.tasks.agreement import compare
from edgekit.training.layout import fit_for_training
from edgekit.verification.samples import noise, reference_scores, statistics_noise

NETWORK, SIDE, BATCH = "mobilenetv3-small", 32, 64
SIDES = (32, 64)
ROUNDS, STEPS = 8, 5
SPINS = ("", "20000", "0")  # "": OpenMP's own choice
SPIN_ROUNDS, SPIN_SECONDS = 5, 5.0
DEMO_ROUNDS = 2
BUSY = "while True: pass"


def network(words: str, side: int) -> tuple[torch.nn.Module, Any]:
    """An untrained network and what it is fed with."""
    spec = with_resolution(find_spec(words), side)
    torch.manual_seed(0)
    return build(spec), spec


def step(model: torch.nn.Module, images: torch.Tensor, amp: bool) -> Callable[[], None]:
    """Forward and backward."""

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            scores = model(images)
        scores.float().sum().backward()

    return run


def layouts() -> None:
    """Images per second of four ways to train, interleaved."""
    for side in SIDES:
        ways = training_ways(side)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, run in ways.items():
                run()
                begin = time.perf_counter()
                for _ in range(STEPS):
                    run()
                seconds[name].append((time.perf_counter() - begin) / STEPS)
        print(
            f"\n{NETWORK}, {side} px, batch {BATCH}, forward and backward, median of {ROUNDS} "
            f"rounds\n"
        )
        print("| what | images/s |\n|---|---|")
        for name, values in seconds.items():
            print(f"| {name} | {BATCH / statistics.median(values):.0f} |", flush=True)


def training_ways(side: int) -> dict[str, Callable[[], None]]:
    """Steps of training by what is done for speed."""
    plain = network(NETWORK, side)[0].train()
    last, fit = copy.deepcopy(plain), copy.deepcopy(plain)
    fit_for_training(fit)
    for module in last.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, side, side)
    images_last = images.contiguous(memory_format=torch.channels_last)
    return {
        "as edgekit trains": step(fit, images_last, amp=False),
        "channels last alone": step(last, images_last, amp=False),
        "PyTorch's default layout": step(plain, images, amp=False),
        "channels last, bfloat16 autocast": step(last, images_last, amp=True),
    }


def depthwise() -> None:
    """A depthwise convolution of a 1x1 map with the strides of either layout."""
    conv = torch.nn.Conv2d(576, 576, 5, padding=2, groups=576, bias=False)
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    images = torch.randn(32, 576, 1, 1)
    ways = {
        "strides of a batch norm's output": images,
        "channels innermost": images.as_strided((32, 576, 1, 1), (576, 1, 576, 576)),
    }
    print("\nDepthwise 5x5, 576 channels, 32 maps of 1x1, forward\n\n| input | ms |\n|---|---|")
    for name, x in ways.items():
        times = []
        with torch.no_grad():
            for _ in range(30):
                begin = time.perf_counter()
                conv(x)
                times.append(time.perf_counter() - begin)
        print(f"| {name} | {1e3 * statistics.median(times):.2f} |", flush=True)


def spinning() -> None:
    """Images per second under settings of OpenMP, alone and beside busy processes, interleaved."""
    print(
        f"\n{NETWORK}, {SIDE} px, batch 32, forward and backward, median of {SPIN_ROUNDS} rounds\n"
    )
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(SPIN_ROUNDS):
        for others in (0, 2):
            for spins in SPINS:
                rates.setdefault((spins, others), []).append(rate_beside(others, spins))
    print("| GOMP_SPINCOUNT | alone, images/s | beside two busy processes |\n|---|---|---|")
    for spins in SPINS:
        alone, beside = (statistics.median(rates[spins, others]) for others in (0, 2))
        print(f"| {spins or 'default'} | {alone:.0f} | {beside:.0f} |", flush=True)


def rate_beside(others: int, spins: str) -> float:
    """Images per second of a new process beside ``others`` that keep a core busy each."""
    environment = {**os.environ, **({"GOMP_SPINCOUNT": spins} if spins else {})}
    with busy_processes(others):
        command = [sys.executable, __file__, "rate"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that keep a core busy each."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def demo() -> None:
    """Seconds of ``edgekit demo`` alone and beside two busy processes, in turns."""
    print(f"\n`edgekit demo`, {DEMO_ROUNDS} rounds\n\n| alone, s | beside two busy processes, s |")
    print("|---|---|", flush=True)
    for _ in range(DEMO_ROUNDS):
        cells = []
        for others in (0, 2):
            with tempfile.TemporaryDirectory() as folder, busy_processes(others):
                begin = time.perf_counter()
                command = [sys.executable, "-m", "edgekit", "demo", "-o", f"{folder}/demo"]
                subprocess.run(command, check=True, capture_output=True)
                cells.append(f"{time.perf_counter() - begin:.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)


def rate() -> None:
    """Prints the images per second of this process."""
    model = network(NETWORK, SIDE)[0].train()
    fit_for_training(model)
    images = torch.randn(32, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    run = step(model, images, amp=False)
    run()
    begin, n = time.perf_counter(), 0
    while time.perf_counter() - begin < SPIN_SECONDS:
        run()
        n += 1
    print(32 * n / (time.perf_counter() - begin))


def untrained_float16() -> None:
    """What rounding the weights to float16 costs networks with random weights."""
    side = 96
    print(
        f"\nPyTorch with weights rounded to float16 against PyTorch, {side} px, 128 noise images\n"
    )
    print("| network | fresh weights | norms shifted by one (exported) |\n|---|---|---|")
    for words in ("mobilenetv1", "mobilenetv2", "mobilenetv3-large", "mobilenetv3-small"):
        cells = []
        for shifted in (False, True):
            model, _ = network(words, side)
            preprocessing = preprocess.default(side)
            if shifted:
                stabilize(model)
            update_bn([torch.from_numpy(batch) for batch in statistics_noise(preprocessing)], model)
            rounded = copy.deepcopy(model)
            for weight in rounded.parameters():
                weight.data = weight.data.half().float()
            images = noise(preprocessing)
            scores = [reference_scores(m.eval(), images) for m in (model, rounded)]
            cells.append(f"{compare(*scores, {}).sqnr_db:.1f} dB")
        print(f"| {words} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["rate"]:
        rate()
    elif sys.argv[1:] == ["demo"]:
        demo()
    else:
        layouts()
        depthwise()
        spinning()
        untrained_float16()
