from __future__ import annotations

import dataclasses
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core import Block, Energy, Measurement, OperatorTime
from edgekit.errors import InputError, OutputError
from edgekit.measure.encoding import decode, encode
from edgekit.measure.store import Store, data_folder, load_saved, save, save_beside


def measurement(**changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "artifact": "out/net-fp32.onnx",
        "sha256": "abc123" + "0" * 58,
        "target": "onnx",
        "device": "host",
        "runtime": "ONNX Runtime 1.31.1",
        "threads": 1,
        "batch": 1,
        "started": "2026-01-31T12:00:00Z",
        "blocks": (Block(0.0, 0, (1.5, 1.25, 1.75), (2.5,)), Block(1.0, 1, (1.0,), ())),
        "energy": Energy("measured", "rapl", "package", mj_per_inference=3.5, ci95=(3.0, 4.0)),
        "operators": (OperatorTime("conv", "Conv", 0.5),),
        "environment": {"load_1m": 0.25, "governor": "performance", "steal": None},
        "reasons": ("another process ran",),
        "stable": False,
    }
    return Measurement(**{**values, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data" / "measurements.db", busy_s=0.05)


def test_what_is_kept_comes_back_whole(store: Store) -> None:
    kept = [measurement(), measurement(threads=2, operators=None, blocks=())]
    numbers = store.add(kept)
    assert sorted(store.find()) == list(zip(numbers, kept, strict=True))
    assert len(set(numbers)) == 2


TIMES = (
    st.lists(st.integers(0, 2**33), max_size=30).map(lambda ns: [n / 1e6 for n in ns])
    | st.lists(st.floats(allow_nan=False), max_size=10)
).map(tuple)


@settings(deadline=None)
@given(
    blocks=st.lists(
        st.builds(
            Block, start_s=st.floats(0, 1e6), instance=st.integers(0, 99),
            samples_ms=TIMES, reference_ms=TIMES,
        ),
        max_size=4,
    ).map(tuple)
)  # fmt: skip
def test_no_sample_is_lost_or_rounded(blocks: tuple[Block, ...]) -> None:
    before = measurement(blocks=blocks)
    assert decode(*encode(before)) == before


def test_a_sample_takes_about_three_bytes() -> None:
    noise = [(1_300_000 + (i * 7919) % 60_000) / 1e6 for i in range(3000)]
    record, samples = encode(measurement(blocks=(Block(0.0, 0, tuple(noise), ()),)))
    assert len(samples) < 3.5 * len(noise)
    assert len(record) < 1000


def test_a_store_that_was_never_written_is_empty(store: Store) -> None:
    assert store.find() == []
    assert not store.path.parent.exists()


def test_the_newest_come_first_whatever_their_zone(store: Store) -> None:
    times = ["2026-01-31T12:00:00+02:00", "2026-01-31T11:00:00Z", "2026-01-31T10:30:00.5+00:00"]
    store.add([measurement(started=time) for time in times])
    assert [m.started for _, m in store.find()] == [times[1], times[2], times[0]]
    assert [m.started for _, m in store.find(limit=1)] == [times[1]]
    since = datetime(2026, 1, 31, 10, 30, tzinfo=UTC)
    assert [m.started for _, m in store.find(since=since)] == [times[1], times[2]]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, {1, 2, 3}),
        ({"artifact": "NET"}, {1, 3}),
        ({"artifact": "net-fp32.onnx"}, {1}),
        ({"artifact": "abc12"}, {1, 3}),
        ({"artifact": "c12"}, set()),
        ({"artifact": "100%_"}, set()),
        ({"device": "Host"}, {1, 2}),
        ({"device": "hos"}, set()),
        ({"runtime": "onnx runtime"}, {1, 2}),
        ({"runtime": "openvino", "artifact": "net"}, {3}),
        ({"runtime": "openvino", "device": "host"}, set()),
        ({"artifact": "'; DROP TABLE measurements; --"}, set()),
    ],
)
def test_measurements_are_found_by(filters: dict[str, str], found: set[int], store: Store) -> None:
    store.add(
        [
            measurement(),
            measurement(artifact="mobilev2", sha256=None),
            measurement(artifact="net.xml", device="board", runtime="OpenVINO 2026.4"),
        ]
    )
    assert {number for number, _ in store.find(**filters)} == found  # type: ignore[arg-type]


