"""What slots of agents are told to load in tests, see `edgekit.agent.worker.Subject`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path


class Imports:
    """Does something as soon as it is imported.

    Args:
        then: ``crash``, ``exit``, ``hang`` or ``nothing``.
    """

    def __init__(self, then: str) -> None:
        if then == "crash":
            print("the first words\nthe last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if then == "exit":
            os._exit(7)
        if then == "hang":
            time.sleep(60)


class Computes:
    """Never comes back from being loaded.

    Args:
        note: file for the number of the process that loads it.
    """

    def __init__(self, note: str) -> None:
        self._note = Path(note)

    def load(self) -> Callable[[], None]:
        part = self._note.with_name("part")
        part.write_text(str(os.getpid()))
        part.rename(self._note)
        while True:
            pass
