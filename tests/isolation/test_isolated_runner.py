"""A runtime in a fork: a crash that does not come back says nothing of the file."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core import TensorSpec
from edgekit.errors import InputError
from edgekit.isolation import runner

pytestmark = pytest.mark.skipif(not runner.FORKS, reason="no forks here")

VECTOR = TensorSpec("x", (1, 3), "float32", "NC")


class Runtime:
    """A target whose runtime ends by a signal at a call, as often as it is told to."""

    name = runtime = "crashing"

    def __init__(self, folder: Path, at: str, times: int) -> None:
        self._folder, self._at, self._times = folder, at, times

    def files(self, path: Path) -> list[Path]:
        return [path]

    def open(self, path: Path, threads: int | None, *, batch: int | None = None) -> Any:
        self._reach("open")
        return self

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        return (VECTOR,), (VECTOR,)

    def run(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        self._reach("run")
        return [inputs[0] * 2]

    def activations(self, path: Path, inputs: Sequence[Any]) -> list[tuple[str, Any]]:
        self._reach("activations")
        return [("y", inputs[0] * 2)]

    def _reach(self, call: str) -> None:
        crashes = len(list(self._folder.glob("crash*")))
        if call == self._at and crashes < self._times:
            (self._folder / f"crash{crashes}").touch()
            os.kill(os.getpid(), signal.SIGSEGV)


def asked(folder: Path, at: str, times: int) -> float:
    target: Any = Runtime(folder, at, times)
    x = np.ones((1, 3), np.float32)
    if at == "activations":
        return float(runner.activations_isolated(target, folder / "net", [x])[0][1][0, 0])
    opened = runner.open_isolated(target, folder / "net", 1)
    return float(opened.run([x])[0][0, 0])


@pytest.fixture(autouse=True)
def _nothing_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.registry, "start", lambda target: None)


@pytest.mark.parametrize("at", ["open", "run", "activations"])
def test_a_crash_that_does_not_come_back_is_passed_over(at: str, tmp_path: Path) -> None:
    assert asked(tmp_path, at, times=1) == 2


@pytest.mark.parametrize("at", ["open", "run", "activations"])
def test_a_crash_that_comes_back_is_that_of_the_file(at: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"net crashed crashing \(SIGSEGV\): it is damaged"):
        asked(tmp_path, at, times=9)
    assert len(list(tmp_path.glob("crash*"))) == 2
