"""What ``edgekit search`` refuses before it begins, and why."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from command_line import CommandLine
from small_searches import QUICK, steps

from edgekit.agent.metering import discover
from edgekit.locks import one_writer
from edgekit.models.weights import load_checkpoint, save_checkpoint
from edgekit.search.journal import Iteration, Journal, Scored
from edgekit.tables import METERS

pytestmark = pytest.mark.usefixtures("inline")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("-t", "openvino", "-p", "w8a16"), "target openvino has no precision w8a16"),
        (
            ("--baselines", "uniform,best"),
            "--baselines best: expected uniform, random, compound",
        ),
        (
            ("--budget", "macs=0.001x"),
            "out of reach: of the networks with 0.125, 0.25, 0.5 of the channels of all groups the "
            "least has",
        ),
    ],
    ids=["precision", "baseline", "budget"],
)
def test_what_there_is_not_is_refused(
    more: tuple[str, ...], message: str, run: CommandLine, trained: Path
) -> None:
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", *more)
    assert result.code == 2
    assert message in result.message


def test_an_untrained_network_is_refused(run: CommandLine) -> None:
    result = run("search", "mobilenetv3-small", "--budget", "macs=0.85x", *QUICK, "-o", "s")
    assert result.code == 3
    assert "expected a run folder or checkpoint" in result.message


def test_a_budget_that_is_kept_already_is_refused(run: CommandLine, trained: Path) -> None:
    result = run("search", trained, "--budget", "macs=900M", *QUICK, "-o", "s")
    assert result.code == 2
    assert "the network keeps it already" in result.message
    assert not Path("s").exists()  # so that another budget can be tried


def test_a_folder_with_a_search_is_not_begun_anew(
    run: CommandLine, searched: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s")
    assert result.code == 2
    assert "go on with --resume" in result.message
    result = run("search", trained, "--budget", "macs=0.5x", *QUICK, "-o", "s", "--resume")
    assert result.code == 2
    assert "its budget is macs=0.85x, now it is macs=0.5x" in result.message
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
    assert result.code == 0
    assert steps(tmp_path / "s") == steps(searched)


def test_a_folder_of_something_else_is_left_alone(
    run: CommandLine, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(trained, tmp_path / "run" / "model.pt")
    before = (tmp_path / "run" / "model.pt").read_bytes()
    result = run("search", "run", "--budget", "macs=0.85x", *QUICK, "-o", "run")
    assert result.code == 2, result.err
    assert (tmp_path / "run" / "model.pt").read_bytes() == before
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "run")
    assert result.code == 2
    assert "run holds model.pt of something else" in result.message


@pytest.mark.parametrize("name", ["start.pt", "step-00", "step-01", "step-12"])
def test_what_another_search_has_left_is_no_place_to_begin(
    name: str, run: CommandLine, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "s" / name).mkdir(parents=True)
    line = ("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s")
    result = run(*line)
    assert result.code == 2
    assert f"s holds {name} of something else: give a folder" in result.message
    result = run(*line, "--resume")
    assert result.code == 2
    assert "s holds no search to go on with" in result.message


def test_a_folder_that_cannot_be_made_is_named(
    run: CommandLine, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "file/s")
    assert result.code == 3
    assert "file/s is no folder: expected one for the results (-o)" in result.message


def test_another_network_or_version_is_named(
    run: CommandLine, searched: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    checkpoint = load_checkpoint(trained)
    state = {name: value.clone() for name, value in checkpoint.state.items()}
    state["stem.conv.weight"] *= 2
    save_checkpoint(tmp_path / "other.pt", dataclasses.replace(checkpoint, state=state))
    words = ("--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
    result = run("search", "other.pt", *words)
    assert result.code == 2
    assert "s/journal.sqlite is of another search: its network is mobilenetv3" in result.message
    monkeypatch.setattr("edgekit.__version__", "9.9")
    result = run("search", trained, *words)
    assert result.code == 2
    assert "its version of edgekit is" in result.message
    assert "now it is 9.9" in result.message


def test_two_searches_in_one_folder_are_refused(
    run: CommandLine, searched: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    with one_writer(tmp_path / "s", "search"):
        words = ("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
        result = run(*words)
    assert result.code == 2
    assert "another search is at work in s" in result.message


def test_an_energy_budget_needs_a_meter(run: CommandLine, trained: Path) -> None:
    meter, _ = discover({name: entry.where for name, entry in METERS.items()}, Path("/"))
    if meter is not None:
        meter.close()
        pytest.skip("this machine has a meter")
    result = run("search", trained, "--budget", "energy=0.8x", *QUICK, "-o", "s")
    assert result.code == 5
    assert "a budget of energy needs a meter, as an estimate is no measurement" in result.message


def _emptied(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
        for table in ("facts", "steps", "events", "candidates", "files", "seconds"):
            journal.execute(f"DELETE FROM {table}")
        journal.commit()


def _told(folder: Path, words: str) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
        journal.execute(words)
        journal.commit()


def _with_view(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
        journal.execute("DROP TABLE facts")
        journal.execute(
            "CREATE VIEW facts AS WITH RECURSIVE r(name, value) AS "
            "(SELECT 'a', 'b' UNION ALL SELECT name, value FROM r) SELECT * FROM r"
        )


def _piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


ALTERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda s: (s / "journal.sqlite").write_bytes(b""), "is empty, and there is start"),
    "no rows": (_emptied, "is empty, and there is start.pt of the search"),
    "no steps": (lambda s: _told(s, "DELETE FROM steps"), "knows 0 steps, and there is s/step-0"),
    "a view": (_with_view, "is no journal of a search (it has the view 'facts'"),
    "network": (lambda s: _scribble(s / "step-01" / "model.pt"), "step-01/model.pt was altered"),
    "start": (lambda s: _scribble(s / "start.pt"), "start.pt was altered"),
    "outside": (
        lambda s: _told(s, "INSERT INTO files VALUES ('/etc/hostname', '00')"),
        "journal.sqlite is damaged ('/' cannot be the name of a file: it has a '/')",
    ),
    "no digests": (
        lambda s: _told(s, "DELETE FROM files"),
        "journal.sqlite has no digest of 'step-0",
    ),
    "pipe": (lambda s: _piped(s / "step-01" / "model.pt"), "model.pt is a pipe: expected a regul"),
    "gone": (lambda s: (s / "step-01" / "model.pt").unlink(), "model.pt, which the search has"),
}


def _scribble(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("what", ALTERED)
def test_a_search_goes_on_only_with_what_it_has_written(
    what: str, run: CommandLine, searched: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    alter, named = ALTERED[what]
    alter(tmp_path / "s")
    words = ("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
    result = run(*words)
    assert result.code == 3, result.err
    assert named in result.message
    assert "restore it from a copy, or begin anew with another folder (-o)" in result.message


@pytest.fixture
def begun(run: CommandLine, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search that was interrupted in a step, when networks of candidates were kept."""
    whole = Journal.add

    def interrupted(journal: Journal, iteration: Iteration, found: Scored, *files: Path) -> None:
        whole(journal, iteration, found, *files)
        if iteration.series == "netadapt" and iteration.round == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", interrupted)
        assert run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s").code == 130
    return tmp_path / "s"


def test_candidates_are_networks_that_the_search_has_written(
    run: CommandLine, begun: Path, searched: Path, trained: Path, tmp_path: Path
) -> None:
    words = ("search", trained, "--budget", "macs=0.85x", *QUICK, "--resume", "-o")
    kept = sorted((begun / "step-01" / "candidates").glob("*.pt"))
    assert {file.name[-5:] for file in kept} == {".1.pt", ".2.pt"}
    for file in (kept[0], next(f for f in kept if f.name.endswith(".2.pt"))):
        shutil.copytree(begun, tmp_path / "other", dirs_exist_ok=True)
        there = tmp_path / "other" / file.relative_to(begun)
        shutil.copy(begun / "start.pt", there)
        result = run(*words, "other")
        assert result.code == 3
        assert f"{file.name} was altered since the search has written it" in result.message
        there.unlink()
        result = run(*words, "other")
        assert result.code == 3
        assert f"{file.name}, which the search has written, is gone" in result.message
    assert run(*words, "s").code == 0
    assert steps(begun) == steps(searched)
