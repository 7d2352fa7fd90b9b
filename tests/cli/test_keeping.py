"""Whatever happens to the store, the output or the keyboard: what was measured is not lost."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

from edgekit.measure.store import Store, load_saved

Process = subprocess.Popen[str]
Acting = Callable[[str, int], str]
Measuring = Callable[..., Process]

# Acts when it is loaded for the n-th time. Each load may have a process of its own.
NETWORK = """
import os, shutil

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(3, 4)
        with open("loads", "a") as file:
            file.write("!")
        if os.path.getsize("loads") == LOAD:
            ACT

    def forward(self, x):
        return self.scores(x.mean((2, 3)))
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the store, not made yet."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def env(home: Path, package_env: dict[str, str]) -> dict[str, str]:
    """The environment of a process of its own."""
    return {**package_env, "EDGEKIT_HOME": str(home)}


@pytest.fixture
def acting(module: Callable[[str], str]) -> Acting:
    """Writes a network that runs a statement when it is loaded; gives its words."""

    def write(act: str, load: int) -> str:
        return f"{module(NETWORK.replace('ACT', act).replace('LOAD', str(load)))}:Net"

    return write


def beside(folder: Path) -> list[Path]:
    return list(folder.glob("edgekit-measurements-*.json"))


def test_measurements_are_kept_and_written(
    run: CommandLine, artifacts: Artifacts, home: Path, tmp_path: Path
) -> None:
    path = str(artifacts["tflite", "fp32"])
    assert run("profile", path, "--seconds", 1, "-o", "m.json").code == 0
    (written,) = load_saved(tmp_path / "m.json")
    ((_, kept),) = Store(home / "measurements.db").find()
    assert written.artifact == kept.artifact == path
    assert len(written.blocks) == len(kept.blocks)
    again = run("profile", path, "--seconds", 1, "-o", "m.json")
    assert again.code == 3
    assert "--overwrite" in again.message
    assert run("profile", path, "--seconds", 1, "--no-store").code == 0
    assert len(Store(home / "measurements.db").find()) == 1


