"""Ctrl-C, and requests to end: which signals those are, and blocks that they wait for."""

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


def install() -> None:
    """Makes requests to end raise SystemExit, so that what is half done is cleaned up as after
    Ctrl-C; those that `nohup` and the like ignore stay ignored.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def request_of(error: BaseException | None) -> signal.Signals | None:
    """The request to end that an exception stands for; ``None`` where it is something else."""
    if isinstance(error, SystemExit):
        return next((number for number in ENDING if error.code == 128 + number), None)
    return None


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
