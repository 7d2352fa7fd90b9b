"""Commands whose device is lost in the middle: they end in time, and what was measured stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, Result
from cutting_proxy import HOWS, CuttingProxy
from small_artifacts import Artifacts
from ssh_server import SshServer

from edgekit.devices import device, runner
from edgekit.measure.session import Session

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")

LIMIT_S = 20.0
"""Until ssh has noticed that nobody answers, and a new connection that there is none, twice."""

CUT = r"connection to ssh://\S+ (was cut|has ended)"


def lines(
    artifacts: Artifacts, trained_run: Path, png: Callable[..., Path]
) -> dict[str, list[object]]:
    """A line of each command that runs files on a device."""
    tflite, onnx = artifacts["tflite", "fp32"], artifacts["onnx", "fp32"]
    measuring: list[object] = ["--seconds", 20, "--precision-goal", 0.01]
    return {
        "profile": ["profile", tflite, *measuring, "--energy", "off"],
        "compare": ["compare", tflite, onnx, *measuring],
        "verify": ["verify", onnx, "--against", trained_run],
        "evaluate": ["evaluate", onnx, "--data", "digits"],
        "predict": ["predict", onnx, png("one.png")],
    }


@pytest.fixture
def line(
    artifacts: Artifacts, trained_run: Path, png: Callable[..., Path]
) -> Callable[[str], list[object]]:
    return lambda command: [*lines(artifacts, trained_run, png)[command], "--device", "far"]


def forgotten() -> None:
    """Makes the next command of this process ask as a new process does."""
    for slots in runner._SLOTS.values():
        slots.close()
    runner._SLOTS.clear()


def timed(run: CommandLine, *words: object) -> tuple[Result, float]:
    begin_s = time.monotonic()
    found = run(*words)
    return found, time.monotonic() - begin_s


def is_told(found: Result) -> None:
    """Whether it has ended as a command does whose device is lost."""
    assert found.code == 5, found.err
    assert "ssh://" in found.message
    assert len(found.message) < 400


AtBlock = Callable[[int, Callable[[], object]], None]


@pytest.fixture
def at_block(monkeypatch: pytest.MonkeyPatch) -> AtBlock:
    """Does something in the middle of the question behind the n-th block of the device."""

    def place(n: int, do: Callable[[], object]) -> None:
        blocks = 0

        def kept(session: Session, *arguments: Any) -> None:
            nonlocal blocks
            keep(session, *arguments)
            if session.device.name == "far":
                blocks += 1
                if blocks == n:
                    threading.Timer(0.03, do).start()

        monkeypatch.setattr(Session, "_keep", kept)

    keep = Session._keep
    return place


COMMANDS = ("profile", "compare", "verify", "evaluate", "predict")


@pytest.mark.parametrize(
    ("command", "how"),
    [*(("profile", how) for how in HOWS), *((command, "reset") for command in COMMANDS[1:])],
)
def test_a_connection_that_is_cut_while_files_are_sent(
    run: CommandLine,
    proxy: CuttingProxy,
    line: Callable[[str], list[object]],
    command: str,
    how: str,
) -> None:
    proxy.arm(how, to_server=20_000)
    found, seconds = timed(run, *line(command))
    is_told(found)
    assert proxy.cuts == 1
    assert seconds < LIMIT_S
    assert not found.out


@pytest.mark.parametrize("how", HOWS)
def test_what_was_measured_before_a_connection_is_cut_is_kept(
    run: CommandLine,
    proxy: CuttingProxy,
    line: Callable[[str], list[object]],
    at_block: AtBlock,
    how: str,
) -> None:
    for command in ("profile", "compare"):
        at_block(40, partial(proxy.cut, how))
        found, seconds = timed(run, *line(command), "--json")
        is_told(found)
        assert seconds < LIMIT_S
        document = found.json
        for one in document["measurements"]:
            assert one["latency_ms"]["n"] > 0
            assert any("ended early" in reason for reason in one["reasons"])
        assert document["failed"]
        kept = json.dumps(run("history", "--json").json)
        assert kept.count('"far"') >= len(document["measurements"]) > 0
        if command == "compare":
            assert document["ratio"] > 0
            assert document["ci95"][0] < document["ratio"] < document["ci95"][1]
        proxy.heal()


def test_a_device_that_is_lost_leaves_the_column_of_the_other(
    run: CommandLine, proxy: CuttingProxy, artifacts: Artifacts, at_block: AtBlock
) -> None:
    path = artifacts["tflite", "fp32"]
    for command in (["profile", path, "--energy", "off"], ["compare", path, path]):
        at_block(10, partial(proxy.cut, "reset"))
        words = [*command, "--seconds", 4, "--precision-goal", 0.01, "--device", "far,host"]
        found = run(*words, "--json")
        is_told(found)
        assert {one["device"] for one in found.json["measurements"]} == {"far", "host"}
        proxy.heal()


@pytest.mark.parametrize(
    ("command", "how"),
    [
        ("evaluate", "close"),
        pytest.param("verify", "reset", marks=pytest.mark.slow),
        pytest.param("evaluate", "hole", marks=pytest.mark.slow),
        pytest.param("verify", "hole", marks=pytest.mark.slow),
    ],
)
def test_a_connection_that_is_cut_between_images(
    run: CommandLine,
    proxy: CuttingProxy,
    line: Callable[[str], list[object]],
    command: str,
    how: str,
) -> None:
    whole = run(*line(command), "--json")
    assert whole.code == 0, whole.err
    for way in ({"to_server": 60_000}, {"to_client": 1500}):
        forgotten()
        proxy.arm(how, **way)
        found, seconds = timed(run, *line(command))
        is_told(found)
        assert seconds < LIMIT_S
        # The connection may be cut: another one is made, and the command goes on.
        proxy.heal()
        forgotten()
        assert run("devices", "check", "far").code == 0
        proxy.arm(how, **way, for_good=False)
        again, seconds = timed(run, *line(command), "--json")
        assert again.code == 0, again.err
        assert again.json == whole.json
        assert seconds < LIMIT_S
        assert proxy.cuts > 0


def test_files_that_were_sent_in_part_are_sent_to_their_end(
    run: CommandLine,
    proxy: CuttingProxy,
    line: Callable[[str], list[object]],
    artifacts: Artifacts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "_CHUNK_BYTES", 10_000)
    size = artifacts["onnx", "fp32"].stat().st_size
    proxy.arm("reset", to_server=size // 2 + 10_000)
    is_told(run(*line("predict")))
    proxy.heal()
    before = proxy.passed[0]
    found = run(*line("predict"))
    assert found.code == 0, found.err
    assert proxy.passed[0] - before < 0.75 * size + 20_000


@pytest.mark.parametrize("whom", ["agent", "slot"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_process_there_that_is_killed(
    run: CommandLine,
    pi: SshServer,
    proxy: CuttingProxy,
    line: Callable[[str], list[object]],
    at_block: AtBlock,
    command: str,
    whom: str,
) -> None:
    killed: list[int] = []

    def kill() -> None:
        if whom == "agent":
            pi.kill()
        for pid in pi.slots():
            os.kill(pid, signal.SIGKILL)
        killed.extend(pi.pids)

    measures = command in ("profile", "compare")
    whole = None if measures else run(*line(command), "--json")
    forgotten()
    pi.pids.clear()
    if measures:
        at_block(40, kill)
    else:
        proxy.arm(kill, to_client=1500)
    found, seconds = timed(run, *line(command), "--json")
    assert seconds < LIMIT_S
    assert killed
    if whole is not None:
        assert (found.code, found.json) == (0, whole.json), found.err
        return
    assert found.code == 5, found.err
    assert found.message
    assert found.json["measurements"]
    assert found.json["failed"]


def test_a_process_there_that_is_killed_again_and_again(
    run: CommandLine, pi: SshServer, proxy: CuttingProxy, line: Callable[[str], list[object]]
) -> None:
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.05):
            pi.kill()

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        for command in ("profile", "evaluate"):
            found, seconds = timed(run, *line(command))
            is_told(found)
            assert seconds < LIMIT_S
    finally:
        done.set()
        killing.join()