def test_the_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EDGEKIT_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert data_folder() == tmp_path / "home" / ".local" / "share" / "edgekit"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert data_folder() == tmp_path / "home" / ".local" / "share" / "edgekit"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert data_folder() == tmp_path / "data" / "edgekit"
    monkeypatch.setenv("EDGEKIT_HOME", "~/mine")
    assert data_folder() == tmp_path / "home" / "mine"
    assert Store().path == tmp_path / "home" / "mine" / "measurements.db"


WRITER = """
import json, sys
from pathlib import Path
from edgekit.core import Measurement, from_json
from edgekit.measure.store import Store
store = Store(Path(sys.argv[1]), busy_s=60)
one = from_json(Measurement, json.load(sys.stdin))
print("ready", flush=True)
for _ in range(20):
    store.add([one, one])
    store.find(limit=3)
"""


def test_several_processes_write_at_once(store: Store, package_env: dict[str, str]) -> None:
    from edgekit.core import to_json

    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, store.path],
            env=package_env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    texts = [json.dumps(to_json(measurement(device=f"board-{n}"))) for n in range(4)]
    # All of them start on a file that none has made yet.
    results = [None] * 4

    def feed(n: int) -> None:
        results[n] = writers[n].communicate(texts[n], timeout=120)  # type: ignore[call-overload]

    threads = [threading.Thread(target=feed, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [w.returncode for w in writers] == [0] * 4, results
    for n in range(4):
        found = store.find(device=f"board-{n}")
        assert [m for _, m in found] == [measurement(device=f"board-{n}")] * 40
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_readers_and_a_writer_do_not_wait_for_each_other(store: Store) -> None:
    store.add([measurement()])
    with closing(sqlite3.connect(store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert len(store.find()) == 1


def test_a_locked_store_is_an_error_after_a_while(store: Store) -> None:
    store.add([measurement()])
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutputError, match=r"cannot keep .*another process has locked it"):
            store.add([measurement()])
    assert len(store.find()) == 1


def test_a_new_store_that_is_locked_is_an_error(store: Store) -> None:
    store.path.parent.mkdir()
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutputError, match="another process has locked it"):
            store.add([measurement()])
    store.add([measurement()])
    assert len(store.find()) == 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def scribble(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xff" * 3000 + data[3100:])


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut": cut,
    "scribbled over": scribble,
    "no database": lambda path: path.write_text("hello, " * 1000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_named(damage: str, store: Store) -> None:
    store.add([measurement()] * 50)
    DAMAGES[damage](store.path)
    with pytest.raises(InputError, match=r"cannot read .*damaged"):
        store.find()
    with pytest.raises(OutputError, match=r"cannot keep the measurement in .*damaged"):
        store.add([measurement()])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("record", b"x"),
        ("record", b""),
        ("record", zlib.compress(b" " * (10 << 20))),
        ("record", zlib.compress(b"[" * 10**6)),
        ("record", zlib.compress(b'{"blocks": [[0, 0, -1, 1]]}')),
        ("samples", b"nxx"),
        ("samples", b""),
        ("samples", b"n" + zlib.compress(bytes(1 << 28), 9)),
    ],
    ids=[
        "record",
        "no record",
        "large record",
        "deep record",
        "fewer than none",
        "samples",
        "no samples",
        "many samples",
    ],
)
def test_a_damaged_record_is_skipped_and_named(column: str, value: bytes, store: Store) -> None:
    store.add([measurement()] * 3)
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute(f"UPDATE measurements SET {column} = ? WHERE id = 2", (value,))
        connection.commit()
    assert [number for number, _ in store.find()] == [3, 1]
    (skipped,) = store.skipped
    assert "measurement 2 is damaged" in skipped
    assert [number for number, _ in store.find(limit=2)] == [3, 1]
    assert [number for number, _ in store.find(limit=1)] == [3]


def test_a_page_that_cannot_be_read_hides_its_own_records_alone(store: Store) -> None:
    rng = random.Random(0)
    noise = "".join(map(chr, rng.choices(range(97, 123), k=60_000)))
    noisy = dataclasses.replace(measurement(), command=noise)
    store.add([measurement(), noisy, measurement()])
    with closing(sqlite3.connect(store.path)) as connection:
        (record,) = connection.execute("SELECT record FROM measurements WHERE id = 2").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(store.path.read_bytes())
    at = data.find(record[10_000:10_050])  # in a page of this record alone
    data[at - at % 4096 : at - at % 4096 + 4] = b"\xff\xff\xff\xff"  # which page comes next
    store.path.write_bytes(data)
    assert [number for number, _ in store.find()] == [3, 1]
    assert "measurement 2 is damaged" in store.skipped[0]


def test_a_newer_schema_is_left_alone(store: Store) -> None:
    store.add([measurement()])
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(OutputError, match=r"newer edgekit \(schema 99, this one knows 1\)"):
        store.add([measurement()])
    with pytest.raises(InputError, match="newer edgekit"):
        store.find()


def test_a_database_of_something_else_is_left_alone(store: Store) -> None:
    store.path.parent.mkdir()
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("CREATE TABLE recipes (id)")
        connection.commit()
    before = store.path.read_bytes()
    with pytest.raises(OutputError, match="is a database of something else"):
        store.add([measurement()])
    assert store.path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    store = Store(tmp_path / "file" / "below" / "m.db")
    with pytest.raises(OutputError, match=r"cannot keep .*Not a directory.*EDGEKIT_HOME"):
        store.add([measurement()])
    folder = Store(tmp_path)
    with pytest.raises(OutputError, match="unable to open database file"):
        folder.add([measurement()])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_is_named_and_can_be_read(store: Store) -> None:
    store.add([measurement()])
    store.path.chmod(0o444)
    with pytest.raises(OutputError, match="readonly"):
        store.add([measurement()])


FULL = """
import resource, sys
from pathlib import Path
from edgekit.errors import OutputError
from edgekit.measure.store import Store, load_saved
store = Store(Path(sys.argv[1]))
many = load_saved(Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    for _ in range(100):
        store.add(many)
except OutputError as error:
    print(error)
"""


def test_a_full_disk_is_named_and_nothing_is_half_kept(
    store: Store, tmp_path: Path, package_env: dict[str, str]
) -> None:
    noise = tuple((1_300_000 + (i * 7919) % 60_000) / 1e6 for i in range(3000))
    many = [measurement(blocks=(Block(0.0, 0, noise, ()),))] * 2
    saved = save_beside(many, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FULL, store.path, saved],
        env=package_env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot keep the measurement in {store.path}: ")
    assert "make space" in done.stdout
    kept = store.find()
    assert len(kept) % 2 == 0
    store.add(many)
    assert len(store.find()) == len(kept) + 2


def test_what_is_saved_beside_is_loaded_again(tmp_path: Path) -> None:
    kept = [measurement(), measurement(threads=4)]
    paths = {save_beside(kept, tmp_path / "new") for _ in range(5)}
    assert len(paths) == 5
    assert set((tmp_path / "new").iterdir()) == paths
    for path in paths:
        assert load_saved(path) == kept


def test_saving_replaces_a_file_as_a_whole(tmp_path: Path) -> None:
    save([measurement()], tmp_path / "m.json")
    with pytest.raises(OutputError, match="exists already"):
        save([measurement(threads=3)], tmp_path / "m.json")
    save([measurement(threads=3)], tmp_path / "m.json", overwrite=True)
    assert load_saved(tmp_path / "m.json") == [measurement(threads=3)]
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]


def test_saving_beside_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OutputError, match="cannot write"):
        save_beside([measurement()], tmp_path / "file")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "edgekit.measurements/1"}', '{"schema": "x"}', "\x00"]
)
def test_a_file_of_something_else_holds_no_measurements(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(InputError, match="holds no saved measurements"):
        load_saved(path)
    with pytest.raises(InputError, match="holds no saved measurements: No such file"):
        load_saved(tmp_path / "missing.json")


def test_records_are_kept_as_they_are_without_optional_parts(store: Store) -> None:
    bare = dataclasses.replace(
        measurement(),
        energy=Energy("unavailable", reason="no meter"),
        environment={},
        reasons=(),
        sha256=None,
    )
    store.add([bare])
    assert store.find()[0][1] == bare
