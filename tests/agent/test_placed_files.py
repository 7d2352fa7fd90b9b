"""Files that are kept on a device."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.agent import store
from edgekit.agent.store import Store, store_folder
from edgekit.errors import UnavailableError, UsageError


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def about(name: str, content: bytes) -> list[Any]:
    return [name, len(content), sha256(content)]


def put(kept: Store, key: str, name: str, content: bytes, offset: int, part: bytes) -> int:
    answer = kept.put(key, name, len(content), sha256(content), offset, part)
    return int(answer["have"])


def filled(kept: Store, content: bytes, name: str = "net.onnx") -> Path:
    key = sha256(content)
    (path,) = kept.place(key, [about(name, content)])["paths"]
    assert put(kept, key, name, content, 0, content) == len(content)
    return Path(path)


def test_a_file_that_was_cut_goes_on_where_it_ended(tmp_path: Path) -> None:
    content, key = b"0123456789", sha256(b"x")
    with closing(Store(tmp_path)) as kept:
        assert kept.place(key, [about("a.bin", content)])["have"] == [0]
        assert put(kept, key, "a.bin", content, 0, content[:4]) == 4
    with closing(Store(tmp_path)) as kept:
        found = kept.place(key, [about("a.bin", content)])
        assert found["have"] == [4]
        assert put(kept, key, "a.bin", content, 2, content[2:]) == 4  # it has another beginning
        assert put(kept, key, "a.bin", content, 4, content[4:]) == 10
        assert Path(found["paths"][0]).read_bytes() == content
        assert kept.place(key, [about("a.bin", content)])["have"] == [10]


def test_what_arrives_otherwise_than_it_was_begins_anew(tmp_path: Path) -> None:
    content, key = b"0123456789", sha256(b"x")
    with closing(Store(tmp_path)) as kept:
        (path,) = kept.place(key, [about("a.bin", content)])["paths"]
        assert put(kept, key, "a.bin", content, 0, b"9123456789") == 0
        assert not Path(path).exists()
        assert put(kept, key, "a.bin", content, 0, content) == 10


@pytest.mark.parametrize(
    "name", ["../a", "a/b", "", ".", "..", "a\nb", "/etc/passwd", "a\x00b", "x" * 300]
)
def test_hostile_names_are_refused(tmp_path: Path, name: str) -> None:
    with closing(Store(tmp_path)) as kept, pytest.raises(UsageError, match="the name of a file"):
        kept.place(sha256(b""), [about(name, b"")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["", "../../x", "g" * 64, "A" * 64])
def test_what_is_no_digest_is_refused(tmp_path: Path, key: str) -> None:
    with closing(Store(tmp_path)) as kept, pytest.raises(UsageError, match="64 hexadecimal"):
        kept.place(key, [])


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as kept:
        paths = [filled(kept, bytes([i]) * 400) for i in range(3)]
    for i, path in enumerate(paths):
        os.utime(path.parent, (i, i))
    with closing(Store(tmp_path, most_bytes=1300)) as kept:
        filled(kept, b"x" * 400)
    assert [path.exists() for path in paths] == [False, True, True]


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as using:
        path = filled(using, b"a" * 400)
        with closing(Store(tmp_path, most_bytes=500)) as kept:
            other = filled(kept, b"b" * 400)
            assert path.exists()
            assert other.exists()
    with closing(Store(tmp_path, most_bytes=500)) as kept:
        filled(kept, b"c" * 400)
    assert not path.exists()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3 << 20))
    with (
        closing(Store(tmp_path)) as kept,
        pytest.raises(UnavailableError, match=r"disk of the device is full.*3 MiB left and 4 MiB"),
    ):
        kept.place(sha256(b"x"), [["a", 4 << 20, sha256(b"y")]])


def test_there_is_a_folder_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    monkeypatch.setattr(store.tempfile, "gettempdir", lambda: str(tmp_path))
    assert tmp_path in store_folder().parents


def test_a_folder_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    monkeypatch.setattr(store.tempfile, "gettempdir", lambda: str(tmp_path))
    shared = tmp_path / f"edgekit-{os.geteuid()}"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(UnavailableError, match="others may write to it"):
        store_folder()
    shared.rmdir()
    (tmp_path / "elsewhere").mkdir()
    shared.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError, match="others may write to it"):
        store_folder()


def test_a_file_of_the_right_size_is_checked(tmp_path: Path) -> None:
    content = b"0123456789"
    key = sha256(content)
    with closing(Store(tmp_path)) as kept:
        path = filled(kept, content)
    path.write_bytes(b"x" * 10)
    with closing(Store(tmp_path)) as kept:
        assert kept.place(key, [about("net.onnx", content)])["have"] == [0]
        assert filled(kept, content).read_bytes() == content
        assert kept.place(key, [about("net.onnx", content)])["have"] == [10]


def test_what_was_released_may_go(tmp_path: Path) -> None:
    with closing(Store(tmp_path, most_bytes=1000)) as kept:
        path, other = (filled(kept, content * 400) for content in (b"a", b"b"))
        kept.release(path.parent.name)
        third = filled(kept, b"c" * 400)
        assert [each.exists() for each in (path, other, third)] == [False, True, True]
        assert filled(kept, b"a" * 400) == path


def test_where_nothing_is_needed_nothing_is_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"0123456789"
    with closing(Store(tmp_path)) as kept:
        filled(kept, content)
        monkeypatch.setattr(kept, "_make_room", None)
        found = kept.place(sha256(content), [about("net.onnx", content)])
        assert found["have"] == [10]


def test_folders_that_another_agent_deletes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(tmp_path)) as kept:
        gone = filled(kept, b"a" * 10).parent
    with closing(Store(tmp_path)) as kept:
        listed = list(kept._folders())
        shutil.rmtree(gone)
        monkeypatch.setattr(kept, "_folders", lambda: listed)
        assert filled(kept, b"b" * 10).exists()


def test_a_clock_that_jumps_does_not_change_what_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for i, wrong_s in enumerate((4e9, 0.0, 1e9)):
        monkeypatch.setattr(store.time, "time_ns", lambda wrong_s=wrong_s: int(1e9 * wrong_s))
        with closing(Store(tmp_path)) as kept:
            paths.append(filled(kept, bytes([i]) * 400))
    with closing(Store(tmp_path)) as kept:
        filled(kept, bytes([0]) * 400)  # the first one is used again
    with closing(Store(tmp_path, most_bytes=1300)) as kept:
        filled(kept, b"x" * 400)
    assert [path.exists() for path in paths] == [True, False, True]
