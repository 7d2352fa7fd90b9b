"""A file in an agent: a crash that does not come back says nothing of the file."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crashing_runtime import RUNTIME

from edgekit.devices import runner
from edgekit.devices.device import HOST
from edgekit.errors import InputError, UnavailableError, UsageError


@pytest.fixture(autouse=True)
def slots(monkeypatch: pytest.MonkeyPatch) -> Iterator[runner.Slots]:
    """An agent of each test's own, which sees its environment."""
    sys_path = str(Path(__file__).parent)
    monkeypatch.setattr(sys, "path", [*sys.path, sys_path])
    found = runner.Slots(HOST)
    monkeypatch.setattr(runner, "_SLOTS", {HOST.name: found})
    yield found
    found.close()


def asked(folder: Path, at: str, times: int, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setenv("CRASHING", f"{folder}|{at}|{times}")
    target: Any = RUNTIME
    x = np.ones((1, 3), np.float32)
    opened = runner.open_file(target, folder / "net", 1)
    if at == "activations":
        return float(opened.activations([x])[0][1][0, 0])
    return float(opened.run([x])[0][0, 0])


@pytest.mark.parametrize("at", ["open", "run", "activations"])
def test_a_crash_that_does_not_come_back_is_passed_over(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(tmp_path, at, 1, monkeypatch) == 2


@pytest.mark.parametrize("at", ["open", "run", "activations"])
def test_a_crash_that_comes_back_is_that_of_the_file(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"net crashed crashing \(SIGSEGV\): it is damaged"):
        asked(tmp_path, at, 9, monkeypatch)
    assert len(list(tmp_path.glob("crash*"))) == 2


def test_a_runtime_that_stands_still_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LIMIT_S", 1.0)
    monkeypatch.setenv("CRASHING_BY", "SIGSTOP")
    with pytest.raises(UnavailableError, match="net: crashing did not answer for 1 s"):
        asked(tmp_path, "run", 9, monkeypatch)


def test_slots_whose_runners_are_gone_are_used_again(
    slots: runner.Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        assert asked(tmp_path, "run", 0, monkeypatch) == 2
        gc.collect()
    target: Any = RUNTIME
    kept = [runner.open_file(target, tmp_path / "net", 1) for _ in range(3)]
    assert len({one._slot.number for one in kept}) == 3
    assert min(one._slot.number for one in kept) == 1


@contextmanager
def interrupted(after_s: float) -> Iterator[None]:
    """Sends Ctrl-C to this process a while later."""

    def raised(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, raised)
    signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupt_ends_a_wait_at_once_and_leaves_the_agent_usable(
    slots: runner.Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LIMIT_S", 2.0)
    monkeypatch.setenv("CRASHING_BY", "SIGSTOP")
    begin_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupted(0.5):
        asked(tmp_path, "run", 9, monkeypatch)
    assert time.monotonic() - begin_s < 1.9
    gc.collect()
    # The slot that stands still is ended, and the next file gets another one.
    target: Any = RUNTIME
    opened = runner.open_file(target, tmp_path / "net", 1)
    assert opened._slot is not None
    assert opened._slot.number == 2
    # The answer that nobody waited for is passed over.
    answer, _ = slots.agent().ask("hello")
    assert answer["pid"] != os.getpid()


def test_an_agent_that_has_ended_meanwhile_is_started_anew(
    slots: runner.Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRASHING", f"{tmp_path}|run|0")
    target: Any = RUNTIME
    opened = runner.open_file(target, tmp_path / "net", 1)
    x = np.ones((1, 3), np.float32)
    assert opened.run([x])[0][0, 0] == 2
    slots.agent().close()
    assert opened.run([x])[0][0, 0] == 2


def test_a_slot_whose_import_fails_is_ended(
    slots: runner.Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = {"loader": "no_such_module:X", "arguments": {}}
    for _ in range(3):
        with pytest.raises(UnavailableError, match="no_such_module"):
            slots.take("x", subject, "x")
    agent = slots.agent()
    assert agent.ask("slot", serves="worker")[0]["slot"] == 4
    with pytest.raises(UsageError, match="no slot 1"):
        agent.ask("end", of=1) and agent.ask("state", slot=1)


def test_what_is_sent_has_a_limit_and_interrupts_are_obeyed_meanwhile(
    slots: runner.Slots,
) -> None:
    agent = slots.agent()
    os.kill(agent.pid, signal.SIGSTOP)
    begin_s = time.monotonic()
    large = np.zeros(8 << 20, np.uint8)
    with pytest.raises(KeyboardInterrupt), interrupted(0.5):
        agent.ask("put", [large], limit_s=60)
    assert time.monotonic() - begin_s < 5
    os.kill(agent.pid, signal.SIGCONT)
    with pytest.raises(UnavailableError):
        agent.ask("hello")


def test_an_inference_that_was_begun_survives_the_death_of_its_process(
    slots: runner.Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRASHING", f"{tmp_path}|run|1")  # the first one crashes
    target: Any = RUNTIME
    opened = runner.open_file(target, tmp_path / "net", 1)
    waiting = opened.begin([np.ones((1, 3), np.float32)])
    assert waiting()[0][0, 0] == 2
    agent = slots.agent()
    waiting = opened.begin([np.ones((1, 3), np.float32)])
    os.kill(agent.pid, signal.SIGKILL)
    while agent.usable:  # its process may answer first
        time.sleep(0.001)
    assert waiting()[0][0, 0] == 2
    assert slots.agent() is not agent


def test_an_inference_that_nobody_waits_for_leaves_its_process_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRASHING", f"{tmp_path}|run|0")
    target: Any = RUNTIME
    opened = runner.open_file(target, tmp_path / "net", 1)
    opened.begin([np.ones((1, 3), np.float32)])
    assert opened.run([2 * np.ones((1, 3), np.float32)])[0][0, 0] == 4
