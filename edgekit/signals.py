"""Ctrl-C and requests to end: which signals those are, and blocks that they wait for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING: tuple[signal.Signals, ...] = (
    signal.SIGTERM,
    *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()),  # Windows has none
)
"""Requests to end: `kill` and the like, and a terminal that is gone."""

INTERRUPTING = (signal.SIGINT, *ENDING)


class Ended(KeyboardInterrupt):
    """A request to end: whatever cleans up or keeps results after Ctrl-C does it here, too.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def install() -> None:
    """Makes requests to end raise `Ended`; those that `nohup` ignores stay ignored."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def interrupt(number: int, _: FrameType | None) -> None:
    """A handler of all these signals.

    Raises:
        KeyboardInterrupt: `Ended` where it is a request to end.
    """
    raise Ended(number) if number in ENDING else KeyboardInterrupt


def leave_to_parent() -> None:
    """Makes a process ignore what a terminal sends to it and to the one that ends it."""
    for number in (n for n in INTERRUPTING if n is not signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def waiting() -> Iterator[None]:
    """A block that all of these signals wait for: it is done as a whole or not begun.

    A mask of the thread would not do: the system gives a signal to any thread that takes it.
    """
    if threading.current_thread() is not threading.main_thread():  # they are its matter alone
        yield
        return
    came: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in INTERRUPTING
        if signal.getsignal(number) not in (None, signal.SIG_IGN)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
