"""A process that times small files, one after the other, against a reference that stays loaded.

Only it measures: the search itself may compute meanwhile. A file that makes it crash or hang ends
this process and not the search.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from edgekit import registry
from edgekit.errors import EdgekitError, ModelError
from edgekit.measure.worker import die_with

ROUNDS = 15
BLOCK_S = 0.006
WARM_UP = 4
TIME_LIMIT_S = 60.0


class Timer:
    """Times files of one target.

    Args:
        reference: a file that every other one is measured in turns with: the machine's own changes
            of speed drop out.
    """

    def __init__(self, target: str, reference: Path, threads: int) -> None:
        self._arguments = (target, str(reference), threads)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def time(self, path: Path) -> tuple[float, float]:
        """Milliseconds of one inference of a file and of the reference, at the same speed.

        Raises:
            ModelError: the runtime crashes or hangs, twice.
            EdgekitError: the runtime cannot load the file.
        """
        for _ in range(2):
            pipe = self._started()
            try:
                pipe.send(str(path))
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


def _serve(pipe: Connection, parent: int, target: str, reference: str, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the search, which ends this one
    die_with(parent)
    ready = _prepared(target, Path(reference), threads)
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_ratio(_prepared(target, Path(path), threads), ready))
        except EdgekitError as error:
            pipe.send(error)


def _prepared(target: str, path: Path, threads: int) -> Callable[[], None]:
    runner = registry.target(target).open(path, threads)
    inputs, _ = runner.tensors()
    rng = np.random.default_rng(0)
    return runner.prepare(
        [
            rng.standard_normal(spec.shape).astype(spec.dtype)
            if spec.dtype.startswith("float")
            else rng.integers(0, 100, spec.shape).astype(spec.dtype)
            for spec in inputs
        ]
    )


def _ratio(own: Callable[[], None], reference: Callable[[], None]) -> tuple[float, float]:
    """Milliseconds of both, from blocks in turns."""
    runs = [max(3, round(BLOCK_S / _once(call))) for call in (own, reference)]
    found: tuple[list[float], list[float]] = ([], [])
    for i in range(ROUNDS):
        pair = ((0, own), (1, reference)) if i % 2 else ((1, reference), (0, own))
        for which, call in pair:
            found[which].append(_block(call, runs[which]))
    ratios = [one / other for one, other in zip(*found, strict=True)]
    reference_ms = statistics.median(found[1])
    return statistics.median(ratios) * reference_ms, reference_ms


def _once(call: Callable[[], None]) -> float:
    for _ in range(WARM_UP):
        call()
    begin = time.perf_counter()
    call()
    return max(time.perf_counter() - begin, 1e-6)


def _block(call: Callable[[], None], runs: int) -> float:
    """Milliseconds: the lower quartile of a block, whose first runs fill caches."""
    times = []
    for _ in range(runs + 2):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.percentile(times[2:], 25))
