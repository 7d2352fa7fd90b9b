"""A process that times small files, one after the other, against a reference that stays loaded.

In a network the other layers run between two runs of a part, and the caches hold theirs then. So
about as many bytes as the network has are read between two runs: without that, layers with many
weights on small maps take too little, and networks change by more than their parts
(docs/benchmarks.md).

Only it measures: the search itself may compute meanwhile. A file that makes it crash or hang ends
this process and not the search.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit import registry
from edgekit.errors import EdgekitError, ModelError
from edgekit.foreign import explained
from edgekit.isolation.bounds import die_with
from edgekit.measure.inputs import noise_of
from edgekit.signals import leave_to_parent

ROUNDS = 15
BLOCK_S = 0.006
CACHE_LINE = 64
MOST_RUNS = 12
"""Of a block, where something is read between two of them."""

SLOW_S = 0.05
FEW_ROUNDS = 5
"""Of files that take longer: large networks have to be done within the limit, too."""

WARM_UP = 4
TIME_LIMIT_S = 60.0


class Timer:
    """Times files of one target.

    Args:
        reference: a file that every other one is measured in turns with: the machine's own changes
            of speed drop out.
        between: bytes that are read between two runs of a part.
    """

    def __init__(self, target: str, reference: Path, threads: int, between: int = 0) -> None:
        self._arguments = (target, str(reference), threads, between)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def time(self, path: Path, *, whole: bool = False) -> tuple[float, float]:
        """Milliseconds of one inference of a file and of the reference, at the same speed.

        Args:
            whole: it is a whole network, of which nothing runs between two runs.

        Raises:
            ModelError: the runtime crashes or hangs, twice.
            EdgekitError: the runtime cannot load the file.
        """
        for _ in range(2):
            pipe = self._started()
            try:
                pipe.send((str(path), whole))
                if pipe.poll(TIME_LIMIT_S):
                    return self._checked(pipe.recv())
            except (EOFError, OSError):
                pass
            self.close()
        raise ModelError(
            f"{self._arguments[0]} crashed or hung twice while a part was timed ({path.name})"
        )

    def _checked(self, answer: object) -> tuple[float, float]:
        if isinstance(answer, EdgekitError):
            raise answer
        assert isinstance(answer, tuple)
        return answer[0], answer[1]

    def _started(self) -> Connection:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(other, os.getpid(), *self._arguments), daemon=True
            )
            self._process.start()
            other.close()
        return self._pipe

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _serve(
    pipe: Connection, parent: int, target: str, reference: str, threads: int, between: int
) -> None:
    leave_to_parent()  # the search, which ends this process
    die_with(parent)
    ready: Callable[[], None] | None = None
    others = np.ones(between // 8)[:: CACHE_LINE // 8]
    while True:
        try:
            path, whole = pipe.recv()
        except EOFError:
            return
        told = f"{path} cannot be run by {registry.target(target).runtime}: "
        try:
            with explained(told.__add__):
                ready = ready or _prepared(target, Path(reference), threads)
                own = _prepared(target, Path(path), threads)
                pipe.send(_ratio(own, ready, others[:0] if whole else others))
        except EdgekitError as error:
            pipe.send(error)


def _prepared(target: str, path: Path, threads: int) -> Callable[[], None]:
    runner = registry.target(target).open(path, threads)
    inputs, _ = runner.tensors()
    return runner.prepare([noise_of(spec) for spec in inputs])


Numbers = NDArray[np.float64]


def _ratio(
    own: Callable[[], None], reference: Callable[[], None], others: Numbers
) -> tuple[float, float]:
    """Milliseconds of both, from blocks in turns."""
    once_s = [_once(call) for call in (own, reference)]
    runs = [max(3, round(BLOCK_S / seconds)) for seconds in once_s]
    if others.size:
        runs[0] = min(runs[0], MOST_RUNS)
    slow = once_s[0] > SLOW_S
    if slow:
        runs[0] = 1
    blocks: tuple[list[float], list[float]] = ([], [])
    for i in range(FEW_ROUNDS if slow else ROUNDS):
        pair = ((0, own), (1, reference)) if i % 2 else ((1, reference), (0, own))
        for which, call in pair:
            # The reference tells the speed of the machine, and stays in the caches for that.
            blocks[which].append(_block(call, runs[which], others if which == 0 else others[:0]))
    ratios = [one / other for one, other in zip(*blocks, strict=True)]
    reference_ms = statistics.median(blocks[1])
    return statistics.median(ratios) * reference_ms, reference_ms


def _once(call: Callable[[], None]) -> float:
    for _ in range(WARM_UP):
        call()
    begin = time.perf_counter()
    call()
    return max(time.perf_counter() - begin, 1e-6)


def _block(call: Callable[[], None], runs: int, others: Numbers) -> float:
    """Milliseconds: the lower quartile of a block, whose first runs fill caches.

    Args:
        others: numbers that are read before each run.
    """
    times = []
    for _ in range(runs + 2):
        others.sum()
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.percentile(times[2:], 25))
