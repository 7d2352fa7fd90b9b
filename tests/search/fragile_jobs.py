"""Jobs that end their process in every way there is, for tests of executors."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import DataError, ModelError


@dataclass(frozen=True)
class Job:
    """What to do; ``folder`` is where attempts are counted."""

    name: str
    what: str = "square"
    number: int = 0
    folder: str = ""
    weight: float = 1.0


def work() -> Callable[[Any], Any]:
    return do


def do(job: Job) -> object:
    if job.what.startswith("environment "):
        return os.environ.get(job.what.split()[1])
    first = True
    if job.folder:
        mark = Path(job.folder) / job.name
        first = not mark.exists()
        mark.open("a").write("x")
    if job.what == "crash" or (job.what == "crash once" and first):
        os.abort()
    if job.what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.what == "exit":
        os._exit(3)
    if job.what == "hang":
        time.sleep(600)
    if job.what == "memory":
        raise MemoryError("no room for 8 GB")
    if job.what == "bad network":
        raise ModelError("the loss is not finite")
    if job.what == "no images":
        raise DataError("the folder is empty")
    return job.number**2
