"""The command line, a trained network and its artifacts, for all tests."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

import hypothesis
import pytest
from command_line import CommandLine, Result
from small_artifacts import (
    Artifacts,
    baked_files,
    copy_artifact,
    int8_files,
    shared_folder,
    short_network,
    train_run,
)

import edgekit
from edgekit.core import keep_silent
from edgekit.core.database import Database

keep_silent()  # tests import runtimes, too

# A property holds or not, however long a machine takes for an example.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

BRIEF = 0.2  # of a second

# Networks are many objects, and all there are were looked through each time: an eighth of the time.
gc.set_threshold(20_000, 10, 10)


def pytest_xdist_auto_num_workers() -> int:
    """Workers of ``-n auto``: one waits for a process, a device or a clock, now and then."""
    return (os.cpu_count() or 1) + 1


def pytest_configure() -> None:
    """Undoes what a shell does to jobs in the background, and nohup: they ignore these signals.

    Processes that tests start have it from here. Nothing runs between their fork and their program,
    where a copy of a process with many threads is not safe.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def package_env() -> dict[str, str]:
    """An environment in which a new process finds the package that is tested here."""
    paths = [str(Path(edgekit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def cli(tmp_path: Path, package_env: dict[str, str]) -> CommandLine:
    """Runs ``edgekit ARGUMENTS`` as a process of its own, in the test's folder."""

    def call(
        *arguments: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "edgekit", *map(str, arguments)],
            cwd=cwd or tmp_path,
            env={**package_env, **(env or {})},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """Files are there for other processes as soon as they are written.

    No test can tell whether they would outlast a loss of power.
    """
    checked = Database.check_tables

    def check_tables(self: Database, tables: str) -> None:
        checked(self, tables)
        self.execute("PRAGMA synchronous = OFF")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(Database, "check_tables", check_tables)
        yield


@pytest.fixture
def brief_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures for a second, the least that may be asked for, gets a part of it.

    What is looked at is all but the figures then; tests of these ask for more.
    """
    from edgekit.measure.session import Participant, Session

    take_turns = Session.take_turns

    def brief(session: Session, precision: Callable[[Sequence[Participant]], float]) -> None:
        seconds = session.effort.seconds
        if 1 <= seconds <= len(session.participants):  # for both together, or for each
            session.effort = dataclasses.replace(session.effort, seconds=BRIEF * seconds)
        take_turns(session, precision)

    monkeypatch.setattr(Session, "take_turns", brief)


@pytest.fixture(scope="session")
def standard_streams() -> tuple[TextIO, TextIO]:
    """Descriptors 1 and 2 as a process of its own has them; never closed, as loggers keep them."""
    return (
        open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False),
        open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False),
    )


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    standard_streams: tuple[TextIO, TextIO],
    brief_sessions: None,
) -> Iterator[CommandLine]:
    """Runs ``edgekit ARGUMENTS`` in this process, in the test's folder: quick where torch is in."""
    from edgekit.cli import run as run_command_line

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        with redirect_stdout(standard_streams[0]), redirect_stderr(standard_streams[1]):
            code = run_command_line([str(argument) for argument in arguments])
            for stream in standard_streams:
                stream.flush()
        return Result(code, *capfd.readouterr())

    before = {*sys.modules}
    yield call
    for name in sys.modules.keys() - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder: mobilenetv3-small on digits at 32 px. Read-only."""
    return train_run(shared_folder(tmp_path_factory))


@pytest.fixture(scope="session", name="short_network")
def _short_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained checkpoint of three blocks of MobileNetV3-Small. Read-only."""
    return short_network(shared_folder(tmp_path_factory))


@pytest.fixture(scope="session", name="int8_files")
def _int8_files(short_network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8 files of the trained network for all targets; see `int8_files`. Read-only."""
    return int8_files(short_network, shared_folder(tmp_path_factory))


@pytest.fixture(scope="session", name="baked_files")
def _baked_files(short_network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the trained network that take bytes of pixels; see `baked_files`. Read-only."""
    return baked_files(short_network, shared_folder(tmp_path_factory))


@pytest.fixture(scope="session")
def artifacts(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """(target, precision) -> exported file of `trained_run`, made when asked for. Read-only."""
    return Artifacts(trained_run, shared_folder(tmp_path_factory))


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies an artifact with companions and contract to the test's folder, to be altered."""
    return lambda path: copy_artifact(path, tmp_path)
