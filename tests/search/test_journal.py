"""The journal of a search."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit.errors import InputError, OutputError, UsageError
from edgekit.locks import one_writer
from edgekit.search.journal import Iteration, Journal, Scored

IDENTITY = {"network": "a (123)", "data": "digits"}


def test_what_was_noted_is_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    first, second = Iteration("netadapt", 1), Iteration("netadapt", 1, round=1)
    found = Scored("block1.expand", 24, 0.9, 0.4, 1.5)
    failed = Scored("head", 64, None, None, 0.1, "the loss")
    with Journal(tmp_path / "j.sqlite", IDENTITY) as journal:
        journal.add(second, found)
        journal.add(first, failed)
        journal.finish(Iteration("netadapt", 0), {"a": [1, 2]})
        journal.finish(first, {"a": []})
        journal.finish(Iteration("uniform", 0), {"a": [3]})
        journal.note("decision", first, {"chosen": "head"})
        for seconds in (2.0, 1.5):
            with journal.spending("training"):
                clock.now += seconds
        clock.now += 4.0
        journal.settle()
        journal.settle()
    with Journal(tmp_path / "j.sqlite", IDENTITY) as journal:
        assert journal.candidate(second, "block1.expand") == found
        assert journal.candidate(first, "block1.expand") is None
        assert journal.candidate(Iteration("uniform", 1, 1), "block1.expand") is None
        assert journal.candidate(first, "head") == failed
        assert journal.candidates() == [(first, failed), (second, found)]
        assert journal.steps("netadapt") == [{"a": [1, 2]}, {"a": []}]
        assert journal.steps("uniform") == [{"a": [3]}]
        assert journal.events("decision") == [{"chosen": "head"}]
        assert journal.events("said") == []
        assert journal.seconds() == {"training": 3.5, "other": 4.0}


def test_the_difference_to_another_search_is_named(tmp_path: Path) -> None:
    Journal(tmp_path / "j.sqlite", IDENTITY).close()
    with pytest.raises(UsageError, match=r"its data is digits, now it is photos"):
        Journal(tmp_path / "j.sqlite", {**IDENTITY, "data": "photos"})


def test_a_second_search_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(UsageError, match="another search is at work")
    with one_writer(tmp_path, "search"), refused, one_writer(tmp_path, "search"):
        pass
    with one_writer(tmp_path, "search"):
        pass


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").write_text("no database at all, but a text")
    with pytest.raises(InputError, match=r"j\.sqlite is no journal of a search"):
        Journal(tmp_path / "j.sqlite", IDENTITY)


def test_a_full_disk_leaves_what_there_is(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite", IDENTITY) as journal:
        journal.note("said", Iteration("start", 0), {"text": "a"})
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count = {pages}")  # as if the disk were full
        with pytest.raises(OutputError, match=r"j\.sqlite cannot be used .* go on with --resume"):
            journal.note("said", Iteration("start", 0), {"text": "b" * 10**5})
    with Journal(tmp_path / "j.sqlite", IDENTITY) as journal:
        assert journal.events("said") == [{"text": "a"}]


def test_a_journal_goes_on_only_with_the_files_that_it_knows(tmp_path: Path) -> None:
    step = tmp_path / "step-00"
    step.mkdir()
    (step / "model.pt").write_bytes(b"weights")
    (tmp_path / "step-00" / "later.pt").write_bytes(b"of a step that was not finished")
    path = tmp_path / "new" / "journal.sqlite"
    path.parent.mkdir()
    step.rename(path.parent / "step-00")
    file = path.parent / "step-00" / "model.pt"
    with pytest.raises(InputError, match="is empty, and there is step-00 of the search"):
        Journal(path, {"data": "digits"})
    file.parent.rename(tmp_path / "step-00")
    with Journal(path, {"data": "digits"}) as journal:
        (tmp_path / "step-00").rename(file.parent)
        journal.wrote(file)
        journal.finish(Iteration("start", 0), {})
    Journal(path, {"data": "digits"}).close()
    file.write_bytes(b"others")
    with pytest.raises(InputError, match=r"model\.pt was altered since the search has written it"):
        Journal(path, {"data": "digits"})
    file.unlink()
    with pytest.raises(InputError, match=r"model\.pt, which the search has written, is gone"):
        Journal(path, {"data": "digits"})
    file.write_bytes(b"weights")
    (path.parent / "step-02").mkdir()
    with pytest.raises(InputError, match=r"knows 1 step, and there is .*step-02"):
        Journal(path, {"data": "digits"})


@pytest.mark.parametrize("words", ["/etc/hostname", "../../x", "a/../../x", "..", "", "a\x00b"])
def test_a_file_outside_of_the_folder_is_not_looked_at(words: str, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with Journal(path, IDENTITY) as journal:
        journal._connection.execute("INSERT INTO files VALUES (?, '00')", (words,))
        with pytest.raises(InputError, match=r"j\.sqlite is damaged .* cannot be the name of a"):
            journal.file(words)
    with pytest.raises(InputError, match=r"j\.sqlite is damaged .* cannot be the name of a file"):
        Journal(path, IDENTITY)


def test_files_are_read_as_they_were_written_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "candidates" / f"{'x' * 110}-fp32.tflite"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    with Journal(tmp_path / "j.sqlite", IDENTITY) as journal:
        with pytest.raises(InputError, match=r"j\.sqlite has no digest of 'candidates/x"):
            journal.read(file)
        journal.add(Iteration("netadapt", 1), Scored("a", 8, 0.5, 0.1, 1.0), file)
        assert journal.read(file) == b"weights"
        file.write_bytes(b"others")
        with pytest.raises(InputError, match=r"tflite was altered since the search has written it"):
            journal.read(file)
        file.unlink()
        with pytest.raises(InputError, match=r"tflite, which the search has written, is gone"):
            journal.read(file)
        os.mkfifo(file)
        for read in (lambda: journal.read(file), lambda: journal.file(f"candidates/{file.name}")):
            with pytest.raises(InputError, match=r"tflite is a pipe: expected a regular file"):
                read()
        journal.forget_files(tmp_path / "candi")
        assert journal.knows(file)
        journal.forget_files(file.parent)
        assert not journal.knows(file)


def test_what_is_noted_together_is_noted_as_a_whole(tmp_path: Path) -> None:
    iteration, there = Iteration("netadapt", 1), tmp_path / "a"
    there.write_bytes(b"a")
    with Journal(tmp_path / "j.sqlite", IDENTITY) as journal:
        with pytest.raises(FileNotFoundError):
            journal.finish(iteration, {}, there, tmp_path / "gone")
        with pytest.raises(FileNotFoundError):
            journal.add(iteration, Scored("a", 8, 0.5, 0.1, 1.0), there, tmp_path / "gone")
        assert not journal.knows(there)
        assert (journal.steps("netadapt"), journal.candidates()) == ([], [])


RECORDS = {
    "no JSON": "{",
    "no object": "[1]",
    "no text": b"1",
    "deep": '{"a":' * 10**5 + "1" + "}" * 10**5,
    "large": '{"a": "' + "x" * (9 << 20) + '"}',
}


@pytest.mark.parametrize("kind", RECORDS)
def test_records_that_no_search_has_written_are_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with Journal(path, IDENTITY) as journal:
        journal.finish(Iteration("start", 0), {})
        journal.note("said", Iteration("start", 0), {})
    with closing(sqlite3.connect(path)) as connection:
        for table in ("steps", "events"):
            connection.execute(f"UPDATE {table} SET record = ?", (RECORDS[kind],))
        connection.commit()
    with Journal(path, IDENTITY) as journal:
        for read in (lambda: journal.steps("start"), lambda: journal.events("said")):
            with pytest.raises(InputError, match=r"j\.sqlite is damaged .* restore it"):
                read()


def test_a_pipe_is_no_journal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "j.sqlite")
    with pytest.raises(InputError, match=r"j\.sqlite is a pipe: expected a regular file"):
        Journal(tmp_path / "j.sqlite", IDENTITY)
