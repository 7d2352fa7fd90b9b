"""``edgekit search --device``: parts and networks are measured behind SSH."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from command_line import CommandLine
from cutting_proxy import CuttingProxy
from small_searches import QUICK
from ssh_server import SshServer

from edgekit.search import measuring

pytestmark = [
    pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here"),
    pytest.mark.usefixtures("inline"),
]

BOOT = """
import os, pathlib
_read = pathlib.Path.read_text
def read_text(self, *args, **kwargs):
    if str(self) == "/proc/sys/kernel/random/boot_id":
        return os.environ["BOOT"]
    return _read(self, *args, **kwargs)
pathlib.Path.read_text = read_text
"""

LINE = ("--budget", "latency=0.9x", *QUICK, "--no-contest", "--device", "far", "-o", "s")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "MEASURING_SECONDS", 0.5)
    monkeypatch.setattr(measuring, "MEASURING_TRIES", 1)


def boots_of(folder: Path) -> list[str]:
    """Of the measurements that a search has noted."""
    file = folder / "journal.sqlite"
    if not file.exists():
        return []
    with closing(sqlite3.connect(file)) as journal:
        rows = journal.execute("SELECT record FROM events WHERE kind = 'measurement'").fetchall()
    return [json.loads(record)["boot"] for (record,) in rows]


@contextlib.contextmanager
def once_measured(folder: Path, do: Callable[[], object]) -> Iterator[None]:
    """Does something as soon as a search has noted a measurement, however fast the machine is."""

    def look() -> None:
        while not ended.wait(0.01):
            with contextlib.suppress(sqlite3.Error):  # it is just being made
                if boots_of(folder):
                    do()
                    return

    ended = threading.Event()
    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


@pytest.fixture
def boots(pi: SshServer, tmp_path: Path) -> SshServer:
    """A device whose system was started for the first time."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BOOT)
    pi.environment = {"PYTHONPATH": str(site), "BOOT": "first"}
    return pi


@pytest.mark.usefixtures("boots")
def test_a_device_that_is_lost_in_a_search(
    run: CommandLine, proxy: CuttingProxy, trained: Path, tmp_path: Path
) -> None:
    with once_measured(tmp_path / "s", partial(proxy.cut, "reset")):
        gone = run("search", trained, *LINE, "--wait", 0.2)
    assert gone.code == 5, gone.err
    assert proxy.cuts == 1
    assert "all that was done is kept in s: go on with" in gone.message
    assert set(boots_of(tmp_path / "s")) == {"first"}


@pytest.mark.slow
def test_a_device_that_is_started_anew_in_a_search(
    run: CommandLine,
    boots: SshServer,
    proxy: CuttingProxy,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lost for good, it is gone on with; started anew, it goes on by itself and says so."""
    with once_measured(tmp_path / "s", partial(proxy.cut, "reset")):
        assert run("search", trained, *LINE, "--wait", 0.2).code == 5
    proxy.heal()
    monkeypatch.setattr(measuring, "_POLLS_S", (0.5,))
    back = threading.Timer(1.5, proxy.heal)

    def reboot() -> None:
        threading.Thread(target=proxy.cut, args=("reset",)).start()
        boots.kill()
        boots.environment["BOOT"] = "second"
        back.start()

    proxy.arm(reboot, to_client=300_000)
    found = run("search", trained, *LINE, "--wait", 60, "--resume", "--json")
    back.join()
    assert found.code in (0, 4), found.err  # as latencies of half a second keep the budget or not
    told = " ".join(found.err.split())
    assert "waiting, " in told
    assert "the device was started anew" in told
    assert list(dict.fromkeys(boots_of(tmp_path / "s"))) == ["first", "second"]


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["agent", "slot"])
def test_a_process_that_is_killed_in_a_search(
    run: CommandLine, pi: SshServer, proxy: CuttingProxy, trained: Path, whom: str
) -> None:
    def kill() -> None:
        if whom == "agent":
            pi.kill()
        for pid in pi.slots():
            os.kill(pid, signal.SIGKILL)

    proxy.arm(kill, to_client=200_000)
    found = run("search", trained, *LINE, "--wait", 60)
    assert found.code in (0, 4), found.err
    assert proxy.cuts == 1
