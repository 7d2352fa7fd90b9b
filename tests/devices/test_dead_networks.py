"""A board in a network namespace of its own, with a real SSH server, whose cable is pulled.

Nothing says then that the connection is gone. It needs root, iproute2 and OpenSSH's server.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from small_artifacts import Artifacts

pytestmark = pytest.mark.devices

LIMIT_S = 45.0
"""The fifteen seconds until ssh notices, another try, and the start of the command."""


class Board:
    """A machine at the other end of a cable.

    Args:
        folder: for keys, configuration and what is kept there.

    Attributes:
        small: whether what is kept there has a small disk of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.claims = folder, folder / "claims"
        number = secrets.randbelow(60_000)
        self._space, self._cable = f"ek-{number}", f"ek{number}"
        network = f"10.{200 + number % 50}.{number // 250}"
        self.address, here = f"{network}.2", f"{network}.1"
        self._closing = contextlib.ExitStack()
        run("ip", "netns", "add", self._space)
        self._closing.callback(run, "ip", "netns", "delete", self._space)
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0",
            "netns", self._space)  # fmt: skip
        run("ip", "address", "add", f"{here}/24", "dev", self._cable)
        run("ip", "link", "set", self._cable, "up")
        self._there("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self._there("ip", "link", "set", "lo", "up")
        self.plug(True)
        self.cache = folder / "cache"
        self.cache.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(self.cache)]
        self.small = subprocess.run(words, capture_output=True, check=False).returncode == 0
        if self.small:
            self._closing.callback(run, "umount", "--lazy", str(self.cache))
        self._serve()

    def _there(self, *words: str) -> None:
        run("ip", "netns", "exec", self._space, *words)

    def plug(self, plugged: bool) -> None:
        """Plugs the cable in, or pulls it."""
        self._there("ip", "link", "set", "eth0", "up" if plugged else "down")

    def _serve(self) -> None:
        for name in ("host", "key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name))
        shutil.copy(self.folder / "key.pub", self.folder / "authorized")
        cache = f"XDG_CACHE_HOME={self.cache} EDGEKIT_CLAIMS={self.claims}"
        config = {
            "ListenAddress": self.address,
            "HostKey": f"{self.folder}/host",
            "AuthorizedKeysFile": f"{self.folder}/authorized",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "yes",
            "SetEnv": f"{cache} OMP_NUM_THREADS=1",
        }
        text = "".join(f"{key} {value}\n" for key, value in config.items())
        (self.folder / "sshd_config").write_text(text)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        words = ["ip", "netns", "exec", self._space, shutil.which("sshd") or "/usr/sbin/sshd",
                 "-D", "-e", "-f", str(self.folder / "sshd_config")]  # fmt: skip
        log = self._closing.enter_context((self.folder / "log").open("wb"))
        server = subprocess.Popen(words, stderr=log)
        self._closing.callback(server.wait)
        self._closing.callback(server.terminate)
        public = (self.folder / "host.pub").read_text()
        (self.folder / "known").write_text(f"{self.address} {public}")
        (self.folder / "config").write_text(
            f"Host *\n  IdentityFile {self.folder}/key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known\n  GlobalKnownHostsFile /dev/null\n"
        )
        wrapper = self.folder / "bin" / "ssh"
        wrapper.parent.mkdir()
        ssh = shutil.which("ssh")
        wrapper.write_text(f'#!/bin/sh\nexec {ssh} -F {self.folder}/config "$@"\n')
        wrapper.chmod(0o755)

    def environment(self) -> Mapping[str, str]:
        """Of commands that reach it."""
        (self.folder / "s").mkdir(exist_ok=True)
        return {
            "PATH": f"{self.folder}/bin{os.pathsep}{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": f"{self.folder}/s",
            "XDG_CONFIG_HOME": f"{self.folder}/config-home",
            "EDGEKIT_HOME": f"{self.folder}/home",
        }

    def measures(self) -> bool:
        """Waits until somebody uses it."""
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s:
            if list(self.claims.glob("*.claim")):
                return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        self._closing.close()


UNTIL_MEASURED_S = 15.0
"""From the claim to the first blocks of all files, on a busy machine."""


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


@pytest.fixture(scope="module")
def board() -> Iterator[Board]:
    import tempfile

    missing = [name for name in ("ip", "ssh", "ssh-keygen") if shutil.which(name) is None]
    if not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()):
        missing.append("sshd")
    if os.geteuid() != 0 or missing:
        pytest.skip(f"it needs root and {', '.join(missing) or 'nothing else'}")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short, for sockets
        try:
            found = Board(Path(folder))
        except AssertionError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield found
        found.close()


