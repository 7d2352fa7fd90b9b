"""Who measures on a device, seen by others there."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgekit.agent import claim
from edgekit.agent.claim import Claim, claims_folder
from edgekit.errors import UnavailableError

NOBODY = 65534

HOLDS = """
import os, sys, time
from pathlib import Path
from edgekit.agent.claim import Claim
from edgekit.errors import UnavailableError
if int(sys.argv[2]) >= 0:
    os.setuid(int(sys.argv[2]))
try:
    held = Claim(Path(sys.argv[1]), "b" * 32, "you@there")
except UnavailableError as error:
    print(error, flush=True)
else:
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(package_env: dict[str, str]) -> Iterator[object]:
    """Starts another process that claims; gives it and the first line that it prints."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, user: int = -1) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, folder, str(user)],
            env=package_env, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_one_measures_and_the_other_is_told_who(tmp_path: Path) -> None:
    with closing(Claim(tmp_path, "a", "me@here")):
        with pytest.raises(UnavailableError, match=r"^me@here measures there since 0 min"):
            Claim(tmp_path, "b", "you")
        Claim(tmp_path, "a", "me@here").close()
        with pytest.raises(UnavailableError, match="measures there"):
            Claim(tmp_path, "b", "you", alone=False)
    Claim(tmp_path, "b", "you").close()
    assert not list(tmp_path.iterdir())


def test_those_that_run_files_go_together(tmp_path: Path) -> None:
    with (
        closing(Claim(tmp_path, "a", "me", alone=False)),
        closing(Claim(tmp_path, "b", "you", alone=False)),
    ):
        with pytest.raises(UnavailableError, match="runs files there since 0 minutes"):
            Claim(tmp_path, "c", "they")
        assert len(list(tmp_path.iterdir())) == 2


def test_a_claim_ends_with_its_process(tmp_path: Path, holder: object) -> None:
    process, told = holder(tmp_path)  # type: ignore[operator]
    assert told == "held"
    with pytest.raises(UnavailableError, match="you@there measures"):
        Claim(tmp_path, "a", "me")
    process.send_signal(signal.SIGKILL)
    process.wait()
    Claim(tmp_path, "a", "me").close()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_users_of_one_device_see_each_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As root with one file and as a user with another one, in both orders."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o1777)
        for first, second in ((0, NOBODY), (NOBODY, 0), (NOBODY, NOBODY - 1)):
            assert as_users(folder, first, second) == "measures"
            # The file of one who was killed may stay, and keeps nobody off.
            assert as_users(folder, second, None) == "free"


def as_users(folder: Path, first: int, second: int | None) -> str:
    """What the second one gets to hear while the first one measures; alone, if it is ``None``."""
    ready, told = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(first)
        try:
            Claim(folder, "a", "the first")
            os.write(ready[1], b".")
        except BaseException:
            os.write(ready[1], b"x")
        time.sleep(60)
        os._exit(0)
    assert os.read(ready[0], 1) == b"."
    if second is not None:
        other = os.fork()
        if other == 0:
            os.setuid(second)
            try:
                Claim(folder, "b", "the second")
                os.write(told[1], b"free")
            except UnavailableError as error:
                os.write(told[1], b"measures" if "the first measures" in str(error) else b"other")
            except BaseException:
                os.write(told[1], b"failed")
            os._exit(0)
        os.waitpid(other, 0)
    else:
        os.write(told[1], b"free")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = os.read(told[0], 100).decode()
    for number in (*ready, *told):
        os.close(number)
    return found


def test_two_that_come_at_once_never_both_measure(tmp_path: Path) -> None:
    """Of processes that all begin at the same moment, again and again."""
    begin = time.monotonic() + 0.2
    out, into = os.pipe()
    children = []
    for i in range(6):
        child = os.fork()
        if child == 0:
            time.sleep(max(0.0, begin - time.monotonic()))
            for _ in range(10):
                try:
                    with closing(Claim(tmp_path, str(i), f"{i}")):
                        os.write(into, b"(")
                        time.sleep(0.002)
                        os.write(into, b")")
                except UnavailableError:
                    pass
                except BaseException:
                    os.write(into, b"!")
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    os.close(into)
    seen = os.read(out, 1 << 16).decode()
    os.close(out)
    assert seen
    assert seen == "()" * (len(seen) // 2)
    assert not list(tmp_path.iterdir())


def test_what_stands_in_a_claim_is_not_believed(tmp_path: Path) -> None:
    link = tmp_path / "edgekit-1-a.claim"
    link.symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "edgekit-2-b.claim")
    (tmp_path / "edgekit-3-c.claim").mkdir()
    (tmp_path / "edgekit-4-d.claim").write_text("not locked")
    held = {
        "garbage": b"\xff\xfe garbage",
        "list": b"[1, 2]",
        "long": b'{"owner": "' + b"x" * 10_000 + b'"}',
        "odd": json.dumps({"owner": "\x1b[31mred", "since_s": "never", "token": 7}).encode(),
        "future": json.dumps({"owner": "late", "since_s": 1e300}).encode(),
    }
    import fcntl

    for name, content in held.items():
        path = tmp_path / f"edgekit-{name}.claim"
        path.write_bytes(content)
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(UnavailableError, match="measures there since 0 minutes") as caught:
                Claim(tmp_path, "a", "me")
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 300
        path.unlink()
    Claim(tmp_path, "a", "me").close()
    assert link.is_symlink()


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Claim(tmp_path, "a", "me")):
        for wrong in (0.0, 4e9, -1e9):
            monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
            with pytest.raises(UnavailableError, match="me measures there since 0 minutes"):
                Claim(tmp_path, "b", "you")


def test_a_folder_that_all_users_share_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(claim.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = [tmp_path / name for name in ("none", "own", "shared")]
    for folder, mode in zip(folders[1:], (0o755, 0o1777), strict=True):
        folder.mkdir()
        folder.chmod(mode)
    monkeypatch.setattr(claim, "_SHARED", folders)
    assert claims_folder() == tmp_path / "shared"
    monkeypatch.setattr(claim, "_SHARED", folders[:2])
    assert claims_folder() == tmp_path / "cache" / "edgekit" / "claims"
    monkeypatch.setenv(claim.FOLDER_VARIABLE, str(tmp_path / "named"))
    assert claims_folder() == tmp_path / "named"


def test_a_claim_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(claim.os, "write", full)
        with pytest.raises(UnavailableError, match=r"No space left.*make room there"):
            Claim(tmp_path, "a", "me")
    assert not list(tmp_path.iterdir())
    Claim(tmp_path, "b", "you").close()
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be noted"):
        Claim(tmp_path / "file", "a", "me")
