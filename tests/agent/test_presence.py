"""Measurements on one machine that know of each other."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edgekit.agent.presence import Presence

OTHER = """
import sys
from pathlib import Path
from contextlib import closing
from edgekit.agent.presence import Presence
with closing(Presence(Path(sys.argv[1]))) as p:
    print(p.others(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A measurement in a process of its own; it has seen this one when the block begins."""
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "1\n"
        yield other
    finally:
        other.kill()
        other.communicate()


def descriptors() -> set[str]:
    """Open files of this process, but for the one that lists them."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {Path('/proc/self/fd', name).readlink()}")
        except OSError:
            continue
    return found


def test_measurements_know_of_each_other(tmp_path: Path) -> None:
    with closing(Presence(tmp_path)) as alone:
        assert (alone.others(), alone.met, alone.why_not) == (0, False, None)
        with another(tmp_path):
            assert alone.others() == 1
        assert alone.others() == 0
        assert alone.met
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_measurement_left_is_deleted(tmp_path: Path) -> None:
    with closing(Presence(tmp_path)) as one, another(tmp_path):
        (own,) = [path for path in tmp_path.iterdir() if path.name.startswith(f"{os.getpid()}-")]
        assert one.others() == 1
    left = tmp_path / own.name
    left.touch()
    with closing(Presence(tmp_path)) as alone:
        assert alone.others() == 0
        assert not left.exists()


def test_measurements_in_one_process_see_each_other(tmp_path: Path) -> None:
    with closing(Presence(tmp_path)) as one, closing(Presence(tmp_path)) as other:
        assert (one.others(), other.others()) == (1, 1)


def test_a_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    with closing(Presence(tmp_path / "new")) as alone:
        assert alone.why_not is None
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "1.lock").touch()
    before = descriptors()
    with closing(Presence(folder)) as blind:
        assert blind.others() == 0
        assert blind.why_not == f"{folder}: others may write to this folder"
        assert [path.name for path in folder.iterdir()] == ["1.lock"]
        assert descriptors() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(0o700)
    os.chown(folder, 65534, 65534)
    with closing(Presence(folder)) as blind:
        assert blind.others() == 0
        assert blind.why_not is not None


def test_links_are_not_followed(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.mkdir()
    folder.symlink_to(victim)
    with closing(Presence(folder)) as blind:
        assert blind.why_not is not None
    assert list(victim.iterdir()) == []
    target = victim / "precious"
    target.write_text("kept")
    (victim / "link.lock").symlink_to(target)
    with closing(Presence(victim)) as here:
        assert here.others() == 0
    assert target.read_text() == "kept"


def test_a_pipe_in_the_folder_does_not_stop_a_measurement(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.lock")
    with closing(Presence(tmp_path)) as alone:
        assert alone.others() == 0


def test_a_lock_that_somebody_holds_on_another_file_is_waited_for_by_nobody(tmp_path: Path) -> None:
    with open(tmp_path / "held.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with closing(Presence(tmp_path)) as alone:
            assert alone.others() == 1
        assert (tmp_path / "held.lock").exists()


def test_errors_of_the_block_come_through_and_nothing_stays_open(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(PermissionError, match="of the block"), closing(Presence(tmp_path)):
        raise PermissionError("of the block")
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_deleted_meanwhile_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    with closing(Presence(folder)) as alone:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        assert alone.others() == 0