@pytest.fixture
def edgekit(
    board: Board, package_env: dict[str, str], tmp_path: Path
) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command line."""

    def start(*words: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "edgekit", *map(str, words)],
            cwd=tmp_path,
            env={**package_env, **board.environment()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    if not (board.folder / "config-home").exists():
        added = start("devices", "add", "board", "--transport", f"ssh://root@{board.address}",
                      "--python", sys.executable)  # fmt: skip
        _, told = added.communicate(timeout=60)
        assert added.returncode == 0, told
    return start


@pytest.mark.parametrize("command", ["profile", "compare", "evaluate"])
def test_a_cable_that_is_pulled(
    board: Board,
    edgekit: Callable[..., subprocess.Popen[str]],
    artifacts: Artifacts,
    command: str,
) -> None:
    path = artifacts["tflite", "fp32"]
    effort = ("--seconds", 60, "--precision-goal", 0.01)
    line = {
        "profile": ("profile", path, *effort, "--energy", "off"),
        "compare": ("compare", path, artifacts["onnx", "fp32"], *effort),
        "evaluate": ("evaluate", path, "--data", "digits", "--split", "all"),
    }[command]
    running = edgekit(*line, "--device", "board", "--json")
    assert board.measures()
    time.sleep(0.1 if command == "evaluate" else UNTIL_MEASURED_S)
    board.plug(False)
    begin_s = time.monotonic()
    out, told = running.communicate(timeout=120)
    board.plug(True)
    assert time.monotonic() - begin_s < LIMIT_S
    assert running.returncode == 5, told
    assert "error: " in told
    assert "Traceback" not in told
    if command != "evaluate":
        document = json.loads(out)
        assert document.get("measurements"), out
        assert document["failed"]
    again = edgekit(*line[:2], *line[2:3] if command == "compare" else (),
                    *(("--data", "digits") if command == "evaluate" else ("--seconds", 1)),
                    "--device", "board")  # fmt: skip
    out, told = again.communicate(timeout=120)
    assert again.returncode == 0, told


def test_a_disk_that_is_full(
    board: Board, edgekit: Callable[..., subprocess.Popen[str]], artifacts: Artifacts
) -> None:
    if not board.small:
        pytest.skip("nothing can be mounted here")
    line = ("profile", artifacts["tflite", "fp32"], "--seconds", 1, "--energy", "off")
    first = edgekit(*line, "--device", "board")
    _, told = first.communicate(timeout=120)
    assert first.returncode == 0, told
    for kept in (board.cache / "edgekit" / "files").iterdir():  # which would make room
        shutil.rmtree(kept)
    other = board.cache / "other"
    with contextlib.suppress(OSError), other.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    path = artifacts["onnx", "fp32"]
    for words in (["profile", path], ["evaluate", path, "--data", "digits"]):
        running = edgekit(*words, "--device", "board")
        _, told = running.communicate(timeout=120)
        assert running.returncode == 5, told
        assert "the disk of the device is full" in told
        assert "make room there" in told
    other.unlink()
    again = edgekit("profile", path, "--seconds", 1, "--device", "board")
    _, told = again.communicate(timeout=120)
    assert again.returncode == 0, told
