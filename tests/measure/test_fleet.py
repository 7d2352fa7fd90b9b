"""Several devices at the same time, and how they end."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from typing import Any

import pytest
from small_artifacts import Artifacts

from edgekit import signals
from edgekit.api.measuring import _devices, _pair
from edgekit.api.measuring_options import MeasuringOptions
from edgekit.core import DeviceProfile
from edgekit.devices.device import HOST, Device
from edgekit.devices.profiles import transport_of
from edgekit.measure.fleet import on_devices, side_by_side
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.measure.subjects import Subject

TWO = (HOST, HOST)


def test_an_interrupt_ends_a_device_that_is_waited_for(artifacts: Artifacts) -> None:
    subject = Subject(str(artifacts["tflite", "fp32"]))
    measuring, waiting = threading.Event(), threading.Event()

    def measure(position: int, progress: Any, opened: Any) -> Any:
        def report(what: str, done: float, total: float) -> None:
            progress(what, done, total)
            if what == "measuring" and done > 0.5:
                measuring.set()

        if position == 0:
            return profile([subject], Effort(60), energy="off", progress=report, opened=opened)
        with closing(HOST.open()) as agent:
            opened(agent)
            slot = agent.slot()
            waiting.set()
            return agent.ask("heard", of=slot.number, asked="nothing", within_s=60, limit_s=60)

    def progress(*_: object) -> None:
        if measuring.is_set() and waiting.is_set():
            raise KeyboardInterrupt

    found = on_devices(TWO, [subject], measure, progress)
    assert found.interrupted
    assert not found.failures
    (kept,) = found.measurements
    assert any("interrupted after" in reason for reason in kept.reasons)
    assert sum(len(block.samples_ms) for block in kept.blocks) > 0


def test_a_second_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def measure(*_: object) -> Any:
        done.wait(60)
        raise KeyboardInterrupt

    def progress(*_: object) -> None:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, signals.interrupt)
    begin_s = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side(TWO, measure, progress)
    finally:
        signal.signal(signal.SIGINT, previous)
        done.set()
    assert time.monotonic() - begin_s < 1.9


def test_a_device_that_is_not_reached_yet_is_not_waited_for() -> None:
    done = threading.Event()

    def measure(*_: object) -> Any:
        done.wait(60)

    def progress(*_: object) -> None:
        raise KeyboardInterrupt

    begin_s = time.monotonic()
    assert side_by_side(TWO, measure, progress) == [None, None]
    done.set()
    assert time.monotonic() - begin_s < 10


def test_a_device_of_two_names_is_one() -> None:
    names = ("host", "ssh://pi@desk", "HOST", "ssh://pi@desk/", "ssh://pi@shelf")
    found = _devices(MeasuringOptions(device=names))
    assert [device.name for device in found] == ["host", "ssh://pi@desk", "ssh://pi@shelf"]


def test_each_of_two_devices_runs_as_many_threads_as_it_suggests(artifacts: Artifacts) -> None:
    path = str(artifacts["tflite", "fp32"])
    pair = tuple(
        Device(name, transport_of(f"ssh://{name}"), DeviceProfile(name, "", "", threads=threads))
        for name, threads in (("four", 4), ("two", 2))
    )
    found = _pair(path, path, {path: path}, MeasuringOptions(), pair)  # type: ignore[arg-type]
    assert [one.threads for one in found] == [4, 2]
    found = _pair(path, path, {path: path}, MeasuringOptions(threads=(1, 3)), pair)  # type: ignore[arg-type]
    assert [one.threads for one in found] == [1, 3]
