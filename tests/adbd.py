"""A device behind adb: Debian's adbd, in a network of its own, and the adb that reaches it.

It listens everywhere and asks for nothing, so that its network has nothing but a loopback.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / ".adb"
PORT = 6555
SERIAL = f"127.0.0.1:{PORT}"

_START = """
set -e
ip link set lo up
mount -t tmpfs -o size="$2" tmpfs /var/tmp
cd /
echo ready
exec "$1"
"""


class NoAdbdError(Exception):
    """Why there is none here."""


class Adbd:
    """A device behind adb, which ends with the object.

    Args:
        folder: of the test.
        patch: makes it be found on the path.
        size: of the folder on the device that files go to, as mount(8) takes it.

    Raises:
        NoAdbdError: there is none here.
    """

    def __init__(self, folder: Path, patch: Any, size: str = "1g") -> None:
        tools = FOLDER / "root/usr/lib/android-sdk/platform-tools"
        if not (tools / "adbd").exists():
            raise NoAdbdError("no adb and adbd here: make .adb/stamp")
        if os.geteuid() != 0:
            raise NoAdbdError("a network of its own needs root here")
        missing = [name for name in ("ip", "mount", "nsenter", "unshare") if not shutil.which(name)]
        if missing:
            raise NoAdbdError(f"no {missing[0]} here")
        libraries = ":".join(map(str, (FOLDER / "root/usr/lib").glob("*-linux-gnu*")))
        libraries += ":" + ":".join(
            map(str, (FOLDER / "root/usr/lib").glob("*-linux-gnu*/android"))
        )
        self._environment = {**os.environ, "LD_LIBRARY_PATH": libraries, "ADBD_PORT": str(PORT)}
        self._log = open(folder / "adbd.log", "wb")  # noqa: SIM115 - closed with the object
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", _START, "sh", tools / "adbd", size],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=self._environment,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            self.process.wait()
            raise NoAdbdError(f"no network of its own here: {(folder / 'adbd.log').read_text()}")
        home, program = folder / "adb-home", folder / "adb-bin" / "adb"
        home.mkdir()
        program.parent.mkdir()
        enter = f"nsenter --net=/proc/{self.process.pid}/ns/net"
        program.write_text(
            f"#!/bin/sh\nexport LD_LIBRARY_PATH='{libraries}' HOME='{home}'\n"
            f"exec {enter} '{tools / 'adb'}' \"$@\"\n"
        )
        program.chmod(0o755)
        patch.setenv("PATH", str(program.parent), prepend=":")
        self._program = program
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        """The server of adb and the device take some time to begin with."""
        end_s = time.monotonic() + 60
        told = ""
        while time.monotonic() < end_s:
            told = self.adb("connect", SERIAL, check=False)
            if f"{SERIAL}\tdevice" in self.adb("devices"):
                return
            time.sleep(0.2)
        raise NoAdbdError(f"adb does not reach adbd: {told}")

    def adb(self, *words: object, check: bool = True) -> str:
        """What adb prints."""
        done = subprocess.run(
            [self._program, *map(str, words)], capture_output=True, text=True, timeout=60
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def shell(self, line: str) -> str:
        """What a line prints there."""
        return self.adb("-s", SERIAL, "shell", "-T", line)

    @property
    def root(self) -> Path:
        """The device's files, seen from here."""
        return Path(f"/proc/{self.process.pid}/root")

    def cut(self) -> None:
        """Ends the device, and all that runs there by its doing."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Ends device and server."""
        if self.process.poll() is None:
            self.adb("kill-server", check=False)
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()
