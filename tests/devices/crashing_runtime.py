"""A target whose runtime ends by a signal at a call, as often as the environment says."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import TensorSpec

VECTOR = TensorSpec("x", (1, 3), "float32", "NC")


class Runtime:
    name = runtime = "crashing"
    opener = "crashing_runtime:RUNTIME"
    packages = engines = ()

    def start(self) -> None:
        pass

    def files(self, path: Path) -> list[Path]:
        return [path]

    def open(self, path: Path, threads: int | None, **_: Any) -> Any:
        reach("open")
        return self

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        return (VECTOR,), (VECTOR,)

    def run(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        reach("run")
        return [inputs[0] * 2]

    def activations(self, path: Path, inputs: Sequence[Any]) -> list[tuple[str, Any]]:
        reach("activations")
        return [("y", inputs[0] * 2)]


def reach(call: str) -> None:
    folder, at, times = os.environ["CRASHING"].split("|")
    crashes = len(list(Path(folder).glob("crash*")))
    if call == at and crashes < int(times):
        Path(folder, f"crash{crashes}").touch()
        os.kill(os.getpid(), getattr(signal, os.environ.get("CRASHING_BY", "SIGSEGV")))


RUNTIME = Runtime()
