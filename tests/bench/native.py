"""The native runner against the agent in Python, in turns on this machine; and calls over adb.

``PYTHONPATH=tests python tests/bench/native.py FILE...``: blocks of both take turns, so that ratios
can be believed on a machine that does other work, too. With ``make .adb/stamp``, as root, it also
times calls to a device behind an adbd that runs here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import native_runner
import numpy as np
from adbd import SERIAL, Adbd, NoAdbdError
from native_runner import Direct

from edgekit.devices.device import HOST, Device
from edgekit.devices.files import file_request
from edgekit.devices.native import NativeRunner
from edgekit.devices.profiles import transport_of
from edgekit.registry import target_by_suffix

LOADS, BLOCKS, RUNS, CALLS = 6, 30, 20, 10


def ratio(path: Path, native: Device) -> tuple[float, float, float]:
    """Median of the runner's time over Python's in blocks that take turns, with an interval."""
    target = target_by_suffix(path.suffix)
    assert target is not None
    logs = []
    for load in range(LOADS):
        with contextlib.ExitStack() as closing:
            slots = []
            for device in (HOST, native):
                agent = closing.enter_context(contextlib.closing(device.open()))
                files = device.place(agent, target.files(path))
                subject = file_request(target, path, threads=1, files=files)
                slot = agent.slot()
                slot.ask("import", subject=subject)
                slot.ask("open", subject=subject, cores=[load % (os.cpu_count() or 1)])
                slot.ask("block", runs=RUNS, reference=0)
                slots.append(slot)
            for i in range(BLOCKS):
                found: list[float] = [0.0, 0.0]
                for which in (0, 1) if i % 2 else (1, 0):
                    samples = slots[which].ask("block", runs=RUNS, reference=0)[0]["samples_ms"]
                    found[which] = statistics.median(samples[2:])
                logs.append((load, np.log(found[1] / found[0])))
    loads = [float(np.median([log for own, log in logs if own == load])) for load in range(LOADS)]
    rng = np.random.default_rng(0)
    again = [np.median(rng.choice(loads, LOADS)) for _ in range(2000)]
    low, high = np.exp(np.percentile(again, [2.5, 97.5]))
    return float(np.exp(np.median(loads))), float(low), float(high)


def calls(name: str, open_one: Callable[[], Device]) -> None:
    """Time until an agent has said hello: with nothing there, and once it is there."""
    taken = []
    for _ in range(1 + CALLS):
        begin_s = time.perf_counter()
        with contextlib.closing(open_one().open()) as agent:
            agent.ask("hello")
        taken.append(time.perf_counter() - begin_s)
    print(f"a call to {name}: cold {taken[0]:.3f} s, warm {statistics.median(taken[1:]):.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args()
    program, libraries = native_runner.built(), native_runner.libraries()
    assert program is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        native = Device("native", Direct(program, folder / "there", libraries))
        calls("the runner, here", lambda: native)
        calls("the agent in Python, here", lambda: HOST)
        for path in asked.files:
            found, low, high = ratio(path, native)
            print(f"{path.name}: runner over Python {found:.4f} ({low:.4f} to {high:.4f})")
        with mock.patch.dict(os.environ):
            patch = mock.Mock()
            patch.setenv = lambda key, value, prepend: os.environ.__setitem__(
                key, f"{value}{prepend}{os.environ[key]}"
            )
            try:
                adbd = Adbd(folder, patch)
            except NoAdbdError as error:
                print(f"no adbd: {error}")
                return
            given = NativeRunner(str(program), [str(library) for library in libraries])
            calls(
                "the runner, over adb",
                lambda: Device("phone", transport_of(f"adb:{SERIAL}", None, given)),
            )
            adbd.close()


if __name__ == "__main__":
    main()
