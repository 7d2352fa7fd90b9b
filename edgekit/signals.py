"""Ctrl-C and requests to end: which signals those are, and blocks that they wait for."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

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
    """A handler of all these signals; one that comes while another is obeyed changes nothing.

    Raises:
        KeyboardInterrupt: `Ended` where it is a request to end.
    """
    if not obeyed():
        raise Ended(number) if number in ENDING else KeyboardInterrupt


def obeyed() -> bool:
    """Whether an interrupt is on its way out: what is at work is in a ``finally`` or ``except``.

    One that a library has swallowed is not, so that the next one counts again.
    """
    error, seen = sys.exc_info()[1], set[int]()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__context__
    return False


def disregard() -> None:
    """Makes a process that is at its end, its exit code settled, ignore all of these signals."""
    for number in INTERRUPTING:
        signal.signal(number, signal.SIG_IGN)


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
    previous: dict[int, Any] = {}
    holding = True

    def held(number: int, frame: FrameType | None) -> None:
        if holding:
            came.append(number)
        elif callable(handler := previous[number]):  # before this one was taken away again
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    try:
        for each in INTERRUPTING:
            if (own := signal.getsignal(each)) not in (None, signal.SIG_IGN):
                previous[each] = own
                signal.signal(each, held)
        yield
    finally:
        holding = False
        for number, handler in previous.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def cleaning(clean: Callable[[], object]) -> Iterator[None]:
    """A block behind which something is put in order, however many signals come meanwhile.

    Args:
        clean: may be called once more when it is done.
    """
    try:
        try:
            yield
        finally:
            with waiting():
                clean()
    except KeyboardInterrupt:  # it may have come before they waited
        with waiting():
            clean()
        raise