def test_a_store_that_cannot_be_written_loses_nothing(
    run: CommandLine, artifacts: Artifacts, home: Path, tmp_path: Path
) -> None:
    home.write_text("a file where the folder should be")
    found = run("profile", artifacts["tflite", "fp32"], "--seconds", 1, "--json")
    assert found.code == 0, found.err
    assert found.json["measurements"]
    (kept,) = beside(tmp_path)
    assert f"kept in {kept.name} instead" in found.err
    assert len(load_saved(kept)) == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_without_a_place_beside_it_goes_to_temporary_files(
    cli: CommandLine, artifacts: Artifacts, home: Path, tmp_path: Path
) -> None:
    home.write_text("a file where the folder should be")
    (tmp_path / "temporary").mkdir()
    found = cli(
        "profile", artifacts["tflite", "fp32"].absolute(), "--seconds", 1,
        cwd=Path("/proc"),
        env={"EDGEKIT_HOME": str(home), "TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    assert found.code == 0, found.err
    assert "p50 ms" in found.out
    (kept,) = beside(tmp_path / "temporary")
    assert f"kept in {kept} instead" in found.err
    assert len(load_saved(kept)) == 1


def test_a_disk_that_is_full_everywhere_leaves_what_was_printed(
    artifacts: Artifacts, home: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    line = ["profile", str(artifacts["tflite", "fp32"].absolute()), "--seconds", "1"]
    line = [sys.executable, "-m", "edgekit", *line, "-o", "m.json"]
    found = subprocess.run(
        ["sh", "-c", 'ulimit -f 2; exec "$0" "$@"', *line],
        cwd=tmp_path,
        env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 3, found.stderr
    assert "p50 ms" in found.stdout
    assert f"warning: cannot keep the measurement in {home / 'measurements.db'}" in found.stderr
    assert "the samples are lost" in found.stderr
    assert "error: cannot write m.json: File too large" in found.stderr
    assert "Traceback" not in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.fixture
def locked(home: Path) -> Iterator[Callable[[], None]]:
    """Another program holds the store; gives a function that lets it go."""
    home.mkdir()
    other = sqlite3.connect(home / "measurements.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield other.rollback
    other.close()


@pytest.mark.usefixtures("locked")
def test_a_locked_store_loses_nothing(
    cli: CommandLine, artifacts: Artifacts, home: Path, tmp_path: Path
) -> None:
    path = artifacts["tflite", "fp32"].absolute()
    found = cli("profile", path, "--seconds", 1, "--json", env={"EDGEKIT_HOME": str(home)})
    assert found.code == 0, found.err
    assert found.json["measurements"]
    assert "another process has locked it" in found.err
    (kept,) = beside(tmp_path)
    assert f"kept in {kept.name} instead" in found.err
    assert len(load_saved(kept)) == 1


@pytest.fixture
def measuring(acting: Acting, tmp_path: Path, env: dict[str, str]) -> Iterator[Measuring]:
    """Starts a command, as on a terminal, that is in the middle of measuring for minutes."""
    started = []

    def start(*more: str) -> Process:
        os.mkfifo(tmp_path / "measuring")
        signals = os.open(tmp_path / "measuring", os.O_RDONLY | os.O_NONBLOCK)
        # The third load is never one of those before the first block.
        words = acting("open('measuring', 'w').write('!')", 3)
        goal = ("--seconds", "300", "--precision-goal", "0.01")
        process = subprocess.Popen(
            [sys.executable, "-m", "edgekit", "profile", words, "--resolution", "32", *goal, *more],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        ready, _, _ = select.select([signals], [], [], 120)
        os.close(signals)
        assert ready, "it never measured"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_interrupting_prints_and_keeps_what_was_measured(measuring: Measuring, home: Path) -> None:
    process = measuring("--json")
    process.send_signal(signal.SIGINT)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    document = json.loads(shown)
    assert document["interrupted"] is True
    (entry,) = document["measurements"]
    assert entry["stable"] is False
    assert any("interrupted after" in reason for reason in entry["reasons"])
    assert len(Store(home / "measurements.db").find()) == 1


def test_interrupting_once_more_loses_nothing_either(
    locked: Callable[[], None], measuring: Measuring, home: Path
) -> None:
    process = measuring()
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while "interrupted after" not in (line := process.stdout.readline()):
        assert line  # the output has not ended
    process.send_signal(signal.SIGINT)  # while it waits for the store
    locked()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (130, "error: interrupted")
    ((_, kept),) = Store(home / "measurements.db").find()
    assert kept.blocks


def test_a_folder_that_goes_away_while_measuring_loses_nothing(
    run: CommandLine, acting: Acting, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    words = acting("shutil.rmtree('out'); open('out', 'w').close()", 1)
    found = run("profile", words, "--resolution", 32, "--seconds", 1, "-o", "out/m.json", "--json")
    assert found.code == 3
    assert "cannot write out/m.json" in found.message
    assert found.json["measurements"][0]["artifact"] == words
    (kept,) = beside(tmp_path)
    assert f"kept in {kept.name} instead" in found.err
    assert load_saved(kept)[0].artifact == words


def test_a_reader_that_has_gone_loses_nothing(
    artifacts: Artifacts, home: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    line = ["profile", str(artifacts["tflite", "fp32"].absolute()), "--seconds", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgekit", *line],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, "")
    assert len(Store(home / "measurements.db").find()) == 1


@pytest.mark.parametrize("command", [["profile"], ["compare", "other.onnx"]], ids=lambda v: v[0])
@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("file/m.json", "file is no folder: expected one for the results (-o)"),
        ("folder", "folder is a folder: expected a place for a file"),
        ("file", "file exists already: give --overwrite"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_measuring(
    command: list[str], place: str, named: str, run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    found = run(*command, "mobilenetv1@0.25", "-o", place)
    assert (found.code, found.out) == (3, "")
    assert named in found.message
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "picture"),
    [
        ([], "sustained.png"),
        (["-o", "x.json"], "x.sustained.png"),
        (["-o", "sub/x.png"], "sub/x.sustained.png"),
    ],
)
def test_the_picture_replaces_nothing_unasked(
    options: list[str], picture: str, run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / picture).write_text("precious")
    found = run("profile", "mobilenetv1@0.25", "--sustain", "10s", *options)
    assert (found.code, found.out) == (3, "")
    assert f"{picture} exists already: give --overwrite" in found.message
    assert (tmp_path / picture).read_text() == "precious"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_keeps_what_was_measured(
    number: signal.Signals, measuring: Measuring, home: Path
) -> None:
    process = measuring("--json")
    process.send_signal(number)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert json.loads(shown)["interrupted"] is True
    assert len(Store(home / "measurements.db").find()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_right_behind_the_measuring_loses_nothing(
    number: signal.Signals,
    run: CommandLine,
    artifacts: Artifacts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgekit.measure import profiling

    whole = profiling.measurement

    def interrupted(*arguments: object, **options: object) -> object:
        signal.raise_signal(number)
        return whole(*arguments, **options)

    previous = signal.signal(number, signal.default_int_handler)
    monkeypatch.setattr(profiling, "measurement", interrupted)
    path = artifacts["tflite", "fp32"]
    words = ("profile", path, "--seconds", 1, "--energy", "off", "-o", tmp_path / "m.json")
    try:
        assert run(*words).code == 128 + number
    finally:
        signal.signal(number, previous)
    assert len(load_saved(tmp_path / "m.json")) == 1
