"""Ctrl-C while results are at stake: it ends the measuring, and loses nothing of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Behind an interrupt, a measurement has ended and is computed within this. One that is still
# running then has not noticed: runtimes can swallow interrupts.
_ENDING_S = 10.0


class Interrupts:
    """What becomes of interrupts.

    Attributes:
        held: whether they wait from now on.
        came: whether one does.
    """

    def __init__(self) -> None:
        self.held = self.came = False
        self._last_s: float | None = None

    def hold(self) -> None:
        """Makes all further interrupts wait for the end of the block."""
        self.held = True

    def waits(self) -> bool:
        """Whether an interrupt that comes now waits; notes it."""
        now_s = time.monotonic()
        soon = self._last_s is not None and now_s - self._last_s < _ENDING_S
        if self.held or soon:
            self.came = True
            return True
        self._last_s = now_s
        return False


@contextmanager
def held_interrupts() -> Iterator[Interrupts]:
    """A block that an interrupt ends early, and that further ones do not tear apart.

    The first one raises KeyboardInterrupt as always, and so does one long behind it. One that
    comes soon behind, or once interrupts are held, is raised when the block has ended.
    """
    interrupts = Interrupts()
    previous = signal.getsignal(signal.SIGINT)
    # Signals are a matter of the main thread; 'nohup' and the like ignore them.
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(previous):
        yield interrupts
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not interrupts.waits():
            previous(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)
    if interrupts.came:
        raise KeyboardInterrupt
