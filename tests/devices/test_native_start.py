"""How a native runner gets to a device, and devices that answer oddly."""

from __future__ import annotations

import platform
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.agent.wire import Closed, Wire
from edgekit.devices.native import NO_FOLDER, NativeRunner, own_folder
from edgekit.errors import EdgekitError, InputError, UnavailableError

MACHINE = platform.machine()


@pytest.fixture
def runner(tmp_path: Path) -> NativeRunner:
    program, library = tmp_path / "my runner;x", tmp_path / "libthing.so"
    for path in (program, library):
        path.write_text("#!/bin/sh\n")
    return NativeRunner(str(program), [str(library)])


def introduced(runner: NativeRunner, answer: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """What is sent where, and what is said, to a device that answers so."""
    ours, theirs = socket.socketpair()
    sent: list[tuple[str, str]] = []
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        runner.introduce(
            Wire(ours.fileno(), ours.fileno()), "there", 5.0,
            lambda path, place: sent.append((path.name, place)),
        )  # fmt: skip
        ours.shutdown(socket.SHUT_WR)
        return sent, theirs.recv(100)


def places(runner: NativeRunner) -> list[str]:
    return [program.place for program in runner.programs()]


def test_what_is_missing_is_sent(runner: NativeRunner) -> None:
    first, second = places(runner)
    greeting = f"Welcome!\n\nedgekit-at /data/local/tmp/edgekit {MACHINE}"
    assert introduced(runner, f"{greeting}\n".encode()) == ([], b"go\n")
    sent, said = introduced(runner, f"{greeting} {second}\n".encode())
    assert said == b"go\n"
    ((name, place),) = sent
    assert name == "libthing.so"
    assert re.fullmatch(rf"/data/local/tmp/edgekit/programs/{second}\.[0-9a-f]+", place)
    assert len(introduced(runner, f"{greeting} {first} {second}\n".encode())[0]) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"noise\n" * 20_000, "something else than a shell"),
        (b"edgekit-at /tmp/$(reboot) x86_64\n", "no folder that can be used"),
        (b"edgekit-at relative x86_64\n", "no folder that can be used"),
        (b"edgekit-at /tmp/e;x x86_64\n", "no folder that can be used"),
        (b"edgekit-at /tmp/e x86_64 ../../etc/passwd\n", "something else than it was asked"),
        (b"edgekit-at /tmp/e x86_64 \xff\xfe\n", "something else than it was asked"),
    ],
)
def test_devices_that_answer_oddly(runner: NativeRunner, answer: bytes, message: str) -> None:
    with pytest.raises(UnavailableError, match=message):
        introduced(runner, answer)


@pytest.mark.parametrize("answer", [b"", b"edgekit-at", b"edgekit-at /tmp/e\n", b"what\n"])
def test_devices_that_end(runner: NativeRunner, answer: bytes) -> None:
    with pytest.raises(Closed):
        introduced(runner, answer)


def test_no_name_of_the_users_stands_in_the_line(runner: NativeRunner, tmp_path: Path) -> None:
    line = runner.command()
    assert "my runner" not in line
    assert str(tmp_path) not in line
    assert re.search(r"exec \./[0-9a-f]{64}/program --folder", line)


@pytest.mark.parametrize(
    ("number", "machine", "fits"),
    [
        (183, "aarch64", True),
        (40, "aarch64", True),
        (183, "armv7l", False),
        (183, "armv8l", False),
        (40, "armv8l", True),
        (62, "x86_64", True),
        (3, "x86_64", True),
        (62, "i686", False),
        (62, "aarch64", False),
        (183, "x86_64", False),
        (243, "riscv64", True),
        (243, "x86_64", False),
        (9999, "x86_64", False),
    ],
)
def test_processors(tmp_path: Path, number: int, machine: str, fits: bool) -> None:
    program = tmp_path / "runner"
    program.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\3\0" + number.to_bytes(2, "little"))
    made = NativeRunner(str(program))
    answer = f"edgekit-at /tmp/e {machine}\n".encode()
    check: Callable[[], object] = lambda: introduced(made, answer)  # noqa: E731
    if fits:
        assert check() == ([], b"go\n")
    else:
        with pytest.raises(InputError, match="has another processor"):
            check()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (65, "no folder for the native runner: /tmp/e cannot be written to"),
        (66, "does not keep the native runner as it was sent"),
        (126, "cannot start the native runner .*: Permission denied"),
        (127, "cannot start the native runner"),
    ],
)
def test_why_it_does_not_start(runner: NativeRunner, code: int, message: str) -> None:
    told = "Permission denied" if code == 126 else "/tmp/e cannot be written to"
    found = runner.explain(code, told, "there")
    assert isinstance(found, EdgekitError)
    assert re.search(message, str(found))
    assert runner.explain(1, told, "there") is None


def own_folder_at(base: Path) -> tuple[int, str]:
    """Runs the line in a shell for which a folder of the test's stands in the place of Android's;
    gives its exit code, and what it says."""
    line = own_folder("programs").replace("/data/local/tmp", str(base)) + "pwd"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def test_the_folder_on_a_device_is_the_users_own(tmp_path: Path) -> None:
    base, other = tmp_path / "base", tmp_path / "other"
    base.mkdir()
    other.mkdir(mode=0o700)
    for _ in range(2):
        assert own_folder_at(base) == (0, str(base / "edgekit" / "programs"))
    assert (base / "edgekit").stat().st_mode & 0o77 == 0
    for folder in (base / "edgekit" / "programs", base / "edgekit"):
        for mode in (0o770, 0o702):
            folder.chmod(mode)
            code, told = own_folder_at(base)
            assert (code, told) == (NO_FOLDER, f"others may write to {folder}: remove it there")
        folder.chmod(0o700)
    for folder in (base / "edgekit" / "programs", base / "edgekit"):
        folder.rename(tmp_path / f"old-{folder.name}")
        folder.symlink_to(other)
        code, told = own_folder_at(base)
        assert (code, told) == (NO_FOLDER, f"{folder} cannot be written to, or is a link")
        folder.unlink()
        folder.write_text("")
        assert own_folder_at(base)[0] == NO_FOLDER
        folder.unlink()
        (tmp_path / f"old-{folder.name}").rename(folder)
