"""What every measurement on a device shares: a network that never changes, denormals that are 0."""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any, Callable

import numpy as np


def reference() -> Callable[[], object]:
    """The fixed network whose speed tells how the machine is doing.

    Two 1x1 convolutions of 192 channels over 14 x 14 pixels with ReLU, written as matrix products
    in NumPy, in one thread: 14.5 million MACs, of the size of a block of a mobile network, and
    there wherever a runtime is.
    """
    rng = np.random.default_rng(0)
    pixels = rng.standard_normal((196, 192), np.float32)
    weights = [rng.standard_normal((192, 192), np.float32) / np.float32(14) for _ in range(2)]

    def run() -> object:
        x = pixels
        for weight in weights:
            x = np.maximum(x @ weight, 0)
        return x

    return run


def flush_denormals() -> bool:
    """Makes this thread, and those it starts, take denormal numbers for 0, where that is possible.

    Random weights make activations so small that processors compute them in microcode, up to a
    hundred times more slowly; a trained network has none. The runtimes' own switches do the same,
    but each has another, and LiteRT none.

    Returns:
        Whether it was done.
    """
    machine = platform.machine().lower()
    # Where the control register lies in C's fenv_t, and its bits: flush results, and take operands
    # for 0 (x86-64: MXCSR, Intel SDM volume 1, 10.2.3; AArch64: FPCR.FZ, Arm ARM C5.2.8).
    places: dict[str, tuple[int, int]] = {
        "x86_64": (28, 0x8040),
        "amd64": (28, 0x8040),
        "aarch64": (0, 1 << 24),
    }
    if sys.platform != "linux" or machine not in places:
        return False
    offset, bits = places[machine]
    environment = (ctypes.c_uint32 * 16)()
    try:
        library: Any = ctypes.CDLL("libm.so.6")
    except OSError:  # Android, where it is another C library
        return False
    if library.fegetenv(environment) != 0:
        return False
    environment[offset // 4] |= bits
    return bool(library.fesetenv(environment) == 0)


class Reference:
    """The reference network alone, as a slot has it; see `edgekit.agent.files.File`."""

    runtime = "NumPy"
    input = ""
    inputs = ()

    def __init__(self) -> None:
        self.tools = {"numpy": np.__version__}

    def load(self) -> Callable[[], object]:
        """Makes the network."""
        return reference()

    def prepare(self, loaded: Callable[[], object]) -> Callable[[], object]:
        """Each call of it is an inference."""
        return loaded
