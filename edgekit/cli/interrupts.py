"""Ctrl-C and `kill` while results are at stake: they end the measuring, and lose nothing of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from edgekit.signals import ENDING, INTERRUPTING, Ended, interrupt

# Behind an interrupt, a measurement has ended and is computed within this. One that is still
# running then has not noticed: runtimes can swallow interrupts.
_ENDING_S = 10.0


class Interrupts:
    """What becomes of interrupts.

    Attributes:
        held: whether they wait from now on.
        came: whether one does.
        ending: the request to end that came, if any.
    """

    def __init__(self) -> None:
        self.held = self.came = False
        self.ending: int | None = None
        self._last_s: float | None = None

    def hold(self, on: bool = True) -> None:
        """Makes all further interrupts wait for the end of the block, or no longer.

        Raises:
            KeyboardInterrupt: they need not wait any longer, and one did.
        """
        self.held = on
        if self.came and not on:
            self.came = False
            raise KeyboardInterrupt

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
    comes soon behind, or once interrupts are held, is raised when the block has ended. Requests to
    end do the same, and end the command with their exit code.
    """
    interrupts = Interrupts()

    def noticed(number: int, frame: FrameType | None) -> None:
        if number in ENDING and interrupts.ending is None:
            interrupts.ending = number
        if not interrupts.waits():
            interrupt(number, frame)

    # Signals are a matter of the main thread; 'nohup' and the like ignore them.
    main = threading.current_thread() is threading.main_thread()
    previous = {
        number: signal.signal(number, noticed)
        for number in (INTERRUPTING if main else ())
        if callable(signal.getsignal(number))
    }
    try:
        yield interrupts
        if interrupts.came:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        if interrupts.ending is not None:
            raise Ended(interrupts.ending) from None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if interrupts.ending is not None:
        raise Ended(interrupts.ending)
