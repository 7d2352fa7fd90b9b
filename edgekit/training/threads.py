"""How many threads of the CPU a training takes: those that find a processor of their own.

The threads of one operation wait for each other at its end. Where another process holds a
processor, all wait for the thread that has none, some thousand times a second: beside two busy
processes on two processors, two threads take four times as long as alone, and one thread 1.8 times
(docs/measurements/training.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from edgekit.agent.kernel import usable_cores
from edgekit.devices.load import Others, left_by

BY_ENVIRONMENT = "OMP_NUM_THREADS=N keeps one number"
"""The advice of commands that have no option for it."""

CHOSEN_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say it for all programs."""


class Threads:
    """The threads of a training, looked at again before every epoch.

    Args:
        number: that the user asked for; ``None``: as many as are left.
        note: is told of every change, as weights depend on it in their last bits.
        advice: how the user keeps one number.

    Attributes:
        now: the number.
    """

    def __init__(
        self,
        number: int | None,
        note: Callable[[str], None],
        advice: str = "--threads N keeps one number",
    ) -> None:
        self._note, self._advice = note, advice
        self.now = number or min(torch.get_num_threads(), usable_cores())
        self._most = self.now
        fixed = number is not None or any(os.environ.get(name) for name in CHOSEN_BY_USER)
        self._others = Others() if not fixed and self._most > 1 else None
        torch.set_num_threads(self.now)

    def resume(self, number: int) -> None:
        """Goes on with the number that a run had, where it may be chosen here."""
        if self._others is not None:
            self._set(min(number, self._most))

    def fit(self) -> None:
        """Takes as many threads as other processes leave."""
        others = None if self._others is None else self._others.cores()
        if others is None:
            return
        number = left_by(others, self._most)
        if number != self.now:
            self._note(
                f"{number} of {self._most} threads from here on, as other processes keep "
                f"{others:.1f} processors busy; the weights depend on it in their last bits, and "
                f"{self._advice}"
            )
            self._set(number)

    def _set(self, number: int) -> None:
        self.now = number
        torch.set_num_threads(number)


@contextmanager
def threads_put_back() -> Iterator[None]:
    """A block that may set PyTorch's threads, which are what they were behind it."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
