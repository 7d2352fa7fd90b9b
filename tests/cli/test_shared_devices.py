"""One device, and several processes or computers that use it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts
from ssh_server import SshServer

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")


def claimed(server: SshServer, within_s: float = 60.0) -> bool:
    """Waits until somebody measures there."""
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if list(server.home.glob("claims/*.claim")):
            return True
        time.sleep(0.05)
    return False


def test_two_processes_on_one_device(
    run: CommandLine, pi: SshServer, artifacts: Artifacts, png: Callable[..., Path],
    package_env: dict[str, str],
) -> None:  # fmt: skip
    path = artifacts["tflite", "fp32"]
    assert run("devices", "check", "pi").code == 0
    words = ["profile", str(path), "--device", "pi", "--seconds", "60", "--precision-goal", "0.01"]
    first = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *words],
        env={**os.environ, "PYTHONPATH": package_env["PYTHONPATH"]},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert claimed(pi)
        for line in (
            ["profile", path, "--seconds", 1],
            ["compare", path, path, "--seconds", 1],
            ["predict", path, png("one.png")],
            ["evaluate", path, "--data", "digits"],
        ):
            second = run(*line, "--device", "pi")
            assert second.code == 5, second.err
            assert "measures there since 0 minutes: wait until that is done" in second.message
        checked = run("devices", "check", "pi")
        assert checked.code == 5
        assert "measures there" in checked.message
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    end_s = time.monotonic() + 10
    while (found := run("profile", path, "--device", "pi", "--seconds", 1)).code == 5:
        assert time.monotonic() < end_s, found.err
    assert found.code == 0, found.err


def test_one_that_runs_files_lets_others_do_so_and_is_seen(
    run: CommandLine, pi: SshServer, artifacts: Artifacts, png: Callable[..., Path]
) -> None:
    import fcntl

    path = artifacts["tflite", "fp32"]
    claims = pi.home / "claims"
    claims.mkdir()
    other = claims / "edgekit-1-other.claim"
    other.write_text('{"token": "x", "owner": "you@there", "since_s": 0, "alone": false}')
    with other.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run("predict", path, png("one.png"), "--device", "pi").code == 0
        refused = run("profile", path, "--device", "pi", "--seconds", 1)
        assert refused.code == 5
        assert "you@there runs files there since" in refused.message


def test_an_address_and_its_profile_are_one_device(
    run: CommandLine, pi: SshServer, artifacts: Artifacts
) -> None:
    line = ("profile", artifacts["tflite", "fp32"], "--seconds", 1, "--energy", "off", "--json")
    for names in (f"pi,{pi.address}", f"{pi.address},pi", f"{pi.address}/,pi"):
        found = run(*line, "--device", names)
        assert found.code == 0, found.err
        assert [one["device"] for one in found.json["measurements"]] == ["pi"]
    python = Path(sys.executable).with_name("python3")
    words = ("--transport", pi.address, "--python", python)
    assert run("devices", "add", "other", *words).code == 0
    both = run(*line, "--device", "pi,other")
    assert both.code == 2
    assert "pi and other are one device" in both.message
