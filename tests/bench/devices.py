"""What it costs to run files on a device behind SSH, against running them here.

``python tests/bench/devices.py ssh://user@host[:port] [--python PATH]``; the device is this
machine by its own address, so that all else is equal. A file is measured here and there in turns,
and evaluated here as it was before there were agents: in this process. Five minutes on an idle
machine.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from edgekit.core import FLOAT_SCHEMES, of_image
from edgekit.devices.device import HOST, Device
from edgekit.devices.profiles import transport_of
from edgekit.devices.runner import open_file
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.measure.statistics import summary
from edgekit.models import build, find_spec
from edgekit.registry import target
from edgekit.search.timing import Timer

NETWORK = "mobilenetv3-small"
ROUNDS, SECONDS, CALLS, RUNS, PARTS = 6, 6.0, 10, 300, 200


def seconds(call: Callable[[], object]) -> float:
    begin_s = time.perf_counter()
    call()
    return time.perf_counter() - begin_s


def calls(device: Device) -> None:
    """Time until an agent has said hello: with nothing there, and once it and a connection are."""

    def call() -> None:
        agent = device.open()
        agent.ask("hello")
        agent.close()

    shutil.rmtree(Path.home() / ".cache" / "edgekit" / "agents", ignore_errors=True)
    cold = seconds(call)
    warm = [seconds(call) for _ in range(CALLS)]
    print(f"a call: cold {cold:.2f} s, warm {statistics.median(warm):.3f} s")


def medians(device: Device, path: Path) -> None:
    """p50 there over p50 here, in turns."""
    ratios = []
    for i in range(ROUNDS):
        places = (HOST, device) if i % 2 else (device, HOST)
        found = {}
        for place in places:
            done = profile([path], Effort(SECONDS, 0.0), device=place, energy="off")
            found[place.name] = summary(done.measurements[0].blocks).p50_ms
        ratios.append(found[device.name] / found[HOST.name])
    low, high = min(ratios), max(ratios)
    print(f"p50 there over here: {statistics.median(ratios):.4f} ({low:.4f} to {high:.4f})")


def inferences(device: Device, name: str, path: Path) -> None:
    """An inference with its images sent, over one in this process, in turns."""
    runners = {
        "here": open_file(target(name), path, 1),
        "there": open_file(target(name), path, 1, device=device),
        "in this process": target(name).open(path, 1),
    }
    inputs = runners["here"].tensors()[0]
    given = [np.random.default_rng(0).standard_normal(s.shape, np.float32) for s in inputs]
    times: dict[str, list[float]] = {key: [] for key in runners}
    for _ in range(RUNS):
        for key, runner in runners.items():
            times[key].append(1e3 * seconds(lambda runner=runner: runner.run(given)))
    told = ", ".join(f"{key} {statistics.median(ms):.2f} ms" for key, ms in times.items())
    print(f"an inference of {name} with its image: {told}")


def parts(device: Device, name: str, path: Path) -> None:
    """Timing a file as a search times its parts, there over here."""
    spent = {}
    for place in (HOST, device):
        timer = Timer(target(name), path, 1, 1 << 20, place)
        timer.time(path)
        spent[place.name] = seconds(lambda timer=timer: [timer.time(path) for _ in range(PARTS)])
        timer.close()
    print(f"{PARTS} parts of a search: there over here {spent[device.name] / spent[HOST.name]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--python")
    parser.add_argument("--target", default="tflite")
    asked = parser.parse_args()
    device = Device("there", transport_of(asked.address, asked.python))
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        spec = find_spec(NETWORK)
        path = Path(folder, f"net{target(asked.target).suffix}")
        image = of_image(torch.randn(1, 3, spec.resolution, spec.resolution))
        target(asked.target).export(build(spec).eval(), image, path, FLOAT_SCHEMES["fp32"])
        calls(device)
        inferences(device, asked.target, path)
        parts(device, asked.target, path)
        medians(device, path)


if __name__ == "__main__":
    main()
