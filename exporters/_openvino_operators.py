"""Operator times of OpenVINO, from its performance counters."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from edgekit.core import OperatorTime

if TYPE_CHECKING:
    from edgekit.core import Array

# A counter shows the mean of all inferences since the model was compiled, the first ones included,
# in whole microseconds. So a mean over a window is the difference of two sums, known to about a
# microsecond where the warm-up is shorter than the window; and a median takes several windows,
# each with a model compiled anew.
WARM_UP = 3
WINDOWS = 5

FUSED = "undef"  # what runs as part of another operator has no implementation
ENDS = ("Parameter", "Result", "Constant")


def time_operators(
    request: Callable[[], Any], inputs: Sequence[Array], runs: int
) -> tuple[OperatorTime, ...]:
    """Times the operators of a model; `edgekit.core.Profilable.operators` tells more.

    Args:
        request: compiles the model anew, with counters, and gives a request of it.
    """
    length = max(2 * WARM_UP, -(-runs // WINDOWS))
    windows = [_window(request(), inputs, length) for _ in range(WINDOWS)]
    found = []
    for key in windows[0]:
        ms = statistics.median(window.get(key, 0.0) for window in windows)
        found.append(OperatorTime(_module(key[0]), key[1], max(0.0, ms)))
    return tuple(found)


def _window(request: Any, inputs: Sequence[Array], length: int) -> dict[tuple[str, str], float]:
    """Mean time of each operator that was executed, in ms, by name and kind, in order."""
    for number, value in enumerate(inputs):
        request.get_input_tensor(number).data[...] = value
    sums: list[defaultdict[tuple[str, str], float]] = []
    for count in (WARM_UP, length):
        for _ in range(count):
            request.infer(share_outputs=True)
        total = WARM_UP + length if sums else WARM_UP  # inferences so far
        shown: defaultdict[tuple[str, str], float] = defaultdict(float)  # names may repeat
        for info in request.profiling_info:
            if info.exec_type != FUSED and info.node_type not in ENDS:
                shown[info.node_name, info.node_type] += _microseconds(info) * total
        sums.append(shown)
    before, after = sums
    return {key: (after[key] - before[key]) / length / 1000 for key in after}


def _microseconds(info: Any) -> float:
    """What a counter shows, and half of what it cuts off; less than 1 counts as not run."""
    shown: float = info.real_time / timedelta(microseconds=1)
    return shown + 0.5 if shown else 0.0


def _module(name: str) -> str:
    """A node's name without what the PyTorch frontend puts in front of a module's path."""
    before, marker, path = name.partition("__module.")
    return f"{path}/{before.rstrip('_')}" if marker and before else path or name
