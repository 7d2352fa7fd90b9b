"""The journal of a search."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import InputError, UsageError
from edgekit.search.journal import Journal, Scored

FACTS = {"network": "a (123)", "data": "digits"}


def test_what_was_noted_is_there_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite", FACTS)
    found = Scored("block1.expand", 24, 0.9, 0.4, 1.5)
    failed = Scored("head", 64, None, None, 0.1, "the loss")
    journal.add(1, True, found)
    journal.add(1, False, failed)
    journal.finish(0, {"a": [1, 2]})
    journal.finish(1, {"a": []})
    journal.close()
    journal = Journal(tmp_path / "j.sqlite", FACTS)
    assert journal.candidate(1, "block1.expand", True) == found
    assert journal.candidate(1, "block1.expand", False) is None
    assert journal.candidate(1, "head", False) == failed
    assert journal.steps() == [{"a": [1, 2]}, {"a": []}]
    journal.close()


def test_the_difference_to_another_search_is_named(tmp_path: Path) -> None:
    Journal(tmp_path / "j.sqlite", FACTS).close()
    with pytest.raises(UsageError, match=r"its data is digits, now it is photos"):
        Journal(tmp_path / "j.sqlite", {**FACTS, "data": "photos"})


def test_a_second_search_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite", FACTS)
    with pytest.raises(UsageError, match="another search is at work"):
        Journal(tmp_path / "j.sqlite", FACTS)
    journal.close()
    Journal(tmp_path / "j.sqlite", FACTS).close()


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").write_text("no database at all, but a text")
    with pytest.raises(InputError, match=r"j\.sqlite is no journal of a search"):
        Journal(tmp_path / "j.sqlite", FACTS)
